"""The one thread of a process that writes its runs.

Once a second, and within 30 ms when a run ends: renew the worker's lease, write the texts that grew and the
runs that ended, read the stop flags, all in one transaction; then announce the ends. One thread and one
connection however many runs there are.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import DatabaseError, InterfaceError, close_old_connections
from django.db.models.functions import Now
from django.utils import timezone

from chatsession import connections
from chatsession.conversations import history
from chatsession.conversations.turns import ACTIVE
from chatsession.models import Message, Worker
from chatsession.runs import stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from chatsession.runs.log import Outcome
    from chatsession.runs.run import Run

logger = logging.getLogger("chatsession.runs")
#: Seconds between two writes.
TICK = 1.0
#: Seconds between two rounds at least: of 100 answers that end in a second, each would cost a commit.
GATHER = 0.03
#: Answers written by one statement: SQLite takes no more than 999 variables everywhere.
BATCH = 200
#: Seconds that leaving waits for a round that is under way.
LEAVE_PATIENCE = 3.0


class Ticker:
    """Writes the runs of ``live`` under the lease ``token``."""

    def __init__(self, token: str, live: dict[str, Run], on_end: Callable[[Run], None]) -> None:
        self.token = token
        self.live = live
        self.on_end = on_end
        self.renewed = 0.0
        self._wake = threading.Event()
        self._idle = self._asked = False
        self._thread: threading.Thread | None = None
        self._left = False
        self._lock = threading.Lock()
        self._writing = threading.Lock()

    def start(self) -> None:
        """Attend to a run just added to ``live``. Raises ``RuntimeError`` where no thread can live."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                thread = threading.Thread(target=self._loop, name="chatsession-ticker", daemon=True)
                thread.start()
                self._thread = thread
        if self._idle:
            self._wake.set()

    def wake(self) -> None:
        """Write the runs that have ended, without waiting for the next round."""
        self._asked = True
        self._wake.set()

    def hold_lease(self) -> None:
        """Make sure that others see this worker alive; called before a run's row appears."""
        if self._age() > stored.LEASE / 4:
            with connections.writing(history.database()):
                if self._age() > stored.LEASE / 4:  # of a burst of sends, one
                    renew(self.token)
                    self.renewed = time.monotonic()

    def _age(self) -> float:
        return time.monotonic() - self.renewed

    def _loop(self) -> None:
        ticked = 0.0
        while True:
            # Set before looking at the runs: start() adds one, then looks at this.
            self._idle = True
            timeout = TICK if self.live else None
            self._idle = timeout is None
            woken = self._wake.wait(timeout)
            time.sleep(max(ticked + GATHER - time.monotonic(), 0))
            self._wake.clear()
            if woken and not self._asked:
                continue  # a run has begun: nothing of it is to be written for a second
            self._asked = False
            try:
                try:
                    self.tick(whole=not woken or self._age() > TICK)
                finally:
                    ticked = time.monotonic()
                    self._let_go()
            except (DatabaseError, InterfaceError):
                logger.exception("Could not write the runs of this process; trying again")
                self._give_up_when_stale()
            except Exception:
                logger.exception("The ticker failed; it goes on")

    def _let_go(self) -> None:
        """Without runs no connection is kept, also where others are: who knows when the next one comes."""
        if self.live:
            close_old_connections()
        else:
            connections.release()

    def tick(self, *, whole: bool = True) -> None:
        """One round. If it is not the ``whole``, runs that go on wait for the next one."""
        with self._writing:
            runs = [run for run in list(self.live.values()) if whole or run.ending]
            if not runs or self._left:
                return
            try:
                with connections.writing(history.database(), first=True):
                    if whole:
                        renew(self.token)
                        write_texts(runs, self.token)
                    ended = [(run, write_end(run, self.token)) for run in runs]
                    held = stop_flags((run.id for run in runs), self.token) if whole else {}
            except Exception:
                for run in runs:
                    run.dirty = True
                raise
        if whole:
            self.renewed = time.monotonic()
        for run, after_commit in ended:
            after_commit()
            if not run.ended.is_set():
                obey(run, held)
            if run.ended.is_set():
                self.live.pop(run.id, None)
            if run.outcome is not None:
                self.on_end(run)

    def leave(self) -> None:
        """Write what is new for the last time and give the lease up: another worker need not wait for it."""
        if not self._writing.acquire(timeout=LEAVE_PATIENCE):
            return
        try:
            self._left = True
            with connections.writing(history.database(), first=True):
                runs = list(self.live.values())
                write_texts(runs, self.token)
                for run in runs:
                    write_end(run, self.token)
                Worker.objects.using(history.database()).filter(token=self.token).delete()
        finally:
            self._writing.release()
            connections.release()

    def _give_up_when_stale(self) -> None:
        if self._age() > stored.LEASE:
            for run in list(self.live.values()):
                run.lose()
                self.live.pop(run.id, None)


def renew(token: str) -> None:
    """Renew the lease by the database's clock, so that workers need not agree on the time."""
    rows = Worker.objects.using(history.database())
    if not rows.filter(token=token).update(renewed_at=Now()):
        rows.filter(renewed_at__lt=Now() - timedelta(days=1)).delete()
        rows.bulk_create([Worker(token=token, renewed_at=Now())], ignore_conflicts=True)


def write_texts(runs: list[Run], token: str) -> None:
    """Write what has grown of the runs that go on."""
    grown = [run for run in runs if run.dirty and run.ending is None]
    for run in grown:
        run.dirty = False
    waiting, written = [run for run in grown if run.place], [run for run in grown if not run.place]
    for status, group in ((Message.Status.QUEUED, waiting), (Message.Status.STREAMING, written)):
        for start in range(0, len(group), BATCH):
            stored.write_texts(group[start : start + BATCH], status, token)


def write_end(run: Run, token: str) -> Callable[[], None]:
    """Write the end of a run if it has one; answers what is to be done once it is committed."""
    ending = run.ending
    if ending is None:
        return lambda: None
    if not stored.write_end(run.message, token, ending, parts=run.parts()):
        return run.lose
    return lambda: announce(run, ending)


def stop_flags(run_ids: Iterable[str], token: str) -> dict[str, bool]:
    """Of the runs that are still ours to write, whether somebody asked them to stop."""
    rows = Message.objects.using(history.database()).filter(run_id__in=list(run_ids))
    held = rows.filter(lease=token, status__in=ACTIVE)
    return {str(run_id): flag for run_id, flag in held.values_list("run_id", "stop_requested")}


def obey(run: Run, held: dict[str, bool]) -> None:
    """Go by what the database says of a run that goes on: it is no more ours, or is to stop."""
    if run.id not in held:
        run.lose()
    elif held[run.id]:
        run.stop()


def announce(run: Run, outcome: Outcome) -> None:
    """Tell the readers that a run has ended; its row says so already."""
    run.end(outcome)
    message = run.message
    message.parts, message.status, message.usage = run.parts(), outcome.status, outcome.usage
    message.error, message.finished_at = outcome.error, timezone.now()
