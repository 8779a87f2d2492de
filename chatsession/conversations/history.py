"""Finding, listing, claiming: everything about conversations but their turns."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING

from django.db import IntegrityError, router, transaction
from django.db.models import F

from chatsession import sql
from chatsession.conf import conf
from chatsession.exceptions import InvalidRequest, NotFound
from chatsession.models import Conversation, Message

if TYPE_CHECKING:
    from django.db.models import QuerySet

PAGE = 50
#: Conversations deleted with their messages at a time.
BATCH = 100


def digest(text: str) -> str:
    """SHA-256 of an owner key or a public ID, as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def new_id() -> str:
    """A fresh public ID: 128 random bits as 32 hexadecimal digits."""
    return secrets.token_hex(16)


def database() -> str:
    """The alias that holds the conversations: ``DATABASE``, or what the routers say."""
    return conf.DATABASE or router.db_for_write(Conversation)


def conversations_of(owner: str) -> QuerySet[Conversation]:
    """All conversations of one owner, the last used first."""
    found = Conversation.objects.using(database()).filter(owner_hash=digest(owner))
    return found.order_by("-updated_at", "-id")


def get_conversation(owner: str, public_id: str) -> Conversation:
    """One conversation of ``owner``.

    Raises ``NotFound`` for unknown IDs and for those of other owners alike.
    """
    found = sql.get(Conversation, database(), owner_hash=digest(owner), public_hash=digest(public_id))
    if found is None:
        raise NotFound
    return found


def conversation_of(message: Message) -> Conversation:
    """The conversation of a message, never a replica's. Raises ``Conversation.DoesNotExist``."""
    return Conversation.objects.using(database()).get(pk=message.conversation_id)


def create_conversation(owner: str, public_id: str = "", title: str = "") -> Conversation:
    """An empty conversation. Raises ``InvalidRequest`` if ``owner`` has one under this ID already."""
    conversation = new_conversation(owner, public_id or new_id(), title=title)
    try:
        with transaction.atomic(database()):
            conversation.save(using=database())
    except IntegrityError:
        raise InvalidRequest(code="id_taken", param="id") from None
    return conversation


def new_conversation(owner: str, public_id: str, *, title: str = "") -> Conversation:
    """An unsaved row."""
    return Conversation(
        owner=owner,
        owner_hash=digest(owner),
        public_id=public_id,
        public_hash=digest(public_id),
        title=title,
    )


def messages_of(conversation: Conversation) -> QuerySet[Message]:
    """All messages of all branches, newest first."""
    return Message.objects.using(database()).filter(conversation=conversation).order_by("-id")


def branch(conversation: Conversation, *, leaf: int | None = None, limit: int = PAGE) -> list[Message]:
    """The last ``limit`` messages up to ``leaf`` (a row id; default: the branch on show), oldest first.

    A page of the newest rows is read at a time and walked by ``parent``, so the cost does not depend on
    the conversation's length. Each message carries its parent's ID as ``parent_public_id``.
    """
    wanted = conversation.leaf_id if leaf is None else leaf
    found: list[Message] = []
    rows = messages_of(conversation).annotate(parent_public_id=F("parent__public_id"))
    while wanted is not None and len(found) < limit:
        page = list(rows.filter(id__lte=wanted)[:limit])
        if not page or page[0].pk != wanted:
            break
        for message in page:
            if message.pk == wanted and len(found) < limit:
                found.append(message)
                wanted = message.parent_id
    return found[::-1]


def delete_all(conversations: QuerySet[Conversation]) -> None:
    """Delete them with all they hold, a batch at a time."""
    while keys := list(conversations.values_list("pk", flat=True)[:BATCH]):
        # Filtered again: one may have been used, or claimed, meanwhile.
        conversations.filter(pk__in=keys).delete()


def claim(guest: str, owner: str) -> int:
    """Give the conversations of the owner key ``guest`` to ``owner``; answers how many moved.

    Idempotent. Where ``owner`` has a conversation of the same ID, the guest's gets a new one.
    """
    moved = 0
    for conversation in conversations_of(guest):
        moved += _move(conversation, owner, claimed_from=guest)
    return moved


def unclaim(guest: str, owner: str) -> int:
    """Undo ``claim()``: what came from ``guest`` leaves ``owner`` again."""
    claimed = conversations_of(owner).filter(claimed_from=guest)
    return sum(_move(conversation, guest, claimed_from=None) for conversation in claimed)


def _move(conversation: Conversation, owner: str, *, claimed_from: str | None) -> int:
    public_id = conversation.public_id
    if conversations_of(owner).filter(public_hash=conversation.public_hash).exists():
        public_id = new_id()
    return (
        Conversation.objects.using(database())
        .filter(pk=conversation.pk, owner_hash=conversation.owner_hash)
        .update(
            owner=owner,
            owner_hash=digest(owner),
            public_id=public_id,
            public_hash=digest(public_id),
            claimed_from=claimed_from,
        )
    )
