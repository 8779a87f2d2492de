"""Database connections outside the request cycle."""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from django.db import connections, transaction

if TYPE_CHECKING:
    from collections.abc import Iterator

_queue, _turn = threading.Lock(), threading.Lock()


def _reset() -> None:
    global _queue, _turn
    _queue, _turn = threading.Lock(), threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset)


@contextmanager
def writing(alias: str, *, first: bool = False) -> Iterator[None]:
    """A transaction that writes. On SQLite, which knows one writer, those of this process take turns.

    SQLite's own wait knows no order: of 500 answers asked for at once, 405 failed with "database is locked"
    after its five seconds. ``first`` goes past the queue, to be the next.
    """
    connection = connections[alias]
    with ExitStack() as held:
        # Who has a transaction open may have SQLite's lock already, and must not wait for ours as well.
        if connection.vendor == "sqlite" and not connection.in_atomic_block:
            if not first:
                if not _queue.acquire(blocking=False):
                    connection.close()  # of 1,000 that wait each would hold 100 kB
                    _queue.acquire()
                held.callback(_queue.release)
            held.enter_context(_turn)
        held.enter_context(transaction.atomic(alias))
        yield


def release() -> None:
    """Close what this thread has open, as nothing else will; an open transaction (a test's) stays.

    ``close_old_connections()`` will not do: inside a transaction it closes the connection all the same.
    """
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()
