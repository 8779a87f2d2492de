"""The database is away for a while, under traffic."""

from __future__ import annotations

from unittest import mock

from django.db import OperationalError, close_old_connections, connection
from django.test import RequestFactory, TestCase, TransactionTestCase, override_settings

from chatsession.middleware import SessionMiddleware
from chatsession.models import Conversation, Session
from chatsession.stores.db import SessionStore
from chatsession.testing import session_cookie
from tests.outage import AwayMixin
from tests.proxy import Proxy


@override_settings(SESSION_ENGINE="chatsession.stores.db")
class PostgresAwayTests(AwayMixin, TransactionTestCase):
    def setUp(self):
        if connection.vendor != "postgresql":
            self.skipTest("a server that can be away")
        database = connection.settings_dict
        self.proxy = Proxy((database["HOST"], int(database["PORT"])))
        connection.close()
        self.enterContext(mock.patch.dict(database, PORT=str(self.proxy.port)))
        self.addCleanup(self.proxy.stop)
        self.addCleanup(connection.close)
        self.be_silent()

    def test_it_answers_503_meanwhile_and_recovers_by_itself(self):
        self.client.get("/session/write?a=1")
        for _ in range(2):
            self.proxy.stop()
            self.assertAllIsUnavailable()
            self.proxy.start()
            close_old_connections()  # at the begin and end of each request, but for those of a test client
            assert self.client.get("/session/dump").json() == {"a": "1"}
            assert (Session.objects.count(), Conversation.objects.count()) == (1, 0)


@override_settings(SESSION_ENGINE="chatsession.stores.db")
class SessionsAwayTests(TestCase):
    """Only the sessions' own failure is answered so, and not while a site is being developed."""

    def setUp(self):
        session = SessionStore()
        session["a"] = 1
        session.save()
        self.token = session_cookie(session.session_key)

    def respond(self, method, **visitor):
        self.client.cookies["sessionid"] = self.token
        with mock.patch.object(SessionStore, method, side_effect=OperationalError("the server is gone")):
            return self.client.get("/session/write?b=1")

    def test_at_the_load_and_at_the_commit(self):
        for method in ("_fetch", "_apply"):
            with self.assertLogs("chatsession.sessions", "ERROR"):
                response = self.respond(method)
            assert (response.status_code, response["Retry-After"], response.cookies) == (503, "5", {})

    async def test_in_async(self):
        for method in ("_fetch", "_apply"):
            self.async_client.cookies["sessionid"] = self.token
            away = mock.patch.object(SessionStore, method, side_effect=OperationalError("gone"))
            with away, self.assertLogs("chatsession.sessions", "ERROR"):
                assert (await self.async_client.get("/session/awrite?b=1")).status_code == 503

    def test_a_developer_sees_the_error(self):
        with override_settings(DEBUG=True):
            for method in ("_fetch", "_apply"):
                with self.assertRaisesMessage(OperationalError, "the server is gone"):
                    self.respond(method)

    def test_errors_of_the_site_are_the_sites(self):
        request = RequestFactory().get("/")
        middleware = SessionMiddleware(lambda request: None)
        middleware.process_request(request)
        assert middleware.process_exception(request, OperationalError("the site's own")) is None
