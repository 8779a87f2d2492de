"""Whose conversations these are: the user's, or the guest's of this session.

A guest's owner ID lives in the session's data: it survives ``cycle_key()``, and dies with ``flush()`` and
with the session.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError

from chatsession.conf import conf
from chatsession.conversations import history
from chatsession.stores.records import GUEST_KEY

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser
    from django.http import HttpRequest

logger = logging.getLogger("chatsession")
CLAIMED_KEY = "_chatsession_claimed"


def owner_of(request: HttpRequest, *, create: bool = False) -> str | None:
    """The owner key of a request; None for a guest without one unless ``create`` gives it one.

    With a user, what the guest of this session left behind is claimed on the way: a request that was under
    way during the login may have stored more.
    """
    if conf.OWNER is not None:
        return conf.OWNER(request)
    user = getattr(request, "user", None)
    if user is not None and user.is_authenticated:
        claim_for(request, user)
        return user_key(user)
    guest = request.session.get(GUEST_KEY)
    if guest is None and create:
        guest = request.session[GUEST_KEY] = history.new_id()
    return f"guest:{guest}" if guest else None


def user_key(user: AbstractBaseUser | Any) -> str:
    """The owner key of a user."""
    return f"user:{user.pk}"


def claim_for(request: HttpRequest, user: AbstractBaseUser | Any) -> None:
    """Make this session's guest conversations the user's; the page tells, and offers to undo it."""
    guest = request.session.get(GUEST_KEY)
    if not guest or not conf.CLAIM_AT_LOGIN or conf.OWNER is not None:
        return
    moved = history.claim(f"guest:{guest}", user_key(user))
    if moved:
        request.session[CLAIMED_KEY] = request.session.get(CLAIMED_KEY, 0) + moved


def claim_at_login(sender: object, request: HttpRequest | None, user: Any, **kwargs: object) -> None:
    """Receiver of ``user_logged_in``."""
    if request is not None and hasattr(request, "session"):
        try:
            claim_for(request, user)
        except DatabaseError:
            # No reason to refuse the login: the next request claims what is left.
            logger.exception("The guest's conversations could not be claimed")


def unclaim(request: HttpRequest) -> None:
    """Give the claimed conversations back to the guest, and forget the guest."""
    owner = owner_of(request)
    guest = request.session.pop(GUEST_KEY, None)
    request.session.pop(CLAIMED_KEY, None)
    if owner and guest:
        history.unclaim(f"guest:{guest}", owner)
