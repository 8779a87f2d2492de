"""``conversations``, ``conversations/<id>``, ``conversations/<id>/messages``."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db.models import Q
from django.http import HttpResponse

from chatsession import rendering
from chatsession.conversations import history
from chatsession.conversations.branches import siblings_of, switch_to
from chatsession.exceptions import InvalidRequest, NotFound, PermissionDenied
from chatsession.forms import ConversationForm
from chatsession.runs import service, stored
from chatsession.views.api import answer, check_permission, endpoint, read_json, require
from chatsession.views.chat import own_conversation
from chatsession.views.owners import owner_of

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

    from chatsession.models import Conversation, Message

PAGE = 50
MICROSECOND = timedelta(microseconds=1)
#: Where a page ended: the last row's ``updated_at`` in microseconds since 1970, and its key.
CURSOR = re.compile(r"([0-9]{1,16})_([0-9]{1,18})")


def as_json(conversation: Conversation) -> dict[str, Any]:
    """A conversation as the API shows it."""
    return {
        "id": conversation.public_id,
        "title": conversation.title,
        "createdAt": conversation.created_at.isoformat(),
        "updatedAt": conversation.updated_at.isoformat(),
        "archived": conversation.archived,
        "activeRun": conversation.active_run,
    }


def get_list(request: HttpRequest) -> HttpResponseBase:
    """A page of conversations, the last used first; ``q`` searches the titles."""
    owner = owner_of(request)
    if owner is None:
        return answer({"conversations": [], "nextCursor": None})
    rows = history.conversations_of(owner)
    if query := request.GET.get("q", "").replace("\0", ""):
        rows = rows.filter(title__icontains=query)
    if cursor := request.GET.get("cursor"):
        rows = rows.filter(_behind(cursor))
    page = list(rows[: PAGE + 1])
    following = _cursor(page[PAGE - 1]) if len(page) > PAGE else None
    return answer({"conversations": [as_json(row) for row in page[:PAGE]], "nextCursor": following})


def _cursor(conversation: Conversation) -> str:
    return f"{(conversation.updated_at - _epoch()) // MICROSECOND}_{conversation.pk}"


def _behind(cursor: str) -> Q:
    found = CURSOR.fullmatch(cursor)
    if found is None:
        raise InvalidRequest(param="cursor")
    updated_at = _epoch() + int(found[1]) * MICROSECOND
    return Q(updated_at__lt=updated_at) | Q(updated_at=updated_at, pk__lt=int(found[2]))


def _epoch() -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC if settings.USE_TZ else None)


def post_list(request: HttpRequest) -> HttpResponseBase:
    """Create an empty conversation."""
    data = require(ConversationForm(read_json(request)))
    owner = owner_of(request, create=True)
    if owner is None:
        raise PermissionDenied
    created = history.create_conversation(owner, data["id"], data["title"])
    return answer(as_json(created), status=201)


def get_one(request: HttpRequest, public_id: str) -> HttpResponseBase:
    """One conversation."""
    return answer(as_json(own_conversation(request, public_id)))


def patch_one(request: HttpRequest, public_id: str) -> HttpResponseBase:
    """Change ``title`` and ``archived``, show the branch of the message ``leaf``; each where it is given."""
    conversation = own_conversation(request, public_id)
    body = read_json(request)
    data = require(ConversationForm(body))
    if "leaf" in body:
        switch_to(conversation, data["leaf"])
    given = {name: data[name] for name in ("title", "archived") if name in body}
    history.conversations_of(conversation.owner).order_by().filter(pk=conversation.pk).update(**given)
    conversation.refresh_from_db()
    return answer(as_json(conversation))


def delete_one(request: HttpRequest, public_id: str) -> HttpResponseBase:
    """Delete a conversation with all it holds; a running answer is stopped."""
    conversation = own_conversation(request, public_id)
    stop_in(conversation)
    conversation.delete(using=history.database())
    return HttpResponse(status=204)


def delete_list(request: HttpRequest) -> HttpResponseBase:
    """Delete all conversations of the visitor; running answers are stopped."""
    check_permission(request, "clear")
    erase(owner_of(request))
    return HttpResponse(status=204)


def erase(owner: str | None) -> None:
    """Delete all that an owner has."""
    if owner is not None:
        conversations = history.conversations_of(owner)
        for conversation in conversations.exclude(active_run=None):
            stop_in(conversation)
        history.delete_all(conversations)


def stop_in(conversation: Conversation) -> None:
    """Stop the answer that is being written, if there is one."""
    running = service.active_answer(conversation)
    if running is not None:
        service.stop(running)


def get_messages(request: HttpRequest, public_id: str) -> HttpResponseBase:
    """The last messages of the branch on show, oldest first; ``before`` pages back."""
    conversation = own_conversation(request, public_id)
    service.active_answer(conversation)
    conversation.refresh_from_db(fields=["active_run", "leaf"])
    messages = history.branch(conversation, leaf=_leaf(request, conversation), limit=PAGE)
    siblings = siblings_of(conversation, messages)
    render = request.headers.get("X-Chat-Render") == "html"
    return answer(
        {
            "messages": [
                message_as_json(message, render=render) | {"siblings": siblings[message.parent_id]}
                for message in messages
            ],
            "activeRun": conversation.active_run,
            "leaf": messages[-1].public_id if messages and "before" not in request.GET else None,
            "nextCursor": messages[0].public_id if messages and messages[0].parent_id else None,
        }
    )


def _leaf(request: HttpRequest, conversation: Conversation) -> int | None:
    before = request.GET.get("before")
    if before is None:
        return None
    found = history.messages_of(conversation).filter(public_hash=history.digest(before)).first()
    if found is None or found.parent_id is None:
        raise NotFound(param="before")
    return found.parent_id


def message_as_json(message: Message, *, render: bool = False) -> dict[str, Any]:
    """A message of ``history.branch()`` as a UI message with status and parent."""
    outcome = stored.outcome_of(message)
    shown: dict[str, Any] = {
        "id": message.public_id,
        "role": message.role,
        "parts": message.parts,
        "parentId": getattr(message, "parent_public_id", None),
        "status": message.status,
        "metadata": {
            "runId": message.run_id,
            "model": message.model,
            "usage": message.usage,
            "createdAt": message.created_at.isoformat(),
            "error": outcome.error if outcome else "",
        },
    }
    if render:
        shown["html"] = html_of(message)
    return shown


def html_of(message: Message) -> str:
    """The text of a message, rendered."""
    return "".join(rendering.render(part["text"]) for part in message.parts if part["type"] == "text")


conversations = endpoint("chat", GET=get_list, POST=post_list, DELETE=delete_list)
conversation = endpoint("chat", GET=get_one, PATCH=patch_one, DELETE=delete_one)
messages = endpoint("chat", GET=get_messages)
