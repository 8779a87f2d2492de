"""Our chat, and a streaming view as one writes it oneself."""

from __future__ import annotations

import asyncio
import json
import uuid

from django.db import transaction
from django.http import HttpResponse, StreamingHttpResponse
from django.middleware.csrf import get_token
from django.urls import include, path

from chatsession.models import Conversation, Message


def plain(request):
    """The same rows as ours, then one frame a token."""
    body = json.loads(request.body)
    count, key, owner = body["count"], uuid.uuid4().hex, request.session.get("owner", "nobody")
    with transaction.atomic():
        ids = {"owner": owner, "owner_hash": key, "public_id": key, "public_hash": key}
        conversation = Conversation.objects.create(**ids)
        question = Message.objects.create(
            conversation=conversation,
            role="user",
            public_id=f"q{key}",
            public_hash=f"q{key}"[:64],
            parts=[{"type": "text", "text": str(count)}],
        )
        answer = Message.objects.create(
            conversation=conversation,
            parent=question,
            role="assistant",
            public_id=f"a{key}",
            public_hash=f"a{key}"[:64],
            status="streaming",
        )
        conversation.leaf = answer
        conversation.save(update_fields=["leaf"])
    return StreamingHttpResponse(frames(count, body["pause"]), content_type="text/event-stream")


async def frames(count, pause):
    for _ in range(count):
        await asyncio.sleep(pause)
        yield b'data: {"delta": "tok "}\n\n'


def begin(request):
    """A session and the CSRF cookie for ``plain``."""
    get_token(request)
    request.session["owner"] = uuid.uuid4().hex
    return HttpResponse("ok")


urlpatterns = [path("chat/", include("chatsession.urls")), path("plain", plain), path("begin", begin)]
