"""An answer that another process writes, as that process broadcasts it; by its row while nothing is heard.

All readers of a run in this process share its mirror. It only ever grows: where the row turns out to be
something else than what was mirrored, as after the death of a worker, its readers are sent away.
"""

from __future__ import annotations

import copy
import json
import threading
import time
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from chatsession import connections
from chatsession.bus import bus
from chatsession.conversations.turns import ACTIVE
from chatsession.models import Message
from chatsession.runs import stored
from chatsession.runs.broadcast import BEAT, stream_key
from chatsession.runs.growth import extends, grown, mark_of
from chatsession.runs.log import events

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatsession.runs.follow import Source
    from chatsession.runs.log import Event, Part

#: Seconds of silence after which the row is read again.
SILENCE = 2.5 * BEAT
#: Seconds for which all readers make do with what one of them has read.
AGAIN = 0.5
#: Seconds that a reader's position is waited for.
PATIENCE = 0.5


class Mirror:
    """A ``Source``, and a ``bus.Tail`` while it has readers."""

    def __init__(self, message: Message, look_after: Callable[[Message], Source]) -> None:
        self.key = stream_key(message.run_id or "")
        self.lost = False
        self.place = 0
        self._message = message
        self._parts: list[Part] = message.parts
        self._look_after = look_after
        self._is_live = False
        self._heard_at = self._asked_at = self._looked_at = -AGAIN
        self._lock, self._looking = threading.Lock(), threading.Lock()
        self._wakers: frozenset[Callable[[], None]] = frozenset()

    @property
    def poll(self) -> float | None:
        """See ``Source``."""
        return None if self._is_live else stored.StoredRun.poll

    @property
    def is_over(self) -> bool:
        """Whether there will be nothing more."""
        return self.lost or self._message.status not in ACTIVE

    def events_after(self, position: int) -> list[Event]:
        """See ``Run.events_after()``."""
        with self._lock:
            parts, outcome = self._parts, stored.outcome_of(self._message)
        return list(events(parts, position, outcome))

    def hear(self, news: bytes) -> None:
        """See ``bus.Tail``."""
        entry = json.loads(news)
        with self._lock:
            if self.is_over or entry["lease"] != self._message.lease:
                return
            parts = grown(self._parts, tuple(entry["behind"]), entry["rest"])
            changed = parts is not self._parts or entry["place"] != self.place or entry["end"]
            if parts is not None:
                self._parts, self.place, self._heard_at = parts, entry["place"], time.monotonic()
            self._is_live = parts is not None and not entry["end"]
            if entry["end"]:
                self._looked_at = -AGAIN
        if parts is None and time.monotonic() - self._asked_at > BEAT:
            self._ask()
        if changed:
            self._notify()

    def look(self, *, away: bool) -> None:
        """See ``bus.Tail``."""
        if self._is_live and (away or time.monotonic() - self._heard_at > SILENCE):
            self._is_live = False
            self._notify()

    def _ask(self) -> None:
        self._asked_at = time.monotonic()
        bus.announce("read", self._message.run_id or "")

    def _notify(self) -> None:
        for wake in self._wakers:
            wake()

    def refresh(self) -> Source:
        """Read the row again, unless that is not needed or another reader has just done it.

        Answers where to read on, see ``StoredRun.refresh()``.
        """
        with self._looking:
            now = time.monotonic()
            if self._is_live or now - self._looked_at < AGAIN:
                return self
            self._looked_at = now  # before: the end may be announced while we look
            try:
                return self._look()
            finally:
                connections.release()

    def _look(self) -> Source:
        row = copy.copy(self._message)
        try:
            stored.reload(row)
            source = self._look_after(row) if row.status in ACTIVE else self
        except Message.DoesNotExist:
            self.lost = True
            return self
        self._take(row)
        if self.is_over:
            self._notify()
            return self
        self._ask()
        return source

    def _take(self, row: Message) -> None:
        with self._lock:
            if row.status not in ACTIVE or row.lease != self._message.lease:
                self.lost = not extends(row.parts, self._parts)
                self._parts, self._is_live = row.parts, False
            elif mark_of(row.parts) > mark_of(self._parts):
                self._parts = row.parts
            self._message = row

    def subscribe(self, wake: Callable[[], None]) -> None:
        """See ``Run.subscribe()``. The first one makes the run be broadcast."""
        with self._lock:
            is_first, self._wakers = not self._wakers, self._wakers | {wake}
            if is_first:
                bus.follow(self)
        if is_first:
            self._ask()

    def unsubscribe(self, wake: Callable[[], None]) -> None:
        """Forget a reader."""
        with self._lock:
            self._wakers = self._wakers - {wake}
            if not self._wakers:  # under the lock: the next reader must not be unfollowed with the last one
                bus.unfollow(self)


_mirrors: WeakValueDictionary[str, Mirror] = WeakValueDictionary()
_lock = threading.Lock()


def mirror_of(message: Message, look_after: Callable[[Message], Source]) -> Mirror:
    """The one mirror of an active answer."""
    with _lock:
        mirror = _mirrors.get(message.run_id or "")
        if mirror is None or mirror.is_over:
            mirror = _mirrors[message.run_id or ""] = Mirror(message, look_after)
        return mirror


def catch_up(source: Source, position: int) -> None:
    """Wait a moment for ``position``, which a reader comes with who has seen more than is stored."""
    if not isinstance(source, Mirror) or bus.is_away:
        return
    news, deadline = threading.Event(), time.monotonic() + PATIENCE
    source.subscribe(news.set)
    try:
        while source.events_after(0)[-1].position < position and time.monotonic() < deadline:
            news.wait(PATIENCE)
            news.clear()
    finally:
        source.unsubscribe(news.set)
