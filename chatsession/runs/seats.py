"""Admission: how many runs write at once, and how many wait; in a process, or in a site that has Redis."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy as _

from chatsession.bus import bus
from chatsession.conf import conf
from chatsession.exceptions import TooManyRequests
from chatsession.models import Message
from chatsession.runs import ledger

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatsession.runs.run import Run

#: Seconds after which to ask again when the queue is full.
RETRY_AFTER = 5
#: Seconds between two looks that nobody has asked for, at least.
RENEWAL = 0.5
#: Places given back while Redis is away that it is told of later; the leases of more run out there.
REMEMBERED = 1000


class Place:
    """One answer's place in the line, from before its turn is stored until nobody writes it any more."""

    def __init__(self) -> None:
        self.id = uuid.uuid4().hex
        #: What orders the places of a site, and how many are before this one.
        self.ticket, self.rank = time.time_ns() // 1000, 0
        self._run: Run | None = None
        self._seated: asyncio.Future[None] | None = None

    @property
    def waits(self) -> bool:
        """Whether all seats are taken by those before it."""
        return self.rank >= conf.MAX_RUNNING

    def claim(self, run: Run) -> asyncio.Future[None]:
        """What ``run`` has to wait for; on its loop."""
        self._run, self._seated = run, asyncio.get_running_loop().create_future()
        return self._seated

    def settle(self) -> None:
        """Sit down, once, or tell the position in the queue. From any thread."""
        if self._run is None or self._seated is None:
            return
        position = self.rank - conf.MAX_RUNNING + 1 if self.waits else 0
        was_waiting = self._run.place or self._run.message.status == Message.Status.QUEUED
        if position != self._run.place or (was_waiting and not position):
            self._run.place, self._run.dirty = position, True
            self._run.notify()
        if not position:
            seated, self._seated = self._seated, None
            seated.get_loop().call_soon_threadsafe(_let_go_on, seated)


def _let_go_on(seated: asyncio.Future[None]) -> None:
    if not seated.done():
        seated.set_result(None)


class Seats:
    """``MAX_RUNNING`` seats and a queue of ``MAX_QUEUED``: one line, of which the first are seated.

    With Redis it is the line of the site, in the ``ledger``, which the bus's thread looks at; without it,
    and while it is away, each process has a line of its own. From any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places: dict[str, Place] = {}
        self._gone: deque[str] = deque(maxlen=REMEMBERED)
        self._due_at = 0.0

    def reserve(self) -> Place:
        """Take a place, before anything is stored. Raises ``TooManyRequests`` if all are taken."""
        return self._take(conf.MAX_RUNNING + conf.MAX_QUEUED)

    def force(self) -> Place:
        """Take a place beyond the limits: for a run that was admitted by a worker that has died."""
        return self._take(None)

    def _take(self, limit: int | None) -> Place:
        place = Place()
        with self._lock:
            gone = list(self._gone)
        admitted = ledger.admit(place, limit, gone) if _is_shared() else None
        with self._lock:
            if admitted is None:
                place.rank = len(self._places)
                admitted = limit is None or place.rank < limit
                if not admitted:  # Redis may have thought otherwise, and failed to say so
                    self._gone.append(place.id)
            if admitted:
                self._places[place.id] = place
                return place
        message = _("Too many answers are being written right now. Please try again in a moment.")
        raise TooManyRequests(message, code="queue_full", retry_after=RETRY_AFTER)

    def release(self, place: Place) -> None:
        """Give a place back."""
        with self._lock:
            if self._places.pop(place.id, None):
                self._gone.append(place.id)
        self.arrange()

    async def sit(self, place: Place, run: Run) -> Slot:
        """Wait for a seat, in order; cancelling the wait gives the place up at once."""
        with self._lock:
            seated = place.claim(run)
            if not place.waits:
                place.settle()
        self.arrange()
        try:
            await seated
        except asyncio.CancelledError:
            self.release(place)  # first: until then it may be told another position
            run.place = 0
            raise
        return Slot(lambda: self.release(place))

    def arrange(self) -> None:
        """Have those seated whose turn it is."""
        if _is_shared():
            self._due_at = 0.0
            bus.ring()
        else:
            self._gone.clear()
            self._settle(None)

    def go_round(self) -> bool:
        """Look at the ledger when that is due, on the bus's thread; whether there will be another time."""
        now = time.monotonic()
        if now >= self._due_at and _is_shared():
            self._due_at = now + RENEWAL  # before: who asks meanwhile asks for another look
            self.renew()
        return bool(self._places or self._gone)

    def renew(self) -> None:
        """Give back and renew places in the ledger, and have those seated whose turn it is."""
        with self._lock:
            places, gone = list(self._places.values()), list(self._gone)
        if places or gone:
            ranks = ledger.renew(places, gone)
            self._settle(None if ranks is None else dict(zip(places, ranks, strict=True)))
            if gone and ranks is not None:
                self._forget(gone)
                bus.announce("seats")

    def leave(self) -> None:
        """Give all places back at once: the process ends."""
        with self._lock:
            self._gone.extend(self._places)
            self._places.clear()
        self.renew()

    def _settle(self, ranks: dict[Place, int] | None) -> None:
        with self._lock:
            if ranks is None:
                ranks = {place: rank for rank, place in enumerate(self._places.values())}
            for place, rank in ranks.items():
                place.rank = rank
                if place.id in self._places:
                    place.settle()

    def _forget(self, gone: list[str]) -> None:
        with self._lock:
            for place in gone:
                with suppress(ValueError):
                    self._gone.remove(place)


def _is_shared() -> bool:
    """Whether the line is that of the site; runs inside requests, as in tests, have one of their own."""
    from chatsession.runs.engine import engine  # it imports this module

    return not engine.inline and bus.start()


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
