"""What a site answers whose sessions cannot be reached."""

from __future__ import annotations

import logging

BODY = {"id": "c", "message": {"id": "m", "role": "user", "parts": [{"type": "text", "text": "Hello"}]}}


class AwayMixin:
    """For a ``TestCase`` with the test site."""

    def be_silent(self):
        logging.disable(logging.CRITICAL)
        self.addCleanup(logging.disable, logging.NOTSET)

    def assertUnavailable(self, response):
        assert (response.status_code, response["Retry-After"]) == (503, "5")

    def assertAllIsUnavailable(self):
        self.assertUnavailable(self.client.get("/session/dump"))
        self.assertUnavailable(self.client.get("/session/write?b=1"))
        for response in (
            self.client.get("/chat/api/conversations"),
            self.client.post("/chat/api/chat", BODY, content_type="application/json"),
        ):
            self.assertUnavailable(response)
            assert response.json()["error"]["code"] == "unavailable"
