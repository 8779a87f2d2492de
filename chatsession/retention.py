"""How long conversations stay: when their user is deleted, and when nobody writes in them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import DatabaseError, connections, transaction
from django.utils import timezone

from chatsession.conf import conf
from chatsession.conversations import history
from chatsession.models import Conversation, Message
from chatsession.sessions import revoke_all
from chatsession.stores.configured import configured_store
from chatsession.views.owners import user_key


def forget(sender: object, instance: Any, **kwargs: object) -> None:
    """Receiver of ``post_delete`` of the user model: inside the deletion's transaction, if on its database.

    An answer that is being written needs no word: its next write finds no row.
    """
    if has_tables():
        if conf.RETENTION["deleted_users"] == "erase":
            history.conversations_of(user_key(instance)).delete()
        else:
            anonymise(user_key(instance))
    if configured_store() is not None:
        revoke_all(instance)


def expire() -> None:
    """Delete what had no message for ``RETENTION["days"]``, whoever owns it."""
    if days := conf.RETENTION["days"]:
        conversations = Conversation.objects.using(history.database()).order_by("pk")
        history.delete_all(conversations.filter(updated_at__lt=timezone.now() - timedelta(days=days)))


def has_tables() -> bool:
    """A site may use the sessions in memory and have migrated nothing."""
    try:
        with transaction.atomic(using=history.database()):
            Conversation.objects.using(history.database()).exists()
    except DatabaseError:
        with connections[history.database()].cursor() as cursor:
            tables = connections[history.database()].introspection.table_names(cursor)
        if Conversation._meta.db_table in tables:
            raise
        return False
    return True


def anonymise(owner: str) -> None:
    """The conversations stay together, under an owner that nobody is, and lead to no session."""
    nobody = f"deleted:{history.new_id()}"
    conversations = history.conversations_of(owner)
    messages = Message.objects.using(history.database()).filter(
        conversation__owner_hash=history.digest(owner)
    )
    messages.exclude(session_handle="").update(session_handle="")
    conversations.update(owner=nobody, owner_hash=history.digest(nobody), claimed_from=None)
