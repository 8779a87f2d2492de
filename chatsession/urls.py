"""``path("chat/", include("chatsession.urls"))``: the page and its API."""

from __future__ import annotations

app_name = "chatsession"
urlpatterns: list[object] = []
