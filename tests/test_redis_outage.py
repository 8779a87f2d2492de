"""Redis, which holds the sessions, is away for a while, under traffic."""

from __future__ import annotations

import logging
import signal

import pytest
from asgiref.sync import sync_to_async
from django.contrib.sessions.backends.cache import SessionStore as OldStore
from django.http import StreamingHttpResponse
from django.test import RequestFactory, TransactionTestCase, override_settings

from chatsession import redis
from chatsession.exceptions import StoreAway
from chatsession.middleware import SessionMiddleware
from chatsession.models import Conversation
from chatsession.stores.redis import SessionStore
from chatsession.testing import session_cookie
from tests.outage import AwayMixin
from tests.redis_server import Server, configured


@override_settings(SESSION_ENGINE="chatsession.stores.redis")
class RedisAwayTests(AwayMixin, TransactionTestCase):
    def setUp(self):
        self.server = Server()
        self.addCleanup(self.server.stop)
        self.enterContext(configured(self.server.url))
        self.be_silent()

    def test_it_answers_503_meanwhile_and_recovers_by_itself(self):
        for _ in range(2):
            self.client.get("/session/write?a=1")
            assert self.client.get("/session/dump").json() == {"a": "1"}
            self.server.stop()
            self.assertAllIsUnavailable()
            self.server.start()
            # It has kept nothing on disk: the visitor is a new one.
            assert self.client.get("/session/dump").json() == {}
        assert Conversation.objects.count() == 0

    async def test_in_async(self):
        for _ in range(2):
            await self.async_client.get("/session/awrite?a=1")
            await sync_to_async(self.server.stop)()
            self.assertUnavailable(await self.async_client.get("/session/awrite?b=1"))
            await sync_to_async(self.server.start)()
            response = await self.async_client.get("/session/awrite?a=1")
            assert response.status_code == 200

    @pytest.mark.server
    def test_a_server_that_hangs(self):
        self.client.get("/session/write?a=1")
        self.server.process.send_signal(signal.SIGSTOP)
        self.assertUnavailable(self.client.get("/session/dump"))
        self.server.process.send_signal(signal.SIGCONT)
        assert self.client.get("/session/dump").json() == {"a": "1"}

    def test_a_server_that_is_full_is_as_good_as_away(self):
        self.client.get("/session/write?a=1")
        redis.client().config_set("maxmemory", 1)
        self.assertUnavailable(self.client.get("/session/write?b=1"))
        redis.client().config_set("maxmemory", 0)
        assert self.client.get("/session/dump").json() == {"a": "1"}

    def test_a_stream_goes_on_and_the_log_tells_what_it_could_not_store(self):
        session = SessionStore()
        session["a"] = 1
        session.save()

        def body(session):
            yield b"x"
            session["b"] = 1
            yield b"y"

        def view(request):
            assert request.session["a"] == 1
            return StreamingHttpResponse(body(request.session))

        request = RequestFactory().get("/")
        request.COOKIES["sessionid"] = session_cookie(session.session_key)
        response = SessionMiddleware(view)(request)
        chunks = iter(response)
        assert next(chunks) == b"x"
        self.server.stop()
        logging.disable(logging.NOTSET)
        with self.assertLogs("chatsession.sessions", "ERROR"):
            assert list(chunks) == [b"y"]
            response.close()

    def test_an_old_session_is_not_taken_over_only_to_be_lost(self):
        old = OldStore()
        old["cart"] = [1]
        old.save()
        self.server.stop()
        session = SessionStore()
        session.old_key = old.session_key
        with configured(self.server.url, ADOPT=OldStore.__module__), self.assertRaises(StoreAway):
            session.load()
        assert OldStore(old.session_key)["cart"] == [1]
