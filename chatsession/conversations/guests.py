"""Guests' conversations live as long as the session that holds the guest's owner ID."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime

from chatsession.conversations import history
from chatsession.models import Conversation

PREFIX = "guest:"
#: Conversations looked at, and deleted with their messages, at a time.
BATCH = 100


def sweep(held: Callable[[Collection[str]], set[str]], *, unused_since: datetime) -> int:
    """Delete the conversations of guests whom nobody holds any more; answers how many.

    ``held`` says which of these owner IDs a session holds. What was used later than ``unused_since`` stays: a
    guest's first conversation is stored before the session is.
    """
    guests = Conversation.objects.using(history.database()).filter(
        owner__startswith=PREFIX, updated_at__lt=unused_since
    )
    last, swept = 0, 0
    while page := list(guests.filter(pk__gt=last).order_by("pk").values_list("pk", "owner")[:BATCH]):
        last = page[-1][0]
        kept = held({owner.removeprefix(PREFIX) for _pk, owner in page})
        gone = [pk for pk, owner in page if owner.removeprefix(PREFIX) not in kept]
        # Filtered again: a login may have claimed one meanwhile.
        guests.filter(pk__in=gone).delete()
        swept += len(gone)
    return swept
