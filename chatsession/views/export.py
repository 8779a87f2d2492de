"""``GET export``: all conversations of a visitor as one JSON file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db.models import F
from django.http import StreamingHttpResponse
from django.utils.cache import patch_cache_control

from chatsession import connections
from chatsession.conversations import history
from chatsession.views.api import endpoint
from chatsession.views.conversations import as_json, message_as_json
from chatsession.views.owners import owner_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

    from chatsession.models import Conversation

HEADERS = {"Content-Disposition": 'attachment; filename="conversations.json"'}


def get(request: HttpRequest) -> HttpResponseBase:
    """Every message of every branch, with the visitor's ratings; one conversation in memory at a time."""
    owner = owner_of(request)
    keys = list(history.conversations_of(owner).values_list("pk", flat=True)) if owner else []
    parts = parts_of(owner or "", keys)
    response = StreamingHttpResponse(
        from_threads(parts) if isinstance(request, ASGIRequest) else parts,
        content_type="application/json",
        headers=HEADERS,
    )
    patch_cache_control(response, private=True, no_store=True)
    return response


def parts_of(owner: str, keys: list[int]) -> Iterator[str]:
    """The file, piece by piece; no connection is held while one is sent."""
    yield '{"conversations": ['
    separator = "\n"
    for key in keys:
        conversation = history.conversations_of(owner).filter(pk=key).first()
        if conversation is not None:
            part = separator + json.dumps(whole(conversation), ensure_ascii=False)
            separator = ",\n"
            connections.release()
            yield part
    yield "\n]}\n"


async def from_threads(parts: Iterator[str]) -> AsyncIterator[str]:
    """An iterator that asks the database, for an async response."""
    while part := await sync_to_async(lambda: next(parts, ""))():
        yield part


def whole(conversation: Conversation) -> dict[str, object]:
    """A conversation with all its messages, oldest first."""
    rows = history.messages_of(conversation).annotate(parent_public_id=F("parent__public_id"))
    messages = [
        message_as_json(message) | {"feedback": message.feedback, "comment": message.feedback_comment}
        for message in rows.order_by("id")
    ]
    return as_json(conversation) | {"messages": messages}


export = endpoint("chat", GET=get)
