"""The messages of a conversation as the page's template shows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.utils.html import format_html_join

from chatsession.backends.base import get_backend
from chatsession.conf import conf
from chatsession.conversations import history
from chatsession.conversations.branches import siblings_of
from chatsession.models import Message
from chatsession.rendering import render
from chatsession.runs import service, stored

if TYPE_CHECKING:
    from django.http import HttpRequest

    from chatsession.models import Conversation

#: Messages shown before "Show earlier messages", and after it at the most.
MESSAGES = 50
MOST_MESSAGES = 5000


@dataclass(frozen=True, kw_only=True)
class ShownTurn:
    """A message as the template shows it; ``html`` is an answer's rendered text.

    ``siblings`` are the IDs of all its versions, oldest first.
    """

    role: str
    id: str = ""
    text: str = ""
    html: str = ""
    reasoning: str = ""
    sources: list[dict[str, str]] = field(default_factory=list)
    status: str = Message.Status.COMPLETE
    run: str = ""
    error: str = ""
    is_active: bool = False
    is_demo: bool = False
    siblings: list[str] = field(default_factory=list)

    @property
    def number(self) -> int:
        """Which of the versions this is, from 1."""
        return self.siblings.index(self.id) + 1

    @property
    def previous(self) -> str:
        """The version before it, or ""."""
        return "".join(self.siblings[: self.number - 1][-1:])

    @property
    def following(self) -> str:
        """The version behind it, or ""."""
        return "".join(self.siblings[self.number :][:1])


def transcript_context(request: HttpRequest, conversation: Conversation | None) -> dict[str, Any]:
    """The conversation with its last messages; ``earlier`` is how many more to ask for, if there are."""
    if conversation is None:
        return {"conversation": None, "turns": []}
    service.active_answer(conversation)  # an answer whose worker has died is marked here
    conversation.refresh_from_db(fields=["active_run", "leaf"])
    wanted = wanted_messages(request)
    messages = history.branch(conversation, limit=wanted + 1)
    siblings = siblings_of(conversation, messages[-wanted:])
    return {
        "conversation": conversation,
        "turns": [shown_turn(message, siblings[message.parent_id]) for message in messages[-wanted:]],
        "earlier": wanted * 4 if len(messages) > wanted else 0,
    }


def wanted_messages(request: HttpRequest) -> int:
    """How many messages the address asks for with ``?shown=``."""
    value = request.GET.get("shown", "")
    valid = value.isascii() and value.isdigit() and len(value) < 6
    return min(max(int(value), MESSAGES), MOST_MESSAGES) if valid else MESSAGES


def shown_turn(message: Message, siblings: list[str]) -> ShownTurn:
    """A message for the template."""
    texts = texts_of(message, "text")
    if message.role == Message.Role.USER:
        return ShownTurn(role="user", id=message.public_id, siblings=siblings, text="".join(texts))
    outcome = stored.outcome_of(message)
    return ShownTurn(
        role="assistant",
        id=message.public_id,
        siblings=siblings,
        html=format_html_join("", "{}", ((render(text),) for text in texts)),
        reasoning="\n\n".join(texts_of(message, "reasoning")),
        sources=[shown_source(part) for part in message.parts if part["type"] == "source-url"],
        status=message.status,
        run=message.run_id or "",
        error=outcome.error if outcome else "",
        is_active=outcome is None,
        is_demo=is_demo(message.model),
    )


def texts_of(message: Message, kind: str) -> list[str]:
    """The texts of a message's parts of one type."""
    return [part["text"] for part in message.parts if part["type"] == kind]


def shown_source(part: dict[str, str]) -> dict[str, str]:
    """A source; a model's word for an address is no reason to link to ``javascript:``."""
    url = part["url"] if part["url"].startswith(("http://", "https://")) else ""
    return {"url": url, "title": part.get("title") or part["url"]}


def is_demo(alias: str) -> bool:
    """Whether this model's answers are canned."""
    return alias in conf.MODELS and getattr(get_backend(alias), "is_demo", False)
