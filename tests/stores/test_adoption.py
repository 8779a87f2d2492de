"""``ADOPT``: a site changes from Django's sessions to ours, and nobody notices."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from importlib import import_module
from threading import Barrier
from unittest import mock

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.sessions.backends import cache, cached_db
from django.contrib.sessions.backends import db as django_db
from django.core.cache import cache as the_cache
from django.core.management import call_command
from django.db import connection, connections
from django.http import HttpResponse, StreamingHttpResponse
from django.test import RequestFactory, TransactionTestCase, modify_settings, override_settings
from django.utils import timezone

from chatsession import signing
from chatsession.middleware import SessionMiddleware
from chatsession.stores.base import Cause
from chatsession.testing import session_cookie

Store = import_module(settings.SESSION_ENGINE).SessionStore
REQUESTS = 8


class Adoption:
    """A visitor comes with the cookie of ``engine``, over the wire."""

    engine: type

    def setUp(self):
        the_cache.clear()
        self.enterContext(override_settings(CHATSESSION={"ADOPT": self.engine.__module__}))
        self.kei = get_user_model().objects.create_user("kei")

    def old(self, **values):
        session = self.engine()
        session.update({"cart": [1], **values})
        session.save()
        return session

    def logged_in(self):
        hashed = self.kei.get_session_auth_hash()
        backend = "django.contrib.auth.backends.ModelBackend"
        return self.old(_auth_user_id=str(self.kei.pk), _auth_user_backend=backend, _auth_user_hash=hashed)

    def visit(self, cookie, view=None):
        """The session that a view has seen, and the response."""
        seen = []

        def reading(request):
            seen.append(request.session)
            request.session.get("cart")
            return HttpResponse() if view is None else view(request)

        request = RequestFactory().get("/")
        request.COOKIES["sessionid"] = cookie
        response = SessionMiddleware(reading)(request)
        return seen[0], response

    def test_the_values_go_over_and_the_old_row_is_deleted(self):
        old = self.old()
        session, response = self.visit(old.session_key)
        assert (dict(session), session.cause) == ({"cart": [1]}, Cause.SUCCESS)
        assert not self.engine().exists(old.session_key)
        signature = signing.unsign(response.cookies["sessionid"].value)
        assert signature.session_key == session.session_key != old.session_key
        again, response = self.visit(response.cookies["sessionid"].value)
        assert (dict(again), again.handle, response.cookies) == ({"cart": [1]}, session.handle, {})

    async def test_in_async(self):
        old = await sync_to_async(self.old)()

        async def view(request):
            assert await request.session.aget("cart") == [1]
            return HttpResponse()

        request = RequestFactory().get("/")
        request.COOKIES["sessionid"] = old.session_key
        response = await SessionMiddleware(view)(request)
        assert dict(await Store(response.cookies["sessionid"].value).aitems()) == {"cart": [1]}
        assert not await self.engine().aexists(old.session_key)

    def test_nobody_is_logged_out(self):
        self.client.cookies["sessionid"] = self.logged_in().session_key
        assert self.client.get("/session/dump").json()["_auth_user_id"] == str(self.kei.pk)
        assert [info.user_id for info in Store.list()] == [str(self.kei.pk)]
        assert self.client.get("/session/dump").json()["cart"] == [1]

    def test_it_is_no_login(self):
        with override_settings(CHATSESSION={"ADOPT": self.engine.__module__, "SESSIONS_PER_USER": 1}):
            for _ in range(2):
                self.visit(self.logged_in().session_key)
        assert Store.count() == 2

    def test_requests_that_race_come_to_the_same_session(self):
        old, barrier = self.old(), Barrier(REQUESTS)

        def visit(number):
            try:
                barrier.wait(timeout=60)
                session, response = self.visit(old.session_key)
                return session.get("cart"), response.cookies["sessionid"].value.partition(".")[0]
            finally:
                connections.close_all()

        with ThreadPoolExecutor(REQUESTS) as pool:
            seen = list(pool.map(visit, range(REQUESTS)))
        assert [cart for cart, _key in seen] == [[1]] * REQUESTS
        assert len({key for _cart, key in seen}) == Store.count() == 1

    def test_the_old_cookie_is_good_for_a_minute(self):
        old = self.old()
        first, _response = self.visit(old.session_key)
        for seconds, cart in ((59, [1]), (61, None)):
            with mock.patch.object(timezone, "now", return_value=timezone.now() + timedelta(seconds=seconds)):
                session, _response = self.visit(old.session_key)
                assert session.get("cart") == cart
        assert session.cause is Cause.UNKNOWN_ID
        assert Store(session_cookie(first.session_key))["cart"] == [1]

    @mock.patch("chatsession.stores.adoption.TRIES_WITH_RIVAL", 3)
    def test_but_never_past_a_login(self):
        def log_in(request):
            request.session["_auth_user_id"] = "7"
            return HttpResponse()

        def log_in_from_nobody(request):
            request.session.cycle_key()
            return log_in(request)

        for login in (log_in, log_in_from_nobody):
            old = self.old()
            _session, response = self.visit(old.session_key)
            self.visit(response.cookies["sessionid"].value, login)
            assert self.visit(old.session_key)[0].get("cart") is None

    @mock.patch("chatsession.stores.adoption.TRIES_WITH_RIVAL", 3)
    def test_nor_past_a_logout(self):
        old = self.old()
        _session, response = self.visit(old.session_key)
        Store(response.cookies["sessionid"].value).flush()
        assert self.visit(old.session_key)[0].get("cart") is None
        assert Store.count() == 0

    def test_a_bare_key_is_never_looked_up_in_ours(self):
        ours = Store()
        ours["a"] = 1
        ours.save()
        session, response = self.visit(ours.session_key)
        assert (session.get("a"), session.cause) == (None, Cause.UNKNOWN_ID)
        assert response.cookies["sessionid"]["max-age"] == 0

    def test_what_is_no_bare_key_is_not_looked_up_anywhere(self):
        refuse = AssertionError("looked up")
        with mock.patch.object(self.engine, "load", side_effect=refuse):
            for cookie in ("x", "A" * 32, "a" * 33, "1$" + "0" * 64, "a" * 31 + "é", ""):
                assert self.visit(cookie)[0].cause is Cause.BAD_SIGNATURE

    def test_an_untouched_session_is_left_where_it_is(self):
        old = self.old()
        request = RequestFactory().get("/")
        request.COOKIES["sessionid"] = old.session_key
        assert not SessionMiddleware(lambda request: HttpResponse())(request).cookies
        assert self.engine().exists(old.session_key)

    def test_a_stream_that_uses_it_late_finds_it(self):
        old = self.old()

        def body(session):
            session["cart"].append(2)
            yield str(session["cart"])

        def view(request):
            return StreamingHttpResponse(body(request.session))

        request = RequestFactory().get("/")
        request.COOKIES["sessionid"] = old.session_key
        response = SessionMiddleware(view)(request)
        assert b"".join(response) == b"[1, 2]"
        response.close()
        assert Store(response.cookies["sessionid"].value)["cart"] == [1, 2]

    def test_an_end_fixed_by_the_site_goes_along(self):
        end = timezone.now() + timedelta(hours=1)
        old = self.old()
        old.set_expiry(end)
        old.save()
        self.visit(old.session_key)
        assert [info.expires_at for info in Store.list()] == [end]

    def test_a_session_that_has_expired_is_not_adopted(self):
        old = self.old()
        old.set_expiry(-1)
        old.save()
        assert self.visit(old.session_key)[0].get("cart") is None

    def test_a_session_of_any_size_is_adopted(self):
        adopt = {"ADOPT": self.engine.__module__, "MAX_SESSION_BYTES": 100}
        with override_settings(CHATSESSION=adopt):
            assert self.visit(self.old(big="x" * 1000).session_key)[0]["cart"] == [1]

    def test_clearsessions_clears_the_old_engine_too(self):
        with mock.patch.object(self.engine, "clear_expired") as clear:
            call_command("clearsessions", stderr=mock.Mock())
        assert clear.called


class CacheAdoptionTests(Adoption, TransactionTestCase):
    engine = cache.SessionStore

    def test_a_value_that_cannot_be_carried_is_reported(self):
        old = self.old(when=timezone.now(), tags={1, 2})
        with self.assertLogs("chatsession.sessions", "WARNING") as logs:
            assert dict(self.visit(old.session_key)[0]) == {"cart": [1]}
        assert "'when'" in str(logs.output)
        assert "'tags'" in str(logs.output)
        assert old.session_key not in str(logs.output)


@modify_settings(INSTALLED_APPS={"append": "django.contrib.sessions"})
class DatabaseAdoptionTests(Adoption, TransactionTestCase):
    engine = django_db.SessionStore

    def setUp(self):
        super().setUp()
        with connection.schema_editor() as editor:
            editor.create_model(self.engine.get_model_class())
        self.addCleanup(self.drop)

    def drop(self):
        with connection.schema_editor() as editor:
            editor.delete_model(self.engine.get_model_class())


class CachedDatabaseAdoptionTests(DatabaseAdoptionTests):
    engine = cached_db.SessionStore


def test_without_the_setting_no_bare_key_is_taken():
    request = RequestFactory().get("/")
    request.COOKIES["sessionid"] = "a" * 32
    SessionMiddleware(lambda request: HttpResponse()).process_request(request)
    assert (request.session.old_key, request.session.cause) == (None, Cause.BAD_SIGNATURE)
