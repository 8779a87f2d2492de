"""The chat page: rendered on the server, readable and usable without script."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.http.request import HttpHeaders
from django.shortcuts import redirect, render, resolve_url
from django.templatetags.static import static
from django.utils import translation
from django.utils.cache import patch_cache_control, patch_vary_headers
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.csrf import csrf_protect, ensure_csrf_cookie
from django.views.decorators.http import require_http_methods, require_POST

from chatsession.conf import conf
from chatsession.conversations import history
from chatsession.conversations.branches import switch_to
from chatsession.exceptions import ChatError, NotFound
from chatsession.runs import service
from chatsession.stores.base import BaseStore
from chatsession.views import owners
from chatsession.views.api import check_session, has_permission, language_of, non_atomic
from chatsession.views.chat import ask_from
from chatsession.views.conversations import erase
from chatsession.views.limits import count_send
from chatsession.views.transcript import ShownTurn, is_demo, transcript_context

if TYPE_CHECKING:
    from chatsession.models import Conversation

#: Said where a question comes for a conversation that its visitor has lost.
GONE = gettext_lazy(
    "This conversation is no longer here: your session has ended, or it was deleted. Your text is kept."
)
#: Conversations at the side, before "Show more".
CONVERSATIONS = 50

POLICY = (
    "default-src 'self'{assets}; connect-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'self'"
)
#: Middleware that sends the site's own policy, and leaves a response alone that has one.
POLICY_MIDDLEWARE = {"django.middleware.csp.ContentSecurityPolicyMiddleware", "csp.middleware.CSPMiddleware"}


@csrf_protect
@ensure_csrf_cookie
@require_http_methods(["GET", "HEAD", "POST"])
def _page(request: HttpRequest, public_id: str = "") -> HttpResponseBase:
    """``chat/`` and ``chat/<conversation id>/``."""
    check_session(request)
    with translation.override(language_of(request)):
        if not has_permission(request, conf.PERMISSIONS["chat"]):
            return refuse(request)
        answered = act_without_script if request.method == "POST" else shown
        try:
            return answered(request, public_id)
        except ObjectDoesNotExist:
            # Deleted by another tab while this request was under way.
            raise Http404(str(NotFound.message)) from None


@csrf_protect
@require_POST
def _unclaim(request: HttpRequest) -> HttpResponseBase:
    """The answer to the notice after a login: keep the guest's conversations, or undo the claim."""
    check_session(request)
    if "keep" in request.POST:
        request.session.pop(owners.CLAIMED_KEY, None)
    else:
        owners.unclaim(request)
    return redirect("chatsession:page")


page = non_atomic(_page)
unclaim = non_atomic(_unclaim)


def refuse(request: HttpRequest) -> HttpResponseBase:
    """A visitor may log in; a user who may not chat is told so."""
    user: Any = getattr(request, "user", None)
    if user is not None and user.is_authenticated:
        raise PermissionDenied
    # Not redirect_to_login(): its module needs django.contrib.auth to be installed.
    query = urlencode({"next": request.get_full_path()}, safe="/")
    return redirect(f"{resolve_url(settings.LOGIN_URL)}?{query}")


def shown(request: HttpRequest, public_id: str, **extra: Any) -> HttpResponse:
    """The page. Raises ``Http404`` for unknown conversations and for those of others alike."""
    owner = owners.owner_of(request, create=is_visit(request))
    conversation = find(owner, public_id)
    context = page_context(request, owner) | transcript_context(request, conversation) | extra
    status = extra.pop("status", 200)
    response = render(request, "chatsession/page.html", context, status=status)
    patch_cache_control(response, private=True, no_store=True)
    patch_vary_headers(response, ["Accept-Language"])
    if not has_own_policy():
        response.headers.setdefault("Content-Security-Policy", policy())
    return response


def is_visit(request: HttpRequest) -> bool:
    """Whether somebody looks: a HEAD or a browser's prefetch stores nothing."""
    purpose = request.headers.get("Sec-Purpose", request.headers.get("Purpose", ""))
    return request.method != "HEAD" and "prefetch" not in purpose


def find(owner: str | None, public_id: str) -> Conversation | None:
    """The conversation of the address, None on the page of a new one."""
    if not public_id:
        return None
    try:
        if owner is None or "\0" in public_id:
            raise NotFound
        return history.get_conversation(owner, public_id)
    except NotFound as error:
        raise Http404(str(error.message)) from None


def page_context(request: HttpRequest, owner: str | None) -> dict[str, Any]:
    """What the page needs around the transcript."""
    rows = list(history.conversations_of(owner)[: CONVERSATIONS + 1]) if owner else []
    demo = is_demo("default")
    return {
        "language": translation.get_language(),
        "user": getattr(request, "user", None),
        "has_sessions": isinstance(request.session, BaseStore),
        "conversations": rows[:CONVERSATIONS],
        "more_conversations": len(rows) > CONVERSATIONS,
        "claimed": request.session.get(owners.CLAIMED_KEY, 0) if owner else 0,
        "may_clear": has_permission(request, conf.PERMISSIONS["clear"]),
        "is_demo": demo,
        "suggestions": [_("What can you do?"), _("My name is Hanako."), "/markdown", "/code"],
        "user_turn": ShownTurn(role="user"),
        "assistant_turn": ShownTurn(role="assistant", is_demo=demo),
        "gone": GONE,
        "conversation_id": history.new_id(),
        "message_id": history.new_id(),
        "csrf_cookie": settings.CSRF_COOKIE_NAME,
        "csrf_header": HttpHeaders.parse_header_name(settings.CSRF_HEADER_NAME),
    }


def has_own_policy() -> bool:
    """Whether the site sends a content security policy of its own."""
    policies = (getattr(settings, name, None) for name in ("SECURE_CSP", "CONTENT_SECURITY_POLICY"))
    return any(policies) and not POLICY_MIDDLEWARE.isdisjoint(settings.MIDDLEWARE)


def policy() -> str:
    """Our policy: this site only, and the host of the static files where that is another one."""
    parts = urlsplit(static("chatsession/chat.css"))
    return POLICY.format(assets=f" {parts.scheme or 'https'}://{parts.netloc}" if parts.netloc else "")


def act_without_script(request: HttpRequest, public_id: str) -> HttpResponseBase:
    """What the buttons ask for: another version, no conversation at all, or an answer."""
    if "show" in request.POST:
        return switch_without_script(request, public_id)
    if "erase" in request.POST:
        if not has_permission(request, conf.PERMISSIONS["clear"]):
            raise PermissionDenied
        erase(owners.owner_of(request))
        return redirect("chatsession:page")
    try:
        ask = ask_from(request, asked(request, public_id))
        turn, _source = service.send(ask, lambda: count_send(request, ask.owner, ask.user_id))
    except ChatError as error:
        draft = request.POST.get("suggestion") or request.POST.get("text", "")
        kept = {"draft": draft, "status": error.status}
        try:
            return shown(request, public_id, problem=error.message, **kept)
        except Http404:
            return shown(request, "", problem=GONE, **kept)
    return redirect("chatsession:conversation_page", public_id=turn.conversation.public_id)


def asked(request: HttpRequest, public_id: str) -> dict[str, Any]:
    """The form as a body of ``POST chat``."""
    if "again" in request.POST:
        return {"id": public_id, "trigger": "regenerate-message", "messageId": request.POST["again"]}
    text = request.POST.get("suggestion") or request.POST.get("text", "")
    message = {"id": request.POST.get("message_id", ""), "parts": [{"type": "text", "text": text}]}
    known = (
        {"id": public_id, "existing": True} if public_id else {"id": request.POST.get("conversation_id", "")}
    )
    return known | {"message": message}


def switch_without_script(request: HttpRequest, public_id: str) -> HttpResponseBase:
    """Put the branch of another version on show."""
    conversation = find(owners.owner_of(request), public_id)
    try:
        if conversation is None:
            raise NotFound
        switch_to(conversation, request.POST["show"])
    except NotFound as error:
        raise Http404(str(error.message)) from None
    return redirect(request.get_full_path())
