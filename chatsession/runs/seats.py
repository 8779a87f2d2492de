"""Admission: how many runs of this process write at once, and how many wait, in order."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy as _

from chatsession.conf import conf
from chatsession.exceptions import TooManyRequests

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatsession.runs.run import Run

#: Seconds after which to ask again when the queue is full.
RETRY_AFTER = 5


class Seats:
    """``MAX_RUNNING`` seats and a queue of ``MAX_QUEUED``.

    A place among the two is reserved (any thread) before anything is stored; the rest happens on the
    engine's loop, so it needs no lock.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places = 0
        self._running = 0
        self._waiting: deque[tuple[Run, asyncio.Future[None]]] = deque()

    def reserve(self) -> bool:
        """Take a place; answers whether there will be a wait. Raises ``TooManyRequests`` if all are taken."""
        with self._lock:
            if self._places >= conf.MAX_RUNNING + conf.MAX_QUEUED:
                message = _("Too many answers are being written right now. Please try again in a moment.")
                raise TooManyRequests(message, code="queue_full", retry_after=RETRY_AFTER)
            self._places += 1
            return self._places > conf.MAX_RUNNING

    def force(self) -> None:
        """Take a place beyond the limits: for a run that was admitted by a worker that has died."""
        with self._lock:
            self._places += 1

    def release(self) -> None:
        """Give a place back."""
        with self._lock:
            self._places -= 1

    async def sit(self, run: Run) -> Slot:
        """Wait for a seat, in order; cancelling the wait gives up the place in the queue at once."""
        if self._running < conf.MAX_RUNNING and not self._waiting:
            self._running += 1
        else:
            await self._wait(run)
        loop = asyncio.get_running_loop()
        return Slot(lambda: loop.call_soon_threadsafe(self._stand_up))

    async def _wait(self, run: Run) -> None:
        entry = (run, asyncio.get_running_loop().create_future())
        self._waiting.append(entry)
        self._tell()
        try:
            await entry[1]
        except asyncio.CancelledError:
            if entry in self._waiting:
                self._waiting.remove(entry)
                run.place = 0
                self.release()
                self._tell()
            else:
                self._stand_up()
            raise

    def _stand_up(self) -> None:
        self._running -= 1
        self.release()
        while self._waiting and self._running < conf.MAX_RUNNING:
            run, future = self._waiting.popleft()
            run.place, run.dirty = 0, True
            self._running += 1
            future.set_result(None)
        self._tell()

    def _tell(self) -> None:
        for place, (run, _future) in enumerate(self._waiting, 1):
            if run.place != place:
                run.place, run.dirty = place, True
                run.notify()


class Slot:
    """A seat taken. It is free once nobody holds it: a thread that cannot be broken off goes on holding."""

    def __init__(self, on_free: Callable[[], object]) -> None:
        self._on_free = on_free
        self._holders = 1
        self._lock = threading.Lock()

    def hold(self) -> None:
        """One more that has to let go."""
        with self._lock:
            self._holders += 1

    def drop(self) -> None:
        """Let go."""
        with self._lock:
            self._holders -= 1
            free = self._holders == 0
        if free:
            self._on_free()
