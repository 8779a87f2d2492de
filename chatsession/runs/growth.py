"""What has been added to an answer since somebody looked, and how it is put on; pure.

An answer only grows: its last part gets longer, or another part follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from chatsession.runs.log import Part

#: How far an answer has come: how many parts, and the code points of the last one's text.
Mark: TypeAlias = tuple[int, int]


def mark_of(parts: Sequence[Part]) -> Mark:
    """How far ``parts`` have come; the answer that is further has the greater one."""
    return len(parts), len(parts[-1].get("text", "")) if parts else 0


def since(parts: Sequence[Part], mark: Mark) -> list[Part]:
    """What came behind ``mark``, from the part that was the last one then: of its text the rest."""
    count, length = mark
    if not count:
        return list(parts)
    last = parts[count - 1]
    if "text" in last:
        last = last | {"text": last["text"][length:]}
    return [last, *parts[count:]]


def until(parts: Sequence[Part], mark: Mark) -> list[Part]:
    """What there was up to ``mark``."""
    count, length = mark
    before = list(parts[:count])
    if before and "text" in before[-1]:
        before[-1] = before[-1] | {"text": before[-1]["text"][:length]}
    return before


def grown(parts: list[Part], mark: Mark, rest: list[Part]) -> list[Part] | None:
    """``parts`` with ``rest``, which came behind ``mark``; None if there is a gap between them."""
    if mark > mark_of(parts):
        return None
    new = until(parts, mark)
    if new and "text" in new[-1]:
        new[-1] = new[-1] | {"text": new[-1]["text"] + rest[0]["text"]}
    new += rest[1:] if new else rest
    return new if mark_of(new) > mark_of(parts) else parts


def extends(parts: Sequence[Part], before: Sequence[Part]) -> bool:
    """Whether ``parts`` are what ``before`` has grown to."""
    return until(parts, mark_of(before)) == list(before)
