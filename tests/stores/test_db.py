from __future__ import annotations

from unittest import mock

from django.db import connection, transaction
from django.db.utils import OperationalError
from django.test import TestCase, TransactionTestCase, override_settings
from django.test.utils import CaptureQueriesContext

from chatsession.models import Session
from chatsession.signing import hash_key
from chatsession.stores import db
from chatsession.stores.db import SessionStore
from tests.servers import environment
from tests.writers import TwoProcesses


def saved(**values):
    session = SessionStore()
    session.update(values)
    session.save()
    return session


class RowTests(TestCase):
    def test_the_key_is_nowhere_in_the_row(self):
        session = saved(a=1, _auth_user_id="7")
        row = Session.objects.get()
        assert row.key_hash == hash_key(session.session_key)
        assert (str(row.pk), row.user_id) == (session.handle, "7")
        assert session.session_key not in repr(vars(row))

    def test_logging_out_clears_the_users_column(self):
        session = saved(_auth_user_id="7")
        del session["_auth_user_id"]
        session.save()
        assert Session.objects.get().user_id is None

    def test_a_read_is_one_query_and_a_write_another(self):
        key = saved(a=1).session_key
        session = SessionStore(key)
        with self.assertNumQueries(1):
            assert session["a"] == 1
        with self.assertNumQueries(1):
            session["a"] = 2
            session.save()
        with self.assertNumQueries(0):
            assert session["a"] == 2
            session.modified = False
            session.commit()

    def test_clear_expired_works_in_batches(self):
        for _ in range(5):
            session = saved()
            session.set_expiry(-1)
            session.save()
        valid = saved()
        with mock.patch.object(db, "BATCH", 2):
            SessionStore.clear_expired()
        assert [str(row.pk) for row in Session.objects.all()] == [valid.handle]


def url_of(database):
    """What ``database_url.parse()`` makes these settings of."""
    scheme = {"sqlite3": "sqlite", "postgresql": "postgres", "mysql": "mysql"}[
        connection.settings_dict["ENGINE"].rpartition(".")[2]
    ]
    server = "{USER}:{PASSWORD}@{HOST}:{PORT}".format(**database) if scheme != "sqlite" else ""
    return f"{scheme}://{server}/{database['NAME']}"


class StorageTests(TestCase):
    def test_postgresql_does_not_compress(self):
        if connection.vendor != "postgresql":
            self.skipTest("a setting of PostgreSQL's")
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT attstorage FROM pg_attribute WHERE attname = 'data' AND attrelid = %s::regclass",
                [Session._meta.db_table],
            )
            assert cursor.fetchone() in [("e",), (b"e",)]


class ConcurrencyTests(TwoProcesses, TransactionTestCase):
    store = SessionStore

    def environment(self):
        return environment(url_of(connection.settings_dict), TEST_STORE="db")

    def overtaken(self):
        """Two requests have loaded the session, the other one has written already."""
        session = saved(a=1)
        mine, other = SessionStore(session.session_key), SessionStore(session.session_key)
        assert mine["a"] == other["a"] == 1
        other["b"] = 1
        other.save()
        mine["c"] = 1
        return mine

    def test_a_writer_that_was_overtaken_merges(self):
        mine = self.overtaken()
        mine.save()
        assert dict(SessionStore(mine.session_key)) == {"a": 1, "b": 1, "c": 1}

    def test_in_a_transaction_it_locks_the_row(self):
        mine = self.overtaken()
        with (
            transaction.atomic(),
            CaptureQueriesContext(
                connection,
            ) as queries,
        ):
            mine.save()
        locked = any("FOR UPDATE" in query["sql"] for query in queries)
        assert locked == connection.features.has_select_for_update
        assert dict(SessionStore(mine.session_key)) == {"a": 1, "b": 1, "c": 1}

    def test_a_rolled_back_transaction_takes_its_writes_along(self):
        session = saved(a=1)
        try:
            with transaction.atomic():
                session["a"] = 2
                session.save()
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        assert dict(SessionStore(session.session_key)) == {"a": 1}

    def test_a_locked_database_is_waited_for(self):
        for said in (
            "database is locked",
            "database table is locked",
            "(1213, 'Deadlock found when trying to get lock; try restarting transaction')",
            "deadlock detected",
        ):
            query = mock.Mock(side_effect=[OperationalError(said), OperationalError(said), 1])
            assert db.past_locks(query) == 1

    def test_but_not_in_a_transaction_nor_any_other_error(self):
        with transaction.atomic(), self.assertRaises(OperationalError):
            db.past_locks(mock.Mock(side_effect=OperationalError("database is locked")))
        with self.assertRaises(OperationalError):
            db.past_locks(mock.Mock(side_effect=OperationalError("no such table")))


class Router:
    def db_for_read(self, model, **hints):
        return "replica"

    def db_for_write(self, model, **hints):
        return "sessions"


def test_sessions_are_read_where_they_are_written():
    with override_settings(DATABASE_ROUTERS=["tests.stores.test_db.Router"]):
        assert db.rows().db == "sessions"
        with override_settings(CHATSESSION={"DATABASE": "chats"}):
            assert db.rows().db == "chats"
