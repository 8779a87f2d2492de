"""Inside a transaction of the site that sees rows as they were at its start, and writes to them as they are.

MariaDB and MySQL do so under REPEATABLE READ: their own default, though not Django's. PostgreSQL and SQLite
refuse the write: there the transaction has lost.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from unittest import skipUnless

from django.db import connection, connections, transaction
from django.test import TransactionTestCase

from chatsession.stores.db import SessionStore


def elsewhere(write):
    """Write on a connection of one's own, and commit."""

    def closing():
        try:
            write()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(closing).result(30)


@skipUnless(connection.vendor == "mysql", "needs snapshots that can be written to")
class SnapshotTests(TransactionTestCase):
    def setUp(self):
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        self.addCleanup(connection.close)

    def saved(self, **values):
        session = SessionStore()
        session.update(values)
        session.save()
        return session

    def test_mutate_ends_and_starts_from_what_another_has_written(self):
        key = self.saved(n=1).session_key
        tries = []

        def add(n):
            tries.append(n)
            assert len(tries) < 5
            return n + 1

        with transaction.atomic():
            mine = SessionStore(key)
            assert mine["n"] == 1
            elsewhere(lambda: SessionStore(key).mutate("n", lambda n: n + 10))
            assert mine.mutate("n", add) == 12
        assert tries == [1, 11]
        assert SessionStore(key)["n"] == 12

    def test_sweeping_ends_while_others_keep_a_session_alive(self):
        session = self.saved(n=1)
        session.set_expiry(-1)
        session.save()

        def revive():
            with connection.cursor() as cursor:
                cursor.execute("UPDATE chatsession_session SET expires_at = created_at + INTERVAL '1' DAY")

        with transaction.atomic():
            assert SessionStore.count() == 0
            elsewhere(revive)
            SessionStore.clear_expired()
        assert SessionStore.count() == 1
