"""``path("account/", include("chatsession.urls_sessions"))``: "Your sessions" on a site without the chat."""

from __future__ import annotations

from django.urls import path

from chatsession.views import my_sessions

app_name = "chatsession"
urlpatterns = [path("sessions/", my_sessions.sessions, name="sessions")]
