"""What of a conversation a model gets to read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chatsession.conversations import history
from chatsession.models import Message

if TYPE_CHECKING:
    from chatsession.models import Conversation

#: Bounds of the window: messages read from the database, and code points given to the model.
MAX_MESSAGES = 100
MAX_CHARS = 100_000


def text_of(parts: list[dict[str, Any]]) -> str:
    """The text of UI message parts; reasoning and sources are not part of a history."""
    return "".join(part["text"] for part in parts if part["type"] == "text")


def window(conversation: Conversation, question: Message) -> list[tuple[str, str]]:
    """``[(role, text)]`` up to and with ``question``: whole oldest turns are left out, never a part.

    The system prompt is not among them, so that no window can push it out.
    """
    messages = history.branch(conversation, leaf=question.pk, limit=MAX_MESSAGES)
    turns = [
        (message.role, text_of(message.parts))
        for message in messages
        if message.status != Message.Status.ERROR and text_of(message.parts)
    ]
    size = sum(len(text) for _, text in turns)
    while len(turns) > 1 and (size > MAX_CHARS or turns[0][0] != "user"):
        size -= len(turns.pop(0)[1])
    return turns
