"""Reading a run: from any position, live, in a thread or on an event loop.

A reader gets what there is at once and then at most one batch every 30 ms, longer while its loop lags; all
that has gathered meanwhile is one delta. A reader that leaves is forgotten; the run goes on.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Protocol

from asgiref.sync import sync_to_async

from chatsession.runs.log import Event

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from chatsession.stores.attendance import Cut

#: Seconds of silence after which a reader is given an empty batch: a heartbeat for proxies.
PING = 15.0
#: Seconds between two batches. A measured run: 5.8 times the throughput of one batch per token.
INTERVAL = 0.03


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
    """Where one reader stands."""

    def __init__(self, source: Source, position: int) -> None:
        self.source = source
        self.position = position
        self.finished = False
        self.place = 0
        self.silence = PING

    def take(self, waited: float) -> list[Event] | None:
        """The next batch; empty if it is time for a heartbeat, None if there is nothing to send.

        Raises ``Lost``.
        """
        if self.source.lost:
            raise Lost
        batch = self.source.events_after(self.position)
        changed, self.place = self.source.place != self.place, self.source.place
        if changed and self.place:
            batch.append(Event(batch[-1].position if batch else self.position, "queue", self.place))
        if batch:
            self.position, self.finished = batch[-1].position, batch[-1].kind == "end"
        self.silence += waited
        if not batch and self.silence < PING:
            return None
        self.silence = 0.0
        return batch

    def go_on_at(self, source: Source, wake: Callable[[], None]) -> None:
        """Read on at the same position of the same answer: this process may have taken it over."""
        if source is not self.source:
            self.source.unsubscribe(wake)
            self.source = source
            source.subscribe(wake)

    @property
    def timeout(self) -> float:
        """Seconds to wait for news at the most."""
        return self.source.poll or PING


def follow(source: Source, position: int, cut: Cut | None = None) -> Generator[list[Event]]:
    """Batches of events behind ``position`` until the end; an empty batch is a heartbeat.

    ``cut`` ends it before: a thread that waits cannot be cancelled as a task can.
    """
    reader, changed, waited = Reader(source, position), threading.Event(), 0.0
    reader.source.subscribe(changed.set)
    if cut:
        cut.tell(changed.set)
    try:
        while not (cut and cut.happened):
            changed.clear()
            batch = reader.take(waited)
            if batch is not None:
                yield batch
            if reader.finished:
                return
            time.sleep(INTERVAL)
            waited = 0.0 if changed.wait(reader.timeout) else reader.timeout
            reader.go_on_at(reader.source.refresh(), changed.set)
    finally:
        reader.source.unsubscribe(changed.set)


async def afollow(source: Source, position: int) -> AsyncGenerator[list[Event]]:
    """See ``follow()``."""
    reader, changed, waited = Reader(source, position), asyncio.Event(), 0.0
    loop, interval = asyncio.get_running_loop(), INTERVAL

    def wake() -> None:
        if not changed.is_set() and not loop.is_closed():
            loop.call_soon_threadsafe(changed.set)

    reader.source.subscribe(wake)
    try:
        while True:
            changed.clear()
            batch = reader.take(waited)
            if batch is not None:
                yield batch
            if reader.finished:
                return
            before = loop.time()
            await asyncio.sleep(interval)
            interval = max(INTERVAL, min(2 * (loop.time() - before - interval), 1.0))
            waited = 0.0 if await _set_within(changed, reader.timeout) else reader.timeout
            if reader.source.poll:
                reader.go_on_at(await sync_to_async(reader.source.refresh)(), wake)
    finally:
        reader.source.unsubscribe(wake)


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False
