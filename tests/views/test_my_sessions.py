""" "Your sessions", over every store."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from django.test import AsyncClient, Client, TestCase, override_settings
from django.urls import include, path

from chatsession import signals
from chatsession.signing import hash_key
from chatsession.stores.configured import configured_store
from chatsession.views import my_sessions

PAGE = "/chat/sessions/"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) Version/18.5 Mobile/15E148 Safari/604.1"

urlpatterns = [path("account/", include("chatsession.urls_sessions"))]


def logged_in(user, *, user_agent=FIREFOX, ip="203.0.113.77", **options):
    client = Client(headers={"user-agent": user_agent}, REMOTE_ADDR=ip, **options)
    client.force_login(user)
    client.get("/session/write?seen=1")
    return client


def handle_of(client):
    session = client.session
    assert session.cause == "success"
    return session.handle


def rows(client):
    """The texts of the listed sessions."""
    page = client.get(PAGE).content.decode()
    found = re.findall(r'<li class="session".*?</li>', page, re.S)
    return [re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", row)).strip() for row in found]


def is_logged_in(client):
    return "_auth_user_id" in client.get("/session/dump").json()


class Sessions:
    @classmethod
    def setUpTestData(cls):
        cls.hanako = User.objects.create_user("hanako")
        cls.taro = User.objects.create_user("taro")

    def setUp(self):
        self.client = logged_in(self.hanako)
        self.phone = logged_in(self.hanako, user_agent=IPHONE, ip="2001:db8:1:2::3")
        self.stranger = logged_in(self.taro)

    def test_the_own_sessions_with_the_present_one_first(self):
        here, phone = rows(self.client)
        assert here.startswith("Firefox · Linux This session Last used 0 minutes ago")
        assert "Network 203.0.113.0" in here
        assert phone.startswith("Safari · iPhone Last used")
        assert "Network 2001:db8:1::" in phone
        assert "End" in phone and "End" not in here

    def test_one_is_ended(self):
        heard = []
        signals.session_revoked.connect(hear := lambda handle, **kwargs: heard.append(handle))
        self.addCleanup(signals.session_revoked.disconnect, hear)
        handle = handle_of(self.phone)
        response = self.client.post(PAGE, {"end": handle})
        assert (response.status_code, response.url) == (302, PAGE)
        assert heard == [handle]
        assert not is_logged_in(self.phone)
        assert is_logged_in(self.client)
        assert "There are no others." in self.client.get(PAGE).content.decode()

    def test_all_others_are_ended_and_nobody_elses(self):
        third = logged_in(self.hanako)
        self.client.post(PAGE, {"end": "others"})
        assert [is_logged_in(client) for client in (self.client, self.phone, third)] == [True, False, False]
        assert is_logged_in(self.stranger)

    def test_those_that_are_not_shown_are_ended_too(self):
        third = logged_in(self.hanako)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(my_sessions, "SHOWN", 2)
            assert len(rows(self.client)) == 2
            assert "1 more session is not shown." in self.client.get(PAGE).content.decode()
            self.client.post(PAGE, {"end": "others"})
        assert not is_logged_in(third)

    def test_what_is_not_ones_own_is_left_alone(self):
        for handle in (handle_of(self.stranger), handle_of(self.client), "nonsense", "\0", ""):
            assert self.client.post(PAGE, {"end": handle}).status_code == 302
        assert is_logged_in(self.stranger)
        assert is_logged_in(self.client)

    def test_a_guest_is_sent_to_the_login(self):
        for response in (Client().get(PAGE), Client().post(PAGE, {"end": "others"})):
            assert (response.status_code, response.url) == (302, f"/accounts/login/?next={PAGE}")
        assert is_logged_in(self.phone)

    def test_a_post_needs_its_token(self):
        careful = logged_in(self.hanako, enforce_csrf_checks=True)
        assert careful.post(PAGE, {"end": "others"}).status_code == 403
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', careful.get(PAGE).content.decode())[1]
        assert careful.post(PAGE, {"end": "others", "csrfmiddlewaretoken": token}).status_code == 302
        assert not is_logged_in(self.phone)

    def test_neither_ids_nor_hashes_nor_addresses_are_shown(self):
        page = self.client.get(PAGE).content.decode()
        for client in (self.client, self.phone):
            key = client.session.session_key
            assert key not in page
            assert hash_key(key)[2:] not in page
        assert "203.0.113.77" not in page

    def test_no_script_and_nothing_inline(self):
        response = self.client.get(PAGE)
        page = response.content.decode()
        assert "<script" not in page
        assert "style=" not in page
        assert "default-src 'self';" in response["Content-Security-Policy"]
        assert response["Cache-Control"] == "private, no-store"

    def test_in_japanese(self):
        page = self.client.get(PAGE, headers={"accept-language": "ja"}).content.decode()
        assert '<html lang="ja">' in page
        assert "このセッション" in page
        assert "Your sessions" not in page

    def test_the_chat_leads_users_here(self):
        link = f'href="{PAGE}"'
        assert link in self.client.get("/chat/").content.decode()
        assert link not in Client().get("/chat/").content.decode()

    def test_without_the_chat(self):
        with override_settings(ROOT_URLCONF="tests.views.test_my_sessions"):
            page = self.client.get("/account/sessions/").content.decode()
            assert "Back to the chat" not in page
            assert self.client.post("/account/sessions/", {"end": "others"}).url == "/account/sessions/"

    def test_a_device_that_says_nothing(self):
        logged_in(self.hanako, user_agent="", ip="")
        assert any(
            row.startswith("Unknown device Last used") and "Network" not in row for row in rows(self.client)
        )

    async def test_under_asgi(self):
        client = AsyncClient()
        await client.aforce_login(self.hanako)
        response = await client.get(PAGE)
        assert response.content.count(b'<li class="session"') == 3


@override_settings(SESSION_ENGINE="chatsession.stores.db")
class DatabaseTests(Sessions, TestCase):
    pass


@override_settings(SESSION_ENGINE="chatsession.stores.memory")
class MemoryTests(Sessions, TestCase):
    def setUp(self):
        configured_store().reset()
        super().setUp()

    def test_the_process_is_named(self):
        assert "These are the sessions of this process only" in self.client.get(PAGE).content.decode()


@override_settings(SESSION_ENGINE="django.contrib.sessions.backends.cache")
class ForeignEngineTests(TestCase):
    def test_there_is_nothing_to_list(self):
        client = Client()
        client.force_login(User.objects.create_user("hanako"))
        assert client.get(PAGE).status_code == 404
        assert PAGE not in client.get("/chat/").content.decode()
