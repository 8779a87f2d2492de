"""``POST chat``, ``GET chat/<id>/stream``, ``POST chat/<id>/stop``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.http import HttpResponse

from chatsession.conversations import history
from chatsession.conversations.turns import Ask
from chatsession.exceptions import InvalidRequest, NotFound, PermissionDenied
from chatsession.forms import ChatForm, StopForm
from chatsession.models import Message
from chatsession.protocols import ui_stream
from chatsession.protocols.ui_stream import parse_event_id
from chatsession.runs import service
from chatsession.runs.log import follows
from chatsession.runs.mirror import catch_up
from chatsession.runs.recovery import source_of
from chatsession.views.api import answer, endpoint, language_of, read_json, request_id, require
from chatsession.views.limits import count_send, open_stream
from chatsession.views.owners import owner_of
from chatsession.views.streams import stream

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

    from chatsession.models import Conversation
    from chatsession.runs.follow import Source

#: The form's names for what the request calls otherwise.
PARAMS = {"message_id": "message.id", "text": "message.parts"}


def post(request: HttpRequest) -> HttpResponseBase:
    """Ask, and follow the answer."""
    ask = ask_from(request, read_json(request))
    with open_stream(ask.owner) as place:
        turn, source = service.send(ask, lambda: count_send(request, ask.owner, ask.user_id))
        response = stream(request, turn.answer, turn.question.public_id, source, 0, place)
    if turn.attached:
        response["X-Chat-Attached"] = "1"
    return response


def ask_from(request: HttpRequest, body: dict[str, Any]) -> Ask:
    """The body of ``POST chat`` as an ``Ask``. Raises ``InvalidRequest``, ``TooLarge``, ``NotFound`` and
    ``PermissionDenied``.

    Of a posted history only the last message counts: the history is the server's.
    """
    again = body.get("trigger") == "regenerate-message"
    message = {} if again else last_message(body)
    fields = {
        "id": body.get("id"),
        "message_id": body.get("messageId") if again else message.get("id"),
        "text": "" if again else text_in(message),
        "trigger": body.get("trigger"),
        "model": body.get("model"),
        "params": body.get("params"),
        "existing": body.get("existing"),
    }
    data = require(ChatForm(fields), PARAMS)
    owner = owner_of(request, create=not data["existing"])
    if owner is None:
        raise NotFound if data["existing"] else PermissionDenied
    return Ask(
        owner=owner,
        conversation_id=data["id"] or history.new_id(),
        message_id=data["message_id"],
        text=None if again else data["text"],
        model=data["model"] or "default",
        params=data["params"],
        language=language_of(request),
        request_id=request_id(request),
        session_handle=getattr(request.session, "handle", ""),
        user_id=user_id(request),
        existing=data["existing"],
    )


def user_id(request: HttpRequest) -> str | None:
    """The primary key of the request's user as text, None for a guest."""
    user = getattr(request, "user", None)
    return str(user.pk) if user is not None and user.is_authenticated else None


def last_message(body: dict[str, Any]) -> dict[str, Any]:
    """The user message to answer: ``message``, or the last of ``messages``."""
    message = body.get("message")
    if message is None and isinstance(body.get("messages"), list) and body["messages"]:
        message = body["messages"][-1]
    if not isinstance(message, dict) or message.get("role", "user") != "user":
        raise InvalidRequest(param="message")
    return message


def text_in(message: dict[str, Any]) -> str:
    """The text of a posted UI message. Raises ``InvalidRequest`` for parts that are no text."""
    parts = message.get("parts")
    if not isinstance(parts, list):
        raise InvalidRequest(param="message.parts")
    return "".join(_text_of(part) for part in parts)


def _text_of(part: Any) -> str:
    text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
    if not isinstance(text, str):
        raise InvalidRequest(param="message.parts")
    return text


def own_conversation(request: HttpRequest, public_id: str) -> Conversation:
    """The visitor's conversation of this ID. Raises ``NotFound``."""
    owner = owner_of(request)
    if owner is None or "\0" in public_id:
        raise NotFound
    return history.get_conversation(owner, public_id)


def get_stream(request: HttpRequest, public_id: str) -> HttpResponseBase:
    """Follow the running answer, or what came after the client's position; 204 if there is neither."""
    conversation = own_conversation(request, public_id)
    cursor = request.headers.get("Last-Event-ID") or request.GET.get("after", "")
    run_id = request.GET.get("run", "") or cursor.partition(":")[0]
    run_id = run_id if StopForm({"runId": run_id}).is_valid() else ""
    message = service.active_answer(conversation, run_id)
    if message is None and run_id:
        message = service.active_answer(conversation)
    if message is None or (not cursor and message.run_id != conversation.active_run):
        return HttpResponse(status=204)
    source = source_of(message)
    position = parse_event_id(cursor, message.run_id or "")
    catch_up(source, position)
    last = source.events_after(0)[-1]
    if position == last.position and last.kind == "end":
        return HttpResponse(status=204)
    if not is_known(source, position):
        # A worker that died had sent more than it had stored: begin again, under the same message ID.
        position = 0
    if request.method == "HEAD":
        return HttpResponse(content_type=ui_stream.CONTENT_TYPE, headers=ui_stream.HEADERS)
    with open_stream(owner_of(request) or "") as place:
        return stream(request, message, parent_of(message), source, position, place)


def is_known(source: Source, position: int) -> bool:
    """Whether a reader can go on at ``position``: it is the last there is, or right before the next event."""
    rest = source.events_after(position)
    return follows(rest[0], position) if rest else position == source.events_after(0)[-1].position


def parent_of(message: Message) -> str:
    """The public ID of the question."""
    return message.parent.public_id if message.parent else ""


def post_stop(request: HttpRequest, public_id: str) -> HttpResponseBase:
    """Stop the running answer, or that of ``runId`` and no other. Idempotent."""
    run_id = require(StopForm(read_json(request)))["runId"]
    conversation = own_conversation(request, public_id)
    message = service.active_answer(conversation, run_id)
    if message is None:
        return answer({"stopped": False, "runId": run_id or None, "status": None})
    message = service.stop(message)
    stopped = message.status == Message.Status.STOPPED
    return answer({"stopped": stopped, "runId": message.run_id, "status": message.status})


chat = endpoint("chat", POST=post)
chat_stream = endpoint("chat", GET=get_stream)
chat_stop = endpoint("chat", POST=post_stop)
