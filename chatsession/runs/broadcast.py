"""The runs of this process that are read in another one, sent there by Redis as they grow.

A run is broadcast from when somebody elsewhere asks for it until it ends: a stream of its own, of what it
has grown at each round of the bus. It begins with all that there is by then, and so it does again whenever
somebody asks. Deltas are not stored before they are sent; the end is: it only says "look into the database".
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from chatsession import redis
from chatsession.bus import bus
from chatsession.runs.growth import Mark, mark_of, since

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis import Redis

    from chatsession.runs.run import Run

#: Seconds of silence after which a run says that it is still being written.
BEAT = 1.0
#: Entries that a stream keeps, about, behind the last one that has everything, and the seconds after the last
#: one when it is gone. Who has missed more than these is sent everything again.
KEPT, EXPIRY = 200, 60


def stream_key(run_id: str) -> str:
    """The stream of a run."""
    return redis.key("run", run_id)


@dataclass
class Sent:
    """A run, and what the others have of it."""

    run: Run
    mark: Mark = (0, 0)
    next: Mark = (0, 0)
    at: float = 0.0
    changed: bool = True

    def change(self) -> None:
        """There is news."""
        self.changed = True
        bus.ring()

    def news(self) -> dict[str, Any]:
        """What they do not have yet."""
        self.changed = False  # first: what comes while we look is news again
        run, ended = self.run, self.run.ended.is_set()
        parts = run.parts()
        self.next = mark_of(parts)
        rest = since(parts, self.mark)
        return {
            "lease": run.message.lease,
            "behind": self.mark,
            "rest": rest,
            "place": run.place,
            "end": ended,
        }


class Broadcast:
    """Those of the runs ``live`` that are read elsewhere. Both methods are the bus's to call."""

    def __init__(self, live: Mapping[str, Run]) -> None:
        self._live = live
        self._sent: dict[str, Sent] = {}

    def begin(self, run_id: str) -> None:
        """Somebody wants to read a run; nothing happens if it is not one of this process."""
        if run := self._live.get(run_id):
            self._sent[run_id] = sent = Sent(run)
            run.echo = sent.change
            bus.ring()

    def go_round(self) -> bool:
        """Send what is new; whether there may be more."""
        now = time.monotonic()
        due = [sent for sent in list(self._sent.values()) if sent.changed or now - sent.at >= BEAT]
        news = [(sent, sent.news()) for sent in due]
        arrived = bool(news) and bus.ask(partial(_send, news)) is not None
        for sent, entry in news:
            if arrived:
                sent.mark, sent.at = sent.next, now
            if entry["end"]:
                self._sent.pop(sent.run.id, None)
        return bool(self._sent)


def _send(news: list[tuple[Sent, dict[str, Any]]], client: Redis) -> list[Any]:
    pipeline = client.pipeline(transaction=False)
    for sent, entry in news:
        key = stream_key(sent.run.id)
        is_whole = entry["behind"] == (0, 0)  # supersedes all before it
        kept = 1 if is_whole else KEPT
        pipeline.xadd(key, {"news": json.dumps(entry)}, maxlen=kept, approximate=not is_whole)
        pipeline.expire(key, EXPIRY)
    return pipeline.execute()
