"""``PUT messages/<id>/feedback``: what a visitor thinks of an answer, of any branch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatsession.conversations import history
from chatsession.exceptions import InvalidRequest, NotFound
from chatsession.forms import FeedbackForm
from chatsession.models import Message
from chatsession.views.api import answer, endpoint, read_json, require
from chatsession.views.owners import owner_of

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase


def put(request: HttpRequest, public_id: str) -> HttpResponseBase:
    """Set ``value`` (-1, 0 or 1) and ``comment`` of an answer; again replaces. Raises ``NotFound``."""
    body = read_json(request)
    data = require(FeedbackForm(body))
    message = own_answer(request, public_id)
    message.feedback, message.feedback_comment = data["value"], data["comment"]
    message.save(using=history.database(), update_fields=["feedback", "feedback_comment"])
    return answer({"id": message.public_id, "value": message.feedback, "comment": message.feedback_comment})


def own_answer(request: HttpRequest, public_id: str) -> Message:
    """An answer of the visitor. Raises ``NotFound``, and ``InvalidRequest`` for a question."""
    owner = owner_of(request)
    found = None
    if owner is not None and "\0" not in public_id:
        rows = Message.objects.using(history.database()).filter(public_hash=history.digest(public_id))
        found = rows.filter(conversation__owner_hash=history.digest(owner)).order_by("-id").first()
    if found is None:
        raise NotFound
    if found.role != Message.Role.ASSISTANT:
        raise InvalidRequest(param="id")
    return found


feedback = endpoint("feedback", PUT=put)
