"""The event log: a pure function of an answer's parts and of how it ended.

An event's position grows by 1 for a structural event and by the number of code points for a delta, so
any worker that has the stored parts can say what comes after a position. Nothing else is stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

Part = dict[str, Any]
Kind = Literal[
    "start", "start-step", "part-start", "delta", "part-end", "part", "finish-step", "end", "queue"
]

#: Added to the positions of an end that is not complete. A worker that died may have sent more text than it
#: had stored; without the gap a position in that text could be taken for one in the end of the stored text.
CUT = 10**9

#: Parts whose text arrives in deltas; all others are one event.
TEXTUAL = ("text", "reasoning")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an answer ended: a final ``Message.Status``, the usage, and the safe text of an error."""

    status: str
    usage: dict[str, int]
    error: str = ""


class Event(NamedTuple):
    """One thing that happened; ``position`` is where a reader stands who has seen it.

    ``part`` is the part it belongs to, ``number`` which one that is; at the end it is the outcome. A
    "queue" event is no part of the log: ``number`` is the place in the queue.
    """

    position: int
    kind: Kind
    number: int = 0
    part: Part = {}
    text: str = ""


def events(parts: Sequence[Part], after: int, outcome: Outcome | None) -> Iterator[Event]:
    """The events behind position ``after``, everything that waits in a part as one delta.

    ``outcome`` is None while the answer is being written; then the last part is still open. An end that is
    not complete, from the last part's end on, is counted from ``CUT``.
    """
    for event in _all(parts, after, outcome):
        if event.position > after:
            yield event


def follows(event: Event, position: int) -> bool:
    """Whether ``event`` is the very next one for a reader who stands at ``position``."""
    return event.position - position == (len(event.text) or 1)


def _all(parts: Sequence[Part], after: int, outcome: Outcome | None) -> Iterator[Event]:
    cut = CUT if outcome is not None and outcome.status != "complete" else 0
    yield Event(1, "start")
    yield Event(2, "start-step")
    at = 2
    for index, part in enumerate(parts):
        at += 1
        if part["type"] not in TEXTUAL:
            yield Event(at, "part", index, part)
            continue
        yield Event(at, "part-start", index, part)
        seen = min(max(after - at, 0), len(part["text"]))
        at += len(part["text"])
        if seen < len(part["text"]):
            yield Event(at, "delta", index, part, part["text"][seen:])
        if index == len(parts) - 1:
            at += cut
        if outcome is not None or index < len(parts) - 1:
            at += 1
            yield Event(at, "part-end", index, part)
    if outcome is not None:
        at = max(at, cut)
        yield Event(at + 1, "finish-step")
        yield Event(at + 2, "end", part=asdict(outcome))
