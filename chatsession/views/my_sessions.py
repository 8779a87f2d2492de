"""A user's own sessions: where they are logged in, and the buttons that end that."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import translation
from django.utils.cache import patch_cache_control, patch_vary_headers
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_http_methods

from chatsession.devices import device_of
from chatsession.sessions import our_store, revoke, revoke_all, sessions_of
from chatsession.stores.base import BaseStore, SessionInfo
from chatsession.stores.configured import configured_store
from chatsession.views.api import language_of
from chatsession.views.page import has_own_policy, policy, refuse

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
        if configured_store() is None:
            raise Http404(_("Sessions cannot be listed on this site."))
        if request.method == "POST":
            end(request, request.POST.get("end", ""))
            return redirect(request.path)
        return shown(request)


def end(request: HttpRequest, wanted: str) -> None:
    """End one of the user's sessions, or "others": all but the one that asks."""
    current = handle_of(request)
    if wanted == "others":
        revoke_all(request.user, but=current)
    elif wanted != current and wanted in {info.handle for info in sessions_of(request.user)}:
        revoke(wanted)


def handle_of(request: HttpRequest) -> str:
    return request.session.handle if isinstance(request.session, BaseStore) else ""


def shown(request: HttpRequest) -> HttpResponse:
    """The page, the present session first."""
    current, infos = handle_of(request), sessions_of(request.user)
    rows = [
        ShownSession(info, device_of(info.user_agent), info.handle == current)
        for info in sorted(infos, key=lambda info: info.handle != current)[:SHOWN]
    ]
    context = {
        "language": translation.get_language(),
        "sessions": rows,
        "has_others": any(not row.is_current for row in rows),
        "more": len(infos) - len(rows),
        "process": str(os.getpid()) if our_store().per_process else "",
    }
    response = render(request, "chatsession/my_sessions.html", context)
    patch_cache_control(response, private=True, no_store=True)
    patch_vary_headers(response, ["Accept-Language"])
    if not has_own_policy():
        response.headers.setdefault("Content-Security-Policy", policy())
    return response
