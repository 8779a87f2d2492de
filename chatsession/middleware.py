"""The session's cookie in, its cookie out, and the commit at the end of the response."""

from __future__ import annotations

import ipaddress
import logging
import sys
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, cast

from django.conf import settings
from django.contrib.sessions import middleware as django_sessions
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers
from django.utils.http import http_date
from django.utils.translation import gettext

from chatsession import signing, streaming
from chatsession.conf import conf
from chatsession.stores import adoption
from chatsession.stores.base import BaseStore, Cause
from chatsession.stores.null import NullSession
from chatsession.stores.records import Client

logger = logging.getLogger("chatsession.sessions")

#: Seconds after which a visitor may ask again while the store is away.
RETRY_AFTER = 5


class SessionMiddleware(django_sessions.SessionMiddleware):
    """Django's middleware with signed IDs, native async and a second commit when a stream has ended.

    With a ``SESSION_ENGINE`` that is not ours it is Django's middleware, unchanged.
    """

    def __init__(self, get_response: Any) -> None:
        super().__init__(get_response)
        self.is_ours = issubclass(self.SessionStore, BaseStore)

    def __call__(self, request: HttpRequest) -> Any:
        if self.async_mode:
            return self.__acall__(request)
        self.process_request(request)
        return self.process_response(request, self.get_response(request))  # type: ignore[arg-type]

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        if not self.is_ours:
            return await super().__acall__(request)
        self.process_request(request)
        response = await cast("Awaitable[HttpResponse]", self.get_response(request))
        if is_left_alone(request, response):
            return response
        saved = False
        if must_commit(request, response):
            try:
                with interruptions():
                    saved = await prepared(request).acommit()
            except (OperationalError, InterfaceError) as error:
                return self._unsaved(request, error)
        elif (session := renamed(request)) and not await session.aexists(session.session_key):
            session.restore_key()
        finish(request, response, saved=saved)
        return response

    def process_request(self, request: HttpRequest) -> None:
        if self.is_ours:
            request.session = self._session_of(request)
        else:
            super().process_request(request)

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        if not self.is_ours:
            return super().process_response(request, response)
        if is_left_alone(request, response):
            return response
        saved = False
        if must_commit(request, response):
            try:
                with interruptions():
                    saved = prepared(request).commit()
            except (OperationalError, InterfaceError) as error:
                return self._unsaved(request, error)
        elif (session := renamed(request)) and not session.exists(session.session_key):
            session.restore_key()
        finish(request, response, saved=saved)
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """503 for a view that met a store that cannot be reached; while developing, the error itself."""
        is_away = isinstance(exception, OperationalError | InterfaceError) and getattr(
            getattr(request, "session", None), "is_away", False
        )
        if not is_away or settings.DEBUG:
            return None
        logger.error("The store of the sessions is away.", exc_info=exception)
        message = gettext("The service is not available right now. Please try again in a moment.")
        headers = {"Retry-After": str(RETRY_AFTER), "Cache-Control": "no-store"}
        return HttpResponse(message, "text/plain; charset=utf-8", 503, headers=headers)

    def _unsaved(self, request: HttpRequest, error: Exception) -> HttpResponse:
        response = self.process_exception(request, error)
        if response is None:
            raise error
        return response

    def _session_of(self, request: HttpRequest) -> BaseStore:
        if is_skipped(request):
            return NullSession()
        store = cast("type[BaseStore]", self.SessionStore)
        value = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
        if value is None or "." in value:
            return store(value)
        session = store(value if takes_bare_keys(request) else None)
        if adoption.is_old_key(value):
            session.old_key = value
        elif session.session_key is None:
            session.cause = Cause.BAD_SIGNATURE
        return session


def is_skipped(request: HttpRequest) -> bool:
    """Whether the request has one of the ``SKIP_HEADERS``."""
    for name, wanted in conf.SKIP_HEADERS.items():
        value = request.headers.get(name)
        if value is not None and wanted in ("*", value):
            return True
    return False


def takes_bare_keys(request: HttpRequest) -> bool:
    """Only from Django's in-process test clients: ``force_login()`` puts the bare key into the cookie."""
    return hasattr(request, "_dont_enforce_csrf_checks") and "django.test.client" in sys.modules


@contextmanager
def interruptions() -> Iterator[None]:
    try:
        yield
    except UpdateError as error:
        raise SessionInterrupted(
            "The request's session was deleted before the request completed. "
            "The user may have logged out in a concurrent request, for example."
        ) from error


def is_left_alone(request: HttpRequest, response: HttpResponseBase) -> bool:
    """Whether nobody has asked for the session, and no body that may do so is still to come."""
    session = getattr(request, "session", None)
    return isinstance(session, BaseStore) and not (is_used(session) or response.streaming)


def is_used(session: BaseStore) -> bool:
    every = settings.SESSION_SAVE_EVERY_REQUEST and session.session_key is not None
    return session.accessed or session.modified or every


def must_commit(request: HttpRequest, response: HttpResponseBase) -> bool:
    session = getattr(request, "session", None)
    if not isinstance(session, BaseStore) or not session.is_lasting:
        return False
    # An old session is adopted before a stream begins: then it is too late for the cookie.
    is_wanted = is_used(session) or (response.streaming and session.old_key is not None)
    return is_wanted and response.status_code < 500


def renamed(request: HttpRequest) -> BaseStore | None:
    """A session with a new key in a response that is not committed: a rollback may have taken it back."""
    session = getattr(request, "session", None)
    return session if isinstance(session, BaseStore) and session.handle and session.has_new_key else None


def prepared(request: HttpRequest) -> BaseStore:
    session = cast("BaseStore", request.session)
    session.client = client_of(request)
    return session


def client_of(request: HttpRequest) -> Client:
    user_agent = request.META.get("HTTP_USER_AGENT", "").replace("\0", "")[:300]
    address = conf.CLIENT_IP(request) if conf.CLIENT_IP else request.META.get("REMOTE_ADDR")
    return Client(user_agent, truncated(address or ""))


@lru_cache(maxsize=1024)
def truncated(address: str) -> str:
    """The /24 or /48 network of an IP address, "" for what is none (a Unix socket)."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return ""
    ip = getattr(ip, "ipv4_mapped", None) or ip
    bits = 24 if ip.version == 4 else 48
    return str(ipaddress.ip_network((ip, bits), strict=False).network_address)


def finish(request: HttpRequest, response: Any, *, saved: bool) -> None:
    """The headers, and whatever has to happen once the body has been sent."""
    session = getattr(request, "session", None)
    if not isinstance(session, BaseStore):
        return
    if not session.is_lasting:
        if session.accessed:
            # A cache must not give this to those who have a session.
            patch_vary_headers(response, conf.SKIP_HEADERS)
        return
    if is_used(session):
        set_or_delete_cookie(request, response, session, saved=saved)
        if session.accessed:
            patch_vary_headers(response, ("Cookie",))
    if response.streaming:
        streaming.follow(session, response)


def set_or_delete_cookie(request: HttpRequest, response: Any, session: BaseStore, *, saved: bool) -> None:
    if session.is_empty():
        if settings.SESSION_COOKIE_NAME in request.COOKIES:
            response.delete_cookie(
                settings.SESSION_COOKIE_NAME,
                path=settings.SESSION_COOKIE_PATH,
                domain=settings.SESSION_COOKIE_DOMAIN,
                samesite=settings.SESSION_COOKIE_SAMESITE,
            )
            keep_private(response)
    elif saved or must_reissue(session):
        set_cookie(response, session)
        keep_private(response)


def must_reissue(session: BaseStore) -> bool:
    """The browser's cookie no longer fits: another key (even if a 5xx was not saved), or an old signature."""
    if not session.handle:
        return False
    return session.has_new_key or has_old_signature(session)


def has_old_signature(session: BaseStore) -> bool:
    """By an old key, or older than a tenth of a sliding age: the cookie moves along with the record."""
    if session.signature is None:
        return False
    age = session.sliding_age()
    return not session.signature.current or (age is not None and session.signature.age > age / 10)


def set_cookie(response: Any, session: BaseStore) -> None:
    max_age, expires = None, None
    if not session.get_expire_at_browser_close():
        max_age = session.get_expiry_age()
        expires = http_date(time.time() + max_age)
    response.set_cookie(
        settings.SESSION_COOKIE_NAME,
        signing.sign(str(session.session_key)),
        max_age=max_age,
        expires=expires,
        domain=settings.SESSION_COOKIE_DOMAIN,
        path=settings.SESSION_COOKIE_PATH,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=settings.SESSION_COOKIE_HTTPONLY,
        samesite=settings.SESSION_COOKIE_SAMESITE,
    )


def keep_private(response: Any) -> None:
    """No cache may keep a response that carries a session's cookie (CVE-2026-35192, CVE-2026-48588)."""
    patch_vary_headers(response, ("Cookie",))
    own = [part.strip() for part in response.get("Cache-Control", "").split(",") if part.strip()]
    if not own:
        response["Cache-Control"] = "private, no-store" + ", no-transform" * response.streaming
        return
    names = ("public", "private", "s-maxage")
    kept = [part for part in own if part.partition("=")[0].strip().lower() not in names]
    response["Cache-Control"] = ", ".join([*kept, "private"])
