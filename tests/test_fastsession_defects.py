"""What FastSession 0.3.0 and ChatStream 0.3.0 do wrong, each reproduced there, is right here.

``docs/fastsession.md`` has the table.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from unittest import mock

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.http import HttpResponse, StreamingHttpResponse
from django.test import Client, RequestFactory, SimpleTestCase, TransactionTestCase, override_settings
from django.utils import timezone
from itsdangerous import TimestampSigner, URLSafeTimedSerializer

from chatsession.exceptions import ValueNotSerializable
from chatsession.middleware import SessionMiddleware
from chatsession.models import Message
from chatsession.signing import sign
from chatsession.stores.configured import configured_store
from chatsession.stores.memory import SessionStore as MemoryStore
from chatsession.testing import send, session_cookie
from chatsession.testing.chat import frames_of, parts_of
from demo_project.start import ROOT

CHATSTREAMS_KEY = "your-session-secret-key"
SID = "0b8a5f0e-3d7b-4b52-9d43-2f5d0c7a9e11"


def fastsession_cookie(key, **payload):
    """A cookie as FastSession makes it: default salt, SHA-1."""
    return URLSafeTimedSerializer(key).dumps(payload or {"sessionid": SID})


def later(seconds):
    """Both clocks, that of the records and that of the signatures."""
    now = timezone.now() + timedelta(seconds=seconds)
    stamp = mock.patch.object(TimestampSigner, "get_timestamp", return_value=int(now.timestamp()))
    records = mock.patch.object(timezone, "now", return_value=now)
    stamp.start(), records.start()
    return stamp, records


class Defects:
    def setUp(self):
        configured_store().clear_expired()
        self.addCleanup(mock.patch.stopall)

    def at(self, seconds):
        mock.patch.stopall()
        later(seconds)

    def sessions(self):
        return configured_store().count()

    # The cookie

    def test_a_malformed_cookie_is_a_500(self):
        serializer = URLSafeTimedSerializer("a key")
        for cookie in ("garbage", '""', "a.b", "a.b.c", serializer.dumps(["x"]), serializer.dumps(None), "é"):
            client = Client()
            client.cookies["sessionid"] = cookie
            assert client.get("/session/dump").json() == {}

    def test_the_cookie_has_no_path(self):
        cookie = self.client.get("/session/write?a=1").cookies["sessionid"]
        assert cookie["path"] == "/"
        assert self.client.get("/chat/").status_code == 200
        assert self.client.get("/session/dump").json()["a"] == "1"

    def test_the_cookies_of_the_view_are_lost(self):
        def view(request):
            request.session["a"] = 1
            response = HttpResponse()
            response.set_cookie("own", "1")
            return response

        response = SessionMiddleware(view)(RequestFactory().get("/"))
        assert set(response.cookies) == {"own", "sessionid"}

    def test_neither_vary_nor_cache_control_nor_same_site(self):
        response = self.client.get("/session/write?a=1")
        assert "Cookie" in response["Vary"]
        assert response["Cache-Control"] == "private, no-store"
        assert response.cookies["sessionid"]["samesite"] == "Lax"
        assert response.cookies["sessionid"]["httponly"]

    # The keys

    def test_an_empty_secret_signs(self):
        with override_settings(SECRET_KEY=""), pytest.raises(ImproperlyConfigured):
            sign("a" * 32)

    def test_a_token_made_elsewhere_with_the_same_key_is_valid(self):
        with override_settings(SECRET_KEY="shared"):
            session = self.stored()
            elsewhere = TimestampSigner("shared").sign(session.session_key).decode()
            assert self.cause(elsewhere) == "renew after InvalidSignature"
            assert self.cause(session_cookie(session.session_key)) == "success"

    def test_a_key_known_to_all_signs_whatever_is_configured(self):
        assert self.cause(fastsession_cookie(CHATSTREAMS_KEY)) == "renew after InvalidSignature"
        token = session_cookie(self.stored().session_key)
        with override_settings(SECRET_KEY=CHATSTREAMS_KEY):
            assert self.cause(token) == "renew after InvalidSignature"

    def test_two_sites_share_one_store(self):
        """Even where they do, a cookie of one is none of the other."""
        token = session_cookie(self.stored().session_key)
        for other in ({"SESSION_COOKIE_NAME": "other"}, {"SECRET_KEY": "another"}):
            with override_settings(**other):
                assert self.cause(token) == "renew after InvalidSignature"

    # How long it lives

    @override_settings(SESSION_COOKIE_AGE=100, SESSION_EXPIRE_AT_BROWSER_CLOSE=False)
    def test_an_active_user_is_thrown_out(self):
        self.client.get("/session/write?a=1")
        for seconds in range(50, 500, 50):
            self.at(seconds)
            assert self.client.get("/session/dump").json() == {"a": "1"}

    @override_settings(SESSION_COOKIE_AGE=100)
    def test_the_values_of_an_expired_session_stay_in_the_store(self):
        self.client.get("/session/write?a=1")
        key = self.client.session.session_key
        self.at(101)
        assert self.client.get("/session/dump").json() == {}
        assert not configured_store()().exists(key)

    @override_settings(SESSION_EXPIRE_AT_BROWSER_CLOSE=True, SESSION_COOKIE_AGE=100)
    def test_a_cookie_without_an_age_never_expires_on_the_server(self):
        response = self.client.get("/session/write?a=1")
        assert response.cookies["sessionid"]["max-age"] == ""
        self.at(101)
        assert self.client.get("/session/dump").json() == {}

    @override_settings(SESSION_COOKIE_AGE=100)
    def test_expired_sessions_stay_and_sessions_in_use_are_swept(self):
        self.client.get("/session/write?a=1")
        for _ in range(20):
            Client().get("/session/write?a=1")
        for seconds in (60, 120):
            self.at(seconds)
            self.client.get("/session/dump")
        call_command("clearsessions", stderr=mock.Mock())
        assert self.sessions() == 1
        assert self.client.get("/session/dump").json() == {"a": "1"}

    def test_a_clock_that_goes_behind_drops_fresh_sessions(self):
        self.client.get("/session/write?a=1")
        self.at(-5)
        assert self.client.get("/session/dump").json() == {"a": "1"}

    def test_a_skip_header_without_a_value_switches_every_session_off(self):
        for wrong in ({"X-Session": None}, {"X-Session": ""}, {"": "x"}):
            with override_settings(CHATSESSION={"SKIP_HEADERS": wrong}):
                assert "chatsession.E003" in [message.id for message in run_checks(tags=["chatsession"])]
                assert self.client.get("/session/write?a=1").cookies

    # How many there are

    def test_every_visit_without_a_cookie_makes_a_record(self):
        for _ in range(50):
            Client().get("/session/dump")
            Client().get("/session/untouched")
        assert self.sessions() == 0

    def test_a_view_that_fails_leaves_a_record(self):
        self.client.get("/session/write?a=1&status=500")
        assert self.sessions() == 0

    # What is written

    def test_what_is_changed_without_a_save_is_lost(self):
        def view(request):
            request.session.setdefault("params", {})["temperature"] = 0.5
            return HttpResponse()

        session = self.stored(params={})
        self.visit(view, session)
        assert dict(configured_store()(session.session_key)) == {"params": {"temperature": 0.5}}

    def test_a_save_after_a_disconnect_is_luck(self):
        asyncio.run(self.disconnect(session := self.stored()))
        assert configured_store()(session.session_key)["sent"] == 1

    async def disconnect(self, session):
        started = asyncio.Event()

        async def body(request):
            try:
                await request.session.aset("sent", 0)
                yield b"x"
                started.set()
                await asyncio.Event().wait()
            finally:
                request.session["sent"] = 1

        async def view(request):
            await request.session.aget("sent")
            return StreamingHttpResponse(body(request))

        async def read(response):
            async for _ in response:
                pass

        response = await SessionMiddleware(view)(self.request(session))
        task = asyncio.create_task(read(response))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await sync_to_async(response.close)()

    def test_a_live_object_is_kept_in_the_session(self):
        session = self.stored()
        session["prompt"] = object()
        with pytest.raises(ValueNotSerializable):
            session.save()

    def test_the_cause_is_among_the_users_values(self):
        self.client.get("/session/write?a=1")
        assert self.client.get("/session/dump").json() == {"a": "1"}
        assert self.client.session.cause == "success"

    def test_the_id_is_logged(self):
        with self.assertLogs(level="DEBUG") as logs:
            logging.getLogger("chatsession").debug("so that there is one")
            self.client.get("/session/write?a=1")
            self.client.get("/session/dump")
            send(self.client, "Hello")
        assert self.client.session.session_key[-4:] not in str(logs.output)

    def test_a_higher_role_keeps_the_id(self):
        User.objects.create_user("hanako")
        self.client.get("/session/write?a=1")
        before = self.client.session.session_key
        self.client.get("/session/sign_in?name=hanako")
        assert self.client.session.session_key != before
        assert not configured_store()().exists(before)

    # Helpers

    def stored(self, **values):
        session = configured_store()()
        session.update(values or {"a": 1})
        session.save()
        return session

    def request(self, session):
        request = RequestFactory().get("/")
        request.COOKIES["sessionid"] = session_cookie(session.session_key)
        return request

    def visit(self, view, session):
        return SessionMiddleware(view)(self.request(session))

    def cause(self, cookie):
        request = RequestFactory().get("/")
        request.COOKIES["sessionid"] = request.COOKIES["other"] = cookie
        SessionMiddleware(lambda request: None).process_request(request)
        return request.session.cause


@override_settings(SESSION_ENGINE="chatsession.stores.db")
class DatabaseTests(Defects, TransactionTestCase):
    pass


@override_settings(SESSION_ENGINE="chatsession.stores.memory")
class MemoryTests(Defects, TransactionTestCase):
    pass


class MemoryStoreTests(SimpleTestCase):
    @override_settings(CHATSESSION={"MAX_SESSIONS": 100})
    def test_memory_has_no_bounds(self):
        for _ in range(150):
            MemoryStore().create()
        assert MemoryStore.count() == 100

    def test_the_sweep_fails_while_threads_create(self):
        start = threading.Barrier(8)

        def work(number):
            start.wait()
            for _ in range(200):
                session = MemoryStore()
                session.set_expiry(-1 if number % 2 else 60)
                session.save()
                MemoryStore.clear_expired()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
        assert MemoryStore.count() == 4 * 200


class Gate:
    """A model that waits after its first word until it is let on."""

    def __init__(self):
        self.begun, self.open = threading.Event(), threading.Event()

    def stream(self, prompt):
        yield f"{prompt.text}: "
        self.begun.set()
        assert self.open.wait(10)
        yield "the end"


class TurnsTests(TransactionTestCase):
    def post(self, text, conversation):
        message = {"id": text, "role": "user", "parts": [{"type": "text", "text": text}]}
        body = {"id": conversation, "message": message}
        return self.client.post("/chat/api/chat", body, content_type="application/json")

    def test_two_turns_at_once_write_into_each_others_answer(self):
        """A conversation has one run, another is refused; two conversations of a session go side by side."""
        gate = Gate()
        with override_settings(CHATSESSION={"MODELS": {"default": {"BACKEND": gate}}}):
            first, second = self.post("A", "one"), self.post("B", "two")
            assert gate.begun.wait(10)
            assert self.post("C", "one").status_code == 409
            gate.open.set()
            streams = [b"".join(response.streaming_content) for response in (first, second)]
        assert [text_of(frames_of(stream)) for stream in streams] == ["A: the end", "B: the end"]
        answers = Message.objects.filter(role="assistant").order_by("pk")
        assert [answer.parts[0]["text"] for answer in answers] == ["A: the end", "B: the end"]

    def test_the_prompt_is_a_live_object_of_the_session(self):
        """History is rows of plain JSON, and of it nothing is in the session."""
        assert send(self.client, "Hello").status == "complete"
        question, answer = Message.objects.order_by("pk")
        assert question.parts == [{"type": "text", "text": "Hello"}]
        assert json.loads(json.dumps(answer.parts)) == answer.parts
        assert "Hello" not in json.dumps(dict(self.client.session.items()))


def text_of(frames):
    return "".join(part["text"] for part in parts_of(frames))


def test_the_table_names_every_defect():
    defects = {name for case in (Defects, MemoryStoreTests, TurnsTests) for name in vars(case)}
    tests = {name for name in defects if name.startswith("test_")}
    assert set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "fastsession.md").read_text())) == tests
