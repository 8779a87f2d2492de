"""Database connections outside the request cycle."""

from __future__ import annotations

from django.db import connections


def release() -> None:
    """Close what this thread has open, as nothing else will; an open transaction (a test's) stays.

    ``close_old_connections()`` will not do: inside a transaction it closes the connection all the same.
    """
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()
