"""The open streams of this process: they end with their session, and keep it from falling idle.

What ends a session says so here, and with Redis to all processes of the site. What ends it elsewhere
without Redis, or by its age, is found by one thread that asks the store every few seconds, and that lives
while there are streams.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING
from weakref import WeakSet

from chatsession import connections
from chatsession.bus import bus

if TYPE_CHECKING:
    from chatsession.stores.base import BaseStore

logger = logging.getLogger("chatsession.sessions")

#: Seconds between two looks at the store; within 5 s a stream has to end.
INTERVAL = 3.0


class Cut:
    """Tells one stream, once and from any thread, that its session has ended."""

    def __init__(self, session: BaseStore) -> None:
        self.store = type(session)
        self.handle = session.handle
        #: In a transaction (a test's) the record is not to be seen from another thread.
        self.is_visible = not session.in_transaction
        self.happened = False
        self._wakers: list[Callable[[], None]] = []

    def tell(self, wake: Callable[[], None]) -> None:
        """Call ``wake()`` when it happens."""
        self._wakers.append(wake)

    def happen(self) -> None:
        self.happened = True
        for wake in self._wakers:
            wake()


# Weak: of a body that nobody reads nor closes nothing else may be left.
_open: WeakSet[Cut] = WeakSet()
_lock = threading.Lock()
_watcher: threading.Thread | None = None


def _reset() -> None:
    global _lock, _watcher
    _lock, _watcher = threading.Lock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset)


def join(session: BaseStore) -> Cut:
    """A stream of this session begins; it takes part for as long as the ``Cut`` is referred to."""
    global _watcher
    cut = Cut(session)
    with _lock:
        _open.add(cut)
        if _watcher is None or not _watcher.is_alive():
            thread = threading.Thread(target=_watch, name="chatsession-streams", daemon=True)
            with suppress(RuntimeError):  # where no thread can live only this process is heard
                thread.start()
                _watcher = thread
    bus.start()
    return cut


def leave(cut: Cut) -> None:
    """The stream has ended."""
    with _lock:
        _open.discard(cut)


def end(handle: str, *, but: Cut | None = None) -> None:
    """The session has ended: so do its streams in every process, ``but`` the one that has done it."""
    end_here(handle, but=but)
    bus.announce("ended", handle)


def end_here(handle: str, *, but: Cut | None = None) -> None:
    """See ``end()``; those in this process."""
    with _lock:
        ended = [cut for cut in _open if cut.handle == handle and cut is not but]
    for cut in ended:
        leave(cut)
        cut.happen()


def _watch() -> None:
    time.sleep(INTERVAL)
    while _round():
        time.sleep(INTERVAL)


def _round() -> bool:
    """One look. False if there is nothing to look after: then the thread ends."""
    global _watcher
    with _lock:
        cuts = list(_open)
        if not cuts:
            _watcher = None
            return False
    try:
        look([cut for cut in cuts if cut.is_visible])
    except Exception:
        logger.exception("Could not ask for the sessions of open streams; trying again")
    finally:
        connections.release()
    return True


def look(cuts: list[Cut]) -> None:
    """End the streams whose session is not there any more, stamp the sessions of the others."""
    for store in {cut.store for cut in cuts}:
        handles = {cut.handle for cut in cuts if cut.store is store}
        for gone in handles - store.attend(handles):
            end_here(gone)


bus.on("ended", end_here)
