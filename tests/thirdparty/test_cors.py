"""A front end on another origin, by django-cors-headers."""

from __future__ import annotations

import json
import re
from unittest import mock

from django.conf import settings
from django.test import Client, TestCase

from chatsession.stores.configured import configured_store
from chatsession.testing.chat import frames_of, inline_runs, parts_of

STRANGER = "https://stranger.example"
CHAT = "/chat/api/chat"


class OriginTests(TestCase):
    def setUp(self):
        self.enterContext(inline_runs())
        self.client = Client(enforce_csrf_checks=True)

    def page(self, origin):
        return self.client.get("/chat/", headers={"origin": origin})

    def ask(self, origin, page):
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.content.decode())[1]
        message = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "/echo Hello"}]}
        body = json.dumps({"id": "c1", "message": message})
        headers = {"origin": origin, "x-csrftoken": token}
        return self.client.post(CHAT, body, content_type="application/json", headers=headers)

    def test_a_listed_one_chats_with_credentials(self):
        page = self.page(settings.FRONT_END)
        answer = self.ask(settings.FRONT_END, page)
        text = "".join(part["text"] for part in parts_of(frames_of(b"".join(answer.streaming_content))))
        assert text == "Hello"
        for response in (page, answer):
            assert response["Access-Control-Allow-Origin"] == settings.FRONT_END
            assert response["Access-Control-Allow-Credentials"] == "true"
            assert "origin" in response["Vary"].lower()

    def test_an_unlisted_one_gets_nothing(self):
        page = self.page(STRANGER)
        answer = self.ask(STRANGER, page)
        assert answer.status_code == 403
        for response in (page, answer):
            assert not [name for name in response.headers if name.startswith("Access-Control")]

    def test_a_preflight_touches_no_session(self):
        self.page(settings.FRONT_END)
        asked = {"access-control-request-method": "POST", "access-control-request-headers": "x-csrftoken"}
        with mock.patch.object(configured_store(), "__init__", side_effect=AssertionError):
            response = self.client.options(CHAT, headers={"origin": settings.FRONT_END, **asked})
        assert response.status_code == 200
        assert "x-csrftoken" in response["Access-Control-Allow-Headers"]
        assert not response.cookies
