"""A user's own sessions: where they are logged in, and the buttons that end that."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import translation
from django.utils.cache import patch_cache_control, patch_vary_headers
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_http_methods

from chatsession.devices import device_of
from chatsession.stores.base import BaseStore, SessionInfo
from chatsession.stores.configured import configured_store
from chatsession.views.api import language_of
from chatsession.views.page import has_own_policy, policy, refuse

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Most sessions the page shows; "all others" ends the rest too.
SHOWN = 100


@dataclass(frozen=True)
class ShownSession:
    """A session as the template shows it."""

    info: SessionInfo
    device: str
    is_current: bool


@csrf_protect
@require_http_methods(["GET", "HEAD", "POST"])
def sessions(request: HttpRequest) -> HttpResponseBase:
    """``sessions/``. POST ``end``: a handle, or "others"; whatever is not the user's own is left alone."""
    with translation.override(language_of(request)):
        user: Any = getattr(request, "user", None)
        if user is None or not user.is_authenticated:
            return refuse(request)
        store, user_id = configured_store(), str(user._meta.pk.value_to_string(user))
        if store is None or not isinstance(request.session, BaseStore):
            raise Http404(_("Sessions cannot be listed on this site."))
        if request.method == "POST":
            end(store, user_id, request.session.handle, request.POST.get("end", ""))
            return redirect(request.path)
        return shown(request, store, user_id, request.session.handle)


def end(store: type[BaseStore], user_id: str, current: str, wanted: str) -> None:
    """End one of the user's sessions, or "others": all but the one that asks."""
    if wanted == "others":
        for handle in others(store, user_id, current):
            store.revoke(handle)
    elif wanted != current and (info := store.info(wanted)) and info.user_id == user_id:
        store.revoke(wanted)


def others(store: type[BaseStore], user_id: str, current: str) -> Iterator[str]:
    """The handles of the user's other sessions, all of them: list() has a limit."""
    count = store.count(user_id=user_id)
    return (info.handle for info in store.list(user_id=user_id, limit=count) if info.handle != current)


def shown(request: HttpRequest, store: type[BaseStore], user_id: str, current: str) -> HttpResponse:
    """The page."""
    rows = [
        ShownSession(info, device_of(info.user_agent), info.handle == current)
        for info in store.list(user_id=user_id, limit=SHOWN)
    ]
    context = {
        "language": translation.get_language(),
        "sessions": sorted(rows, key=lambda row: not row.is_current),
        "has_others": any(not row.is_current for row in rows),
        "more": max(store.count(user_id=user_id) - SHOWN, 0),
        "process": str(os.getpid()) if store.per_process else "",
    }
    response = render(request, "chatsession/my_sessions.html", context)
    patch_cache_control(response, private=True, no_store=True)
    patch_vary_headers(response, ["Accept-Language"])
    if not has_own_policy():
        response.headers.setdefault("Content-Security-Policy", policy())
    return response
