from __future__ import annotations

import os
import random
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from importlib import import_module
from unittest import mock

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.sessions.exceptions import SessionInterrupted
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.test import AsyncClient, RequestFactory, TestCase, TransactionTestCase, override_settings
from django.utils import timezone
from itsdangerous import TimestampSigner

from chatsession import signing
from chatsession.middleware import SessionMiddleware, truncated
from chatsession.stores.base import Cause
from chatsession.testing import session_cookie

Store = import_module(settings.SESSION_ENGINE).SessionStore
FACES = ("", "a")


@contextmanager
def store_untouched(*primitives):
    """No operation of the store runs; with names, none of these."""
    with ExitStack() as stack:
        for name in primitives or ("_run", "_arun"):
            refuse = AssertionError(f"the store was asked to {name}")
            stack.enter_context(mock.patch.object(Store, name, side_effect=refuse))
        yield


class Visitor(TestCase):
    """One browser, by the sync and the async client."""

    async def get(self, path, **options):
        return await self.async_client.get(f"/session/{path}", **options)

    @property
    def cookie(self):
        return self.async_client.cookies.get(settings.SESSION_COOKIE_NAME)

    @cookie.setter
    def cookie(self, value):
        self.async_client.cookies[settings.SESSION_COOKIE_NAME] = value


class UntouchedSessionTests(Visitor):
    """What does not use the session does not pay for it."""

    async def assertLeftAlone(self):
        for face in FACES:
            with store_untouched():
                response = await self.get(f"{face}untouched")
            assert response.status_code == 200
            assert not response.cookies
            assert "Cookie" not in response.get("Vary", "")
            assert "Cache-Control" not in response

    async def test_of_a_new_visitor(self):
        await self.assertLeftAlone()

    async def test_of_a_known_visitor(self):
        await self.get("write?a=1")
        await self.assertLeftAlone()

    async def test_with_a_bad_cookie(self):
        self.cookie = "garbage"
        await self.assertLeftAlone()

    async def test_a_visit_that_stores_nothing_makes_no_record(self):
        for face in FACES:
            response = await self.get(f"{face}dump")
            assert (response.json(), response.cookies) == ({}, {})
            assert "Cookie" in response["Vary"]
        with override_settings(SESSION_SAVE_EVERY_REQUEST=True):
            assert not (await self.get("untouched")).cookies
        assert await sync_to_async(Store.count)() == 0

    async def test_a_read_writes_nothing(self):
        await self.get("write?a=1")
        for face in FACES:
            with store_untouched("_apply", "_insert", "_touch"):
                response = await self.get(f"{face}dump")
            assert (response.json(), response.cookies) == ({"a": "1"}, {})


class CookieTests(Visitor):
    async def test_its_attributes(self):
        for face in FACES:
            response = await self.get(f"{face}write?a={face}")
            header = response.cookies.output(header="").strip()
            value = self.cookie.value
            assert header == f"sessionid={value}; HttpOnly; Path=/; SameSite=Lax"
            assert signing.unsign(value).session_key == value.partition(".")[0]

    @override_settings(SESSION_COOKIE_SECURE=True, SESSION_EXPIRE_AT_BROWSER_CLOSE=False)
    async def test_secure_and_with_an_age(self):
        response = await self.get("awrite?a=1")
        morsel = response.cookies["sessionid"]
        assert (morsel["secure"], morsel["max-age"]) == (True, settings.SESSION_COOKIE_AGE)
        assert morsel["expires"]

    async def test_a_browser_length_session_still_expires_on_the_server(self):
        await self.get("write?a=1")
        later = timezone.now() + timedelta(seconds=settings.SESSION_COOKIE_AGE + 1)
        with mock.patch.object(timezone, "now", return_value=later):
            assert (await self.get("dump")).json() == {}

    async def test_an_emptied_session_takes_its_cookie_along(self):
        for face in FACES:
            await self.get("write?a=1")
            response = await self.get(f"{face}flush")
            assert response.cookies["sessionid"]["max-age"] == 0
            assert "Cookie" in response["Vary"]
            assert response["Cache-Control"] == "private, no-store"

    async def test_no_cache_may_keep_it(self):
        for face in FACES:
            response = await self.get(f"{face}write?a={face}")
            assert response["Cache-Control"] == "private, no-store"
            assert "Cookie" in response["Vary"]

    async def test_one_of_an_older_key_is_reissued_when_it_is_used(self):
        with override_settings(SECRET_KEY="old"):
            await self.get("write?a=1")
        old = self.cookie.value
        with override_settings(SECRET_KEY="new", SECRET_KEY_FALLBACKS=["old"]):
            assert not (await self.get("untouched")).cookies
            assert (await self.get("dump")).json() == {"a": "1"}
            assert self.cookie.value != old
            assert signing.unsign(self.cookie.value).current
            assert not (await self.get("dump")).cookies

    async def test_a_rotation_of_keys_logs_nobody_out(self):
        """Each visitor's next visit signs anew, by the newest key; so the older ones can go."""
        keys, cookies = ["third", "second", "first"], {}
        for n in range(9):
            self.async_client = AsyncClient()
            with override_settings(SECRET_KEY=keys[n % 3], SECRET_KEY_FALLBACKS=keys[n % 3 + 1 :]):
                await self.get(f"awrite?n={n}")
            cookies[n] = self.cookie.value
        with override_settings(SECRET_KEY="newest", SECRET_KEY_FALLBACKS=keys):
            for n, old in cookies.items():
                self.cookie = old
                assert (await self.get(f"{FACES[n % 2]}dump")).json() == {"n": str(n)}
                cookies[n] = self.cookie.value
        with override_settings(SECRET_KEY="newest"):
            for n, new in cookies.items():
                self.cookie = new
                response = await self.get("dump")
                assert (response.json(), response.cookies) == ({"n": str(n)}, {})

    async def test_it_moves_along_with_the_record(self):
        for kept in (False, True):
            with override_settings(SESSION_EXPIRE_AT_BROWSER_CLOSE=not kept, SESSION_COOKIE_AGE=1000):
                await self.get("awrite?a=1")
                first = self.cookie.value
                with later(seconds=99):
                    assert not (await self.get("dump")).cookies
                with later(seconds=105):
                    assert not (await self.get("untouched")).cookies
                    response = await self.get("adump")
                    assert self.cookie.value != first
                    assert response.cookies["sessionid"]["max-age"] == (1000 if kept else "")
                    assert response["Cache-Control"] == "private, no-store"
                with later(seconds=1050):
                    assert (await self.get("dump")).json() == {"a": "1"}

    async def test_one_with_a_fixed_end_does_not_move(self):
        await self.get("write?a=1")
        session = Store(self.cookie.value)
        await session.aset_expiry(timezone.now() + timedelta(hours=10))
        await session.asave()
        with later(seconds=9 * 3600):
            assert not (await self.get("dump")).cookies

    async def test_one_with_an_age_of_its_own_moves_by_that(self):
        await self.get("write?a=1")
        session = Store(self.cookie.value)
        await session.aset_expiry(100)
        await session.asave()
        with later(seconds=12):
            assert (await self.get("dump")).cookies["sessionid"]["max-age"] == 100

    async def test_it_moves_before_the_first_byte_of_a_stream(self):
        await self.get("write?a=1")
        with later(seconds=settings.SESSION_COOKIE_AGE // 2):
            response = await self.async_client.get("/session/stream?chunks=1")
            assert response.cookies["sessionid"].value
            async for _ in response:
                pass

    async def test_of_an_unsigned_response_is_not_sent(self):
        for face in FACES:
            response = await self.get(f"{face}write?a=1&status=503")
            assert not response.cookies
            assert (await self.get("dump")).json() == {}


class CacheControlTests(TestCase):
    def cache_control(self, own, **response):
        def view(request):
            request.session["a"] = 1
            return HttpResponse(headers={"Cache-Control": own})

        return SessionMiddleware(view)(RequestFactory().get("/"))["Cache-Control"]

    def test_the_view_keeps_its_own_but_for_sharing(self):
        assert self.cache_control("max-age=60") == "max-age=60, private"
        assert self.cache_control("public, s-maxage=60, max-age=5") == "max-age=5, private"
        assert self.cache_control("private, no-cache") == "no-cache, private"


@contextmanager
def later(*, seconds):
    now = timezone.now() + timedelta(seconds=seconds)
    stamp = mock.patch.object(TimestampSigner, "get_timestamp", return_value=int(now.timestamp()))
    with stamp, mock.patch.object(timezone, "now", return_value=now):
        yield


class CauseTests(Visitor):
    def cause(self, cookie):
        request = RequestFactory().get("/")
        if cookie is not None:
            request.COOKIES["sessionid"] = cookie
        SessionMiddleware(lambda request: None).process_request(request)
        return request.session.cause

    def saved(self, age=None):
        session = Store()
        session["a"] = 1
        session.set_expiry(age)
        session.save()
        return session

    def test_of_every_kind_of_cookie(self):
        session = self.saved()
        token = session_cookie(session.session_key)
        with override_settings(SESSION_COOKIE_NAME="foreign"):
            foreign = session_cookie(session.session_key)
        assert self.cause(None) is Cause.NEW
        assert self.cause(token) is Cause.SUCCESS
        assert self.cause(session_cookie("a" * 32)) is Cause.UNKNOWN_ID
        assert self.cause(session_cookie(self.saved(-1).session_key)) is Cause.EXPIRED
        for bad in ("", "garbage", "a.b.c", token + "x", session.session_key, foreign, "1$" + "0" * 64):
            assert self.cause(bad) is Cause.BAD_SIGNATURE

    def test_a_record_that_is_gone_has_expired_if_the_cookie_is_old(self):
        age = settings.SESSION_COOKIE_AGE
        with mock.patch.object(
            TimestampSigner, "get_timestamp", lambda self: int(timezone.now().timestamp()) - age - 9
        ):
            old = session_cookie("a" * 32)
        assert self.cause(old) is Cause.EXPIRED

    def test_clocks_that_differ_harm_nobody(self):
        for skew in (-5, 5):
            with later(seconds=skew), override_settings(CHATSESSION={"ABSOLUTE_AGE": 60}):
                session = self.saved()
                token = session_cookie(session.session_key)
            assert self.cause(token) is Cause.SUCCESS
            with later(seconds=-skew):
                assert self.cause(token) is Cause.SUCCESS
            assert Store(token)["a"] == 1


class ForgedCookieTests(TransactionTestCase):
    """2,000 mutations (20,000 with TEST_SLOW) of a genuine cookie, through the whole of a WSGI site."""

    def setUp(self):
        self.handler = WSGIHandler()
        self.session = Store()
        self.session["secret"] = 1
        self.session.save()
        self.token = session_cookie(self.session.session_key)

    def status_and_body(self, cookie):
        environ = RequestFactory().get("/session/dump").environ
        environ["HTTP_COOKIE"] = f"sessionid={cookie}".encode().decode("latin-1")
        answers = []
        response = self.handler(environ, lambda status, headers: answers.append(status))
        return answers[0], b"".join(response)

    def test_none_opens_a_session_nor_reaches_the_store(self):
        assert self.status_and_body(self.token) == ("200 OK", b'{"secret": 1}')
        rng = random.Random(20260101)
        with store_untouched("_fetch", "_apply", "_insert", "_touch", "_remove"):
            for _ in range(20_000 if "TEST_SLOW" in os.environ else 2000):
                cookie = mutated(self.token, rng)
                if cookie != self.token:
                    assert self.status_and_body(cookie) == ("200 OK", b"{}"), cookie
        assert Store.count() == 1

    def test_the_bare_key_opens_nothing_either(self):
        with store_untouched("_fetch"):
            assert self.status_and_body(self.session.session_key) == ("200 OK", b"{}")


def mutated(token, rng):
    place, length = rng.randrange(len(token)), rng.randrange(1, 6)
    junk = "".join(rng.choice("aA0.-_:=%\"'\\é日\x7f{}[]$") for _ in range(length))
    parts = token.split(".")
    rng.shuffle(parts)
    return rng.choice(
        [
            token[:place] + junk + token[place + length :],
            token[:place] + junk + token[place:],
            token[:place],
            token[place:],
            token.swapcase(),
            token * length,
            ".".join(parts),
            token.replace(".", junk[0], length),
            junk * 2000,
            "",
        ]
    )


class LoginTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.user = get_user_model().objects.create_user("kei")

    async def test_the_old_id_is_dead_and_the_record_goes_on(self):
        for name in ("sign_in", "asign_in"):
            client = self.async_client_class()
            await client.get("/session/write?a=1")
            guest = client.cookies["sessionid"].value
            await client.get(f"/session/{name}?name=kei")
            session = Store(client.cookies["sessionid"].value)
            assert await session.aget("a") == "1"
            assert session.session_key != guest.partition(".")[0]
            assert await Store(guest).aget("a") is None

    async def test_a_failing_login_view_does_not_cost_the_guest_the_session(self):
        await self.async_client.get("/session/write?a=1")
        await self.async_client.get("/session/sign_in?name=kei&status=500")
        assert (await self.async_client.get("/session/dump")).json() == {"a": "1"}

    def test_the_test_client_works_as_before(self):
        self.client.force_login(self.user)
        assert self.client.get("/session/dump").json()["_auth_user_id"] == str(self.user.pk)
        session = self.client.session
        session["a"] = 1
        session.save()
        self.client.get("/session/write?b=1")
        assert (self.client.session["a"], self.client.session["b"]) == (1, "1")
        self.client.logout()
        assert self.client.get("/session/dump").json() == {}

    async def test_the_async_client_works_as_before(self):
        await self.async_client.aforce_login(self.user)
        assert (await self.async_client.get("/session/adump")).json()["_auth_user_id"] == str(self.user.pk)
        session = await self.async_client.asession()
        await session.aset("a", 1)
        await session.asave()
        assert (await self.async_client.get("/session/dump")).json()["a"] == 1
        await self.async_client.alogout()
        assert (await self.async_client.get("/session/dump")).json() == {}


class InterruptedTests(TestCase):
    """A request whose session was deleted meanwhile fails only if it wanted to keep something."""

    def setUp(self):
        session = Store()
        session.update({"a": 1, "b": 1})
        session.save()
        self.token = session_cookie(session.session_key)
        self.request = RequestFactory().get("/")
        self.request.COOKIES["sessionid"] = self.token

    def response(self, change):
        def view(request):
            assert request.session["a"] == 1
            Store(self.token).delete()
            change(request.session)
            return HttpResponse("answer")

        return SessionMiddleware(view)(self.request)

    def test_a_written_key_is_lost(self):
        with self.assertRaises(SessionInterrupted):
            self.response(lambda session: session.update({"a": 2}))
        assert Store.count() == 0

    async def test_a_written_key_is_lost_in_async(self):
        async def view(request):
            assert await request.session.aget("a") == 1
            await Store(self.token).adelete()
            await request.session.aset("a", 2)
            return HttpResponse()

        with self.assertRaises(SessionInterrupted):
            await SessionMiddleware(view)(self.request)

    def test_a_reader_is_not_troubled(self):
        assert self.response(lambda session: session["a"]).content == b"answer"

    def test_nor_is_who_only_removed_something(self):
        assert self.response(lambda session: session.pop("a")).content == b"answer"
        assert Store.count() == 0


@override_settings(CHATSESSION={"SKIP_HEADERS": {"X-Session": "none", "X-Bot": "*"}})
class SkipHeaderTests(Visitor):
    """A request that asks for no session has one of its own that nobody ever sees again."""

    async def test_the_visitors_session_is_not_looked_at(self):
        await self.get("write?a=1")
        cookie = self.cookie.value
        for face in FACES:
            with store_untouched():
                response = await self.get(f"{face}dump", headers={"X-Session": "none"})
            assert (response.json(), response.cookies, response["Vary"].count("Cookie")) == ({}, {}, 0)
            assert "X-Session" in response["Vary"]
        assert (await self.get("dump")).json() == {"a": "1"}
        assert self.cookie.value == cookie

    async def test_what_it_writes_is_dropped(self):
        for face in FACES:
            for path in (f"{face}write?a=1", f"{face}flush", "stream?chunks=2"):
                response = await self.get(path, headers={"x-bot": "any"})
                if response.streaming:
                    assert b"".join([chunk async for chunk in response]) == b"xx"
                assert (response.status_code, response.cookies) == (200, {})
        assert await sync_to_async(Store.count)() == 0

    async def test_a_login_by_it_lasts_for_the_request_only(self):
        await sync_to_async(get_user_model().objects.create_user)("kei")
        for name in ("sign_in", "asign_in"):
            response = await self.get(f"{name}?name=kei", headers={"X-Session": "none"})
            assert (response.status_code, "sessionid" in response.cookies) == (200, False)
        assert await sync_to_async(Store.count)() == 0

    async def test_it_never_raises_privilege(self):
        user = await sync_to_async(get_user_model().objects.create_superuser)("kei")
        await self.async_client.aforce_login(user)
        assert (await self.async_client.get("/admin/")).status_code == 200
        assert (await self.async_client.get("/admin/", headers={"X-Bot": "1"})).status_code == 302

    async def test_other_values_and_no_header_mean_nothing(self):
        await self.get("write?a=1")
        for headers in ({}, {"X-Session": "None"}, {"X-Session": ""}, {"X-Other": "none"}):
            assert (await self.get("dump", headers=headers)).json() == {"a": "1"}

    async def test_untouched_it_leaves_the_response_alone(self):
        response = await self.get("untouched", headers={"X-Bot": "1"})
        assert "X-Bot" not in response.get("Vary", "")


class RecordTests(Visitor):
    """What the record says of its visitor."""

    async def client_of(self, **headers):
        await self.get("write?a=1", headers={"user-agent": "Firefox " * 100, **headers})
        session = Store(self.cookie.value)
        await session.aget("a")
        return await sync_to_async(Store.info)(session.handle)

    async def test_the_user_agent_is_cut_and_the_address_truncated(self):
        client = await self.client_of()
        assert (client.ip, len(client.user_agent)) == ("127.0.0.0", 300)

    async def test_the_site_may_know_the_address_better(self):
        with override_settings(CHATSESSION={"CLIENT_IP": lambda request: request.headers["X-Real-IP"]}):
            client = await self.client_of(**{"X-Real-IP": "2001:db8:1:2::3"})
        assert client.ip == "2001:db8:1::"

    def test_addresses(self):
        assert truncated("192.0.2.77") == "192.0.2.0"
        assert truncated("::ffff:192.0.2.77") == "192.0.2.0"
        assert truncated("unix:") == ""


@override_settings(SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies")
class ForeignEngineTests(Visitor):
    """With another engine it is Django's middleware."""

    async def test_it_behaves_as_django_does(self):
        for face in FACES:
            response = await self.get(f"{face}write?a={face}")
            assert "Cache-Control" not in response
            assert (await self.get(f"{face}dump")).json() == {"a": face}
