"""What of a conversation a model gets to read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from chatsession.conversations import history
from chatsession.models import Message

if TYPE_CHECKING:
    from chatsession.models import Conversation

#: Messages read from the database at the most: a turn costs the same however long the conversation is.
MAX_MESSAGES = 100
#: Code points given to a model whose entry in ``MODELS`` has no ``CONTEXT_CHARS``.
MAX_CHARS = 100_000


class Window(NamedTuple):
    """The messages a model reads, ``[(role, text)]``; ``trimmed``: older ones were left out."""

    messages: list[tuple[str, str]]
    trimmed: bool


def text_of(parts: list[dict[str, Any]]) -> str:
    """The text of UI message parts; reasoning and sources are not part of a history."""
    return "".join(part["text"] for part in parts if part["type"] == "text")


def window(
    conversation: Conversation, question: Message, *, max_chars: int = MAX_CHARS, single_turn: bool = False
) -> Window:
    """What is read up to and with ``question``: whole oldest turns are left out, never a part of one.

    The system prompt is not among them, so that no window can push it out. A failed answer is not shown
    to the model. ``single_turn``: the question alone.
    """
    if single_turn or question.parent_id is None:
        return Window([("user", text_of(question.parts))], trimmed=False)
    rows = history.branch(conversation, leaf=question.pk, limit=MAX_MESSAGES)
    messages = [
        (row.role, text_of(row.parts))
        for row in rows
        if row.status != Message.Status.ERROR and text_of(row.parts)
    ]
    shown = list(messages)
    size = sum(len(text) for _, text in shown)
    while len(shown) > 1 and (size > max_chars or shown[0][0] != "user"):
        size -= len(shown.pop(0)[1])
    return Window(shown, trimmed=len(shown) < len(messages) or rows[0].parent_id is not None)
