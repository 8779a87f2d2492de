"""``path("chat/", include("chatsession.urls"))``: the page and its API.

The API's paths have no trailing slash: the AI SDK builds them so.
"""

from __future__ import annotations

from django.urls import path

from chatsession import urls_sessions
from chatsession.views import chat, conversations, export, feedback, page

app_name = "chatsession"
urlpatterns = [
    path("", page.page, name="page"),
    path("api/chat", chat.chat, name="chat"),
    path("api/chat/<str:public_id>/stream", chat.chat_stream, name="stream"),
    path("api/chat/<str:public_id>/stop", chat.chat_stop, name="stop"),
    path("api/export", export.export, name="export"),
    path("api/conversations", conversations.conversations, name="conversations"),
    path("api/conversations/<str:public_id>", conversations.conversation, name="conversation"),
    path("api/conversations/<str:public_id>/messages", conversations.messages, name="messages"),
    path("api/messages/<str:public_id>/feedback", feedback.feedback, name="feedback"),
    path("unclaim", page.unclaim, name="unclaim"),
    *urls_sessions.urlpatterns,
    path("<str:public_id>/", page.page, name="conversation_page"),
]
