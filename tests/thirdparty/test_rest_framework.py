from __future__ import annotations

from django.contrib.auth import get_user_model
from django.test import Client, TestCase
from rest_framework.test import APIClient

from chatsession.testing import session_cookie


class SessionAuthenticationTests(TestCase):
    def setUp(self):
        user = get_user_model().objects.create_user("hanako")
        self.client.force_login(user)

    def test_the_session_logs_in(self):
        assert self.client.get("/api").json() == {"user": "hanako"}
        assert self.client.get("/session/dump").json()["by"] == "GET"

    def test_a_guest_is_refused(self):
        assert Client().get("/api").status_code == 403

    def test_a_post_needs_the_csrf_token(self):
        careful = APIClient(enforce_csrf_checks=True)
        careful.cookies["sessionid"] = session_cookie(self.client.session.session_key)
        assert careful.get("/api").json() == {"user": "hanako"}
        assert "CSRF" in careful.post("/api").json()["detail"]
        careful.get("/chat/")
        token = careful.cookies["csrftoken"].value
        assert careful.post("/api", headers={"x-csrftoken": token}).json() == {"user": "hanako"}
