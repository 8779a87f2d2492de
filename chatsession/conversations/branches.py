"""Siblings and the switch between them: answers written again, questions edited."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import Q

from chatsession.conversations import history
from chatsession.exceptions import NotFound
from chatsession.models import Conversation

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chatsession.models import Message


def siblings_of(conversation: Conversation, messages: Iterable[Message]) -> dict[int | None, list[str]]:
    """The public IDs of all children of each message's parent, oldest first, by the parent's row id."""
    parents = {message.parent_id for message in messages}
    wanted = Q(parent__in=parents - {None})
    if None in parents:
        wanted |= Q(parent=None)
    found: dict[int | None, list[str]] = {parent: [] for parent in parents}
    rows = history.messages_of(conversation).filter(wanted).order_by("id")
    for parent, public_id in rows.values_list("parent_id", "public_id"):
        found[parent].append(public_id)
    return found


def shown_version(conversation: Conversation, sent_id: str) -> Message | None:
    """The message on the branch on show, of those that an ID stands for: a question and its edits."""
    key = history.digest(sent_id)
    named = history.messages_of(conversation).filter(Q(sent_hash=key) | Q(public_hash=key))
    versions = {message.pk: message for message in named}
    if not versions:
        return None
    rows = history.messages_of(conversation).filter(id__gte=min(versions))
    parents = dict(rows.values_list("pk", "parent_id"))
    at = conversation.leaf_id
    while at in parents and at not in versions:
        at = parents[at]
    return versions.get(at) if at else None


def switch_to(conversation: Conversation, public_id: str) -> None:
    """Put the branch of a message on show, down to its newest leaf. Raises ``NotFound``.

    The ID is the message's own: a question that was edited since was sent under the same one.
    """
    message = history.messages_of(conversation).filter(public_hash=history.digest(public_id)).first()
    if message is None:
        raise NotFound(param="leaf")
    newest: dict[int | None, int] = {}
    below = history.messages_of(conversation).filter(id__gt=message.pk).order_by("id")
    for pk, parent in below.values_list("pk", "parent_id"):
        newest[parent] = pk
    leaf = message.pk
    while leaf in newest:
        leaf = newest[leaf]
    rows = Conversation.objects.using(history.database()).filter(pk=conversation.pk)
    rows.update(leaf=leaf)
    conversation.leaf_id = leaf
