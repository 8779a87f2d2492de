from __future__ import annotations

import pytest
from allauth.usersessions.models import UserSession
from django.contrib.auth import get_user_model
from django.test import Client, TestCase

from chatsession.sessions import sessions_of

PASSWORD = "a password of the tests"
LIST = "/accounts/sessions/"


class UserSessionsTests(TestCase):
    def setUp(self):
        self.user = get_user_model().objects.create_user("hanako", password=PASSWORD)
        self.here, self.there = self.logged_in(), self.logged_in()

    def logged_in(self):
        client = Client(headers={"user-agent": "Firefox/140"})
        client.get("/session/write?basket=full")
        before = client.session.session_key
        response = client.post("/accounts/login/", {"login": "hanako", "password": PASSWORD})
        assert (response.status_code, response.url) == (302, "/session/dump")
        assert client.session.session_key != before
        assert client.get("/session/dump").json()["basket"] == "full"
        return client

    def is_logged_in(self, client):
        return "_auth_user_id" in client.get("/session/dump").json()

    def test_both_list_the_same_sessions(self):
        assert UserSession.objects.filter(user=self.user).count() == len(sessions_of(self.user)) == 2
        page = self.here.get(LIST).content.decode()
        assert page.count("Firefox/140") == 2

    def test_allauth_ends_the_others(self):
        assert self.here.post(LIST).status_code == 302
        assert self.is_logged_in(self.here)
        assert not self.is_logged_in(self.there)
        assert len(sessions_of(self.user)) == 1

    def test_allauth_forgets_what_was_ended_here(self):
        self.here.post("/chat/sessions/", {"end": "others"})
        assert not self.is_logged_in(self.there)
        assert self.here.get(LIST).content.decode().count("Firefox/140") == 1
        assert UserSession.objects.get().session_key == self.here.session.session_key

    def test_logging_out(self):
        self.here.post("/accounts/logout/")
        assert not self.is_logged_in(self.here)
        assert len(sessions_of(self.user)) == 1

    def test_a_new_password_ends_the_others(self):
        new = "another password of the tests"
        fields = {"oldpassword": PASSWORD, "password1": new, "password2": new}
        assert self.here.post("/accounts/password/change/", fields).status_code == 302
        assert self.is_logged_in(self.here)
        assert self.there.get("/api").status_code == 403


@pytest.mark.django_db
def test_the_key_allauth_keeps_is_no_cookie():
    """Its table has keys in clear; without our signature they open nothing on a real server."""
    from django.test import RequestFactory

    from chatsession.middleware import SessionMiddleware
    from chatsession.stores.configured import configured_store

    session = configured_store()()
    session.create()
    request = RequestFactory().get("/")
    request.COOKIES["sessionid"] = session.session_key
    SessionMiddleware(lambda request: None).process_request(request)
    assert request.session.cause == "renew after InvalidSignature"
