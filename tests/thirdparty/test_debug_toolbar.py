from __future__ import annotations

import re

from django.test import TestCase


class ToolbarTests(TestCase):
    def test_it_shows_the_session_and_the_session_is_stored(self):
        page = self.client.get("/page").content.decode()
        assert "djDebug" in page
        request = re.search(r'data-request-id="(\w+)"', page)[1]
        panel = self.client.get(
            "/__debug__/render_panel/", {"request_id": request, "panel_id": "RequestPanel"}
        )
        assert "by the toolbar" in panel.json()["content"]
        assert self.client.get("/session/dump").json() == {"seen": "by the toolbar"}
