"""The sessions of one user, whatever store of ours is configured: see them, end them.

Every function raises ``ImproperlyConfigured`` if ``SESSION_ENGINE`` is not one of our stores.
"""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured

from chatsession.stores.base import BaseStore, SessionInfo
from chatsession.stores.configured import configured_store
from chatsession.stores.records import user_id_text

#: More than any user has.
ALL = 1_000_000


def our_store() -> type[BaseStore]:
    """The configured store."""
    store = configured_store()
    if store is None:
        raise ImproperlyConfigured("SESSION_ENGINE is not one of chatsession's stores.")
    return store


def user_id_of(user: Any) -> str:
    """A user's primary key as sessions have it."""
    return user_id_text(user._meta.pk.value_to_string(user))


def sessions_of(user: Any) -> list[SessionInfo]:
    """The valid sessions in which ``user`` is logged in, last seen first."""
    return our_store().list(user_id=user_id_of(user), limit=ALL)


async def asessions_of(user: Any) -> list[SessionInfo]:
    """See sessions_of()."""
    return await sync_to_async(sessions_of)(user)


def revoke(handle: str) -> bool:
    """End one session. Whether there was one."""
    return our_store().revoke(handle)


async def arevoke(handle: str) -> bool:
    """See revoke()."""
    return await our_store().arevoke(handle)


def revoke_all(user: Any, *, but: str = "") -> int:
    """End every session of ``user``, ``but`` that of one handle (their own). How many were ended."""
    return sum(revoke(info.handle) for info in sessions_of(user) if info.handle != but)


async def arevoke_all(user: Any, *, but: str = "") -> int:
    """See revoke_all()."""
    return await sync_to_async(revoke_all)(user, but=but)
