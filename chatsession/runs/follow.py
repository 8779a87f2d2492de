"""Reading a run: from any position, live, in a thread or on an event loop.

A reader gets what there is at once and then at most one batch every 30 ms, longer while its loop lags; all
that has gathered meanwhile is one delta. A reader that leaves is forgotten; the run goes on.

What costs is waking: of 1,000 readers at 5 tokens a second each, one call to the loop and one timer a token
took twice the CPU of all the rest. So the readers of a loop are woken together, by one call, and a reader's
timer runs once in 15 seconds however often it is woken.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Protocol
from weakref import WeakValueDictionary

from asgiref.sync import sync_to_async

from chatsession.runs.log import Event

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from chatsession.stores.attendance import Cut

#: Seconds of silence after which a reader is given an empty batch: a heartbeat for proxies.
PING = 15.0
#: Seconds between two batches. A measured run: 5.8 times the throughput of one batch per token.
INTERVAL = 0.03
#: Most seconds between two batches while a loop lags.
MAX_INTERVAL = 1.0


class Lost(Exception):
    """The answer is no longer to be had here. Breaks the connection, so that the client asks again."""


class Source(Protocol):
    """What can be followed: a ``Run`` of this process, or a ``StoredRun``."""

    lost: bool

    @property
    def poll(self) -> float | None:
        """Seconds between two looks where nobody wakes the reader; None where somebody does."""

    @property
    def place(self) -> int:
        """The place in the queue; 0 if it does not wait, or waits in another worker."""

    def events_after(self, position: int) -> list[Event]: ...
    def refresh(self) -> Source: ...
    def subscribe(self, wake: Callable[[], None]) -> None: ...
    def unsubscribe(self, wake: Callable[[], None]) -> None: ...


class Reader:
    """Where one reader stands. Times are those of ``time.monotonic()``."""

    def __init__(self, source: Source, position: int) -> None:
        self.source = source
        self.position = position
        self.finished = False
        self.place = 0
        self.spoken = -PING
        self.has_text = False

    def take(self) -> list[Event] | None:
        """The next batch; empty if it is time for a heartbeat, None if there is nothing to send.

        Raises ``Lost``.
        """
        if self.source.lost:
            raise Lost
        batch = self.source.events_after(self.position)
        changed, self.place = self.source.place != self.place, self.source.place
        if changed and self.place and not (batch and batch[-1].kind == "end"):
            batch.append(Event(batch[-1].position if batch else self.position, "queue", self.place))
        if batch:
            self.position, self.finished = batch[-1].position, batch[-1].kind == "end"
            self.has_text = self.has_text or any(event.text for event in batch)
        elif self.silence < PING:
            return None
        self.spoken = time.monotonic()
        return batch

    def go_on_at(self, source: Source, wake: Callable[[], None]) -> None:
        """Read on at the same position of the same answer: this process may have taken it over."""
        if source is not self.source:
            self.source.unsubscribe(wake)
            self.source = source
            source.subscribe(wake)

    @property
    def silence(self) -> float:
        """Seconds since the last batch."""
        return time.monotonic() - self.spoken

    def pause(self, interval: float) -> float:
        """Seconds until the next batch may go; the first words wait for nothing."""
        return max(interval - self.silence, 0) if self.has_text else 0

    @property
    def timeout(self) -> float:
        """Seconds to wait for news at the most."""
        return self.source.poll or PING - self.silence


def follow(source: Source, position: int, cut: Cut | None = None) -> Generator[list[Event]]:
    """Batches of events behind ``position`` until the end; an empty batch is a heartbeat.

    ``cut`` ends it before: the session of the reader is over.
    """
    reader, news = Reader(source, position), threading.Event()
    reader.source.subscribe(news.set)
    if cut:
        cut.tell(news.set)
    try:
        while not (cut and cut.happened):
            news.clear()
            batch = reader.take()
            if batch is not None:
                yield batch
            if reader.finished:
                return
            news.wait(reader.timeout)
            time.sleep(reader.pause(INTERVAL))
            reader.go_on_at(reader.source.refresh(), news.set)
    finally:
        reader.source.unsubscribe(news.set)


async def afollow(source: Source, position: int, cut: Cut | None = None) -> AsyncGenerator[list[Event]]:
    """See ``follow()``."""
    reader, bell = Reader(source, position), Bell(relay_of(asyncio.get_running_loop()))
    reader.source.subscribe(bell.ring)
    if cut:
        cut.tell(bell.ring)
    try:
        while not (cut and cut.happened):
            bell.clear()
            batch = reader.take()
            if batch is not None:
                yield batch
            if reader.finished:
                return
            await bell.wait(reader.timeout)
            if pause := reader.pause(bell.relay.interval):
                await asyncio.sleep(pause)
            if reader.source.poll:
                look = sync_to_async(reader.source.refresh, thread_sensitive=False, executor=looks())
                source = await look()
                reader.go_on_at(source, bell.ring)
    finally:
        bell.silence()
        reader.source.unsubscribe(bell.ring)


@cache
def looks() -> ThreadPoolExecutor:
    """The threads that read rows; not the loop's own, where a slow database would hold up who renders."""
    return ThreadPoolExecutor(4, thread_name_prefix="chatsession-look")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=looks.cache_clear)


class Relay:
    """Wakes the readers of one event loop: one call to it for all that have news by then."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._rung: deque[Bell] = deque()
        self._called_at: float | None = None
        #: Seconds between two batches of a reader: twice what the loop takes to answer a call.
        self.interval = INTERVAL

    def ring(self, bell: Bell) -> None:
        """Have ``bell`` heard. From any thread."""
        self._rung.append(bell)
        if self._called_at is None:
            self._called_at = time.monotonic()
            with suppress(RuntimeError):  # the loop is closed: nobody reads there any more
                self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        called_at, self._called_at = self._called_at, None  # first: what is rung from here on calls again
        if called_at is not None:
            self.interval = min(max(2 * (time.monotonic() - called_at), INTERVAL), MAX_INTERVAL)
        while self._rung:
            self._rung.popleft().hear()


# A relay lives as long as some reader's bell does.
_relays: WeakValueDictionary[asyncio.AbstractEventLoop, Relay] = WeakValueDictionary()


def relay_of(loop: asyncio.AbstractEventLoop) -> Relay:
    """The relay of the running loop."""
    return _relays.get(loop) or _relays.setdefault(loop, Relay(loop))


class Bell:
    """What one reader on an event loop waits for: news from any thread, or that a time has passed."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self._is_rung = False
        self._waiter: asyncio.Future[None] | None = None
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def ring(self) -> None:
        """There is news. From any thread; until ``clear()`` it costs nothing to ring again."""
        if not self._is_rung:
            self._is_rung = True
            self.relay.ring(self)

    def clear(self) -> None:
        """Listen for what is new from here on."""
        self._is_rung = False

    def hear(self) -> None:
        """Wake the reader. On its loop."""
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, seconds: float) -> None:
        """Until it rings or has rung since ``clear()``, or for so many seconds."""
        if self._is_rung:
            return
        loop = asyncio.get_running_loop()
        self._due = loop.time() + seconds
        if self._timer and self._timer.when() > self._due:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = loop.call_at(self._due, self._tick)
        self._waiter = loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _tick(self) -> None:
        # The timer is left running while the reader is busy, as setting one costs more than a token does.
        loop, self._timer = asyncio.get_running_loop(), None
        if self._due > loop.time():
            self._timer = loop.call_at(self._due, self._tick)
        else:
            self.hear()

    def silence(self) -> None:
        """The reader has left."""
        if self._timer:
            self._timer.cancel()
