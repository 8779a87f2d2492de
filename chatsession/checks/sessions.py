"""Engine, middleware, serializer and cookie of the sessions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.sessions.middleware import SessionMiddleware as DjangoSessionMiddleware
from django.core.checks import CheckMessage, Error, Warning
from django.utils.module_loading import import_string

from chatsession.checks.redis import lacks_of_redis
from chatsession.middleware import SessionMiddleware
from chatsession.stores.configured import configured_store

MISSING = (
    "The session ID goes out unsigned and is stored as it is, parallel requests overwrite each other's "
    "values, and what a streamed response writes to the session is lost."
)


def check_sessions(**kwargs: Any) -> list[CheckMessage]:
    """Engine, middleware and serializer belong together."""
    if lacking := [*lacks_of_redis()]:
        return lacking
    try:
        store = configured_store()
    except ImportError as error:
        hint = 'Set it to "chatsession.stores.db", "chatsession.stores.redis" or "chatsession.stores.memory".'
        return [Error(f"SESSION_ENGINE cannot be imported: {error}", hint=hint, id="chatsession.E023")]
    found = [*wrong_order()]
    if store is None:
        return [*found, *foreign_engine()]
    found += [*unsigned(), *pickled(store(None).serializer)]
    if store.per_process and not settings.DEBUG:
        text = "Sessions are kept in the memory of one process, and DEBUG is off."
        hint = (
            "They are lost when it ends, and other processes do not know them. With more than one process "
            'use SESSION_ENGINE = "chatsession.stores.db" or "chatsession.stores.redis".'
        )
        found.append(Warning(text, hint=hint, id="chatsession.W026"))
    return found


def middleware_classes() -> list[Any]:
    """In their order; what cannot be imported is Django's to report."""
    return [found for found in map(imported, settings.MIDDLEWARE) if isinstance(found, type)]


def imported(path: str) -> Any:
    try:
        return import_string(path)
    except ImportError:
        return None


def positions(base: type) -> list[int]:
    return [at for at, found in enumerate(middleware_classes()) if issubclass(found, base)]


def unsigned() -> Iterator[CheckMessage]:
    if not positions(SessionMiddleware) or positions(SessionMiddleware) != positions(DjangoSessionMiddleware):
        hint = (
            'Put "chatsession.middleware.SessionMiddleware" into MIDDLEWARE, in the place of '
            '"django.contrib.sessions.middleware.SessionMiddleware".'
        )
        text = "SESSION_ENGINE is chatsession's and the session middleware is not: the ID would go unsigned."
        yield Error(text, hint=hint, id="chatsession.E021")


def wrong_order() -> Iterator[CheckMessage]:
    if not apps.is_installed("django.contrib.auth"):
        return
    from django.contrib.auth.middleware import AuthenticationMiddleware

    sessions, users = positions(DjangoSessionMiddleware), positions(AuthenticationMiddleware)
    if sessions and users and sessions[0] > users[0]:
        text = "AuthenticationMiddleware comes before the session middleware, whose session it needs."
        hint = "Put the session middleware above it in MIDDLEWARE."
        yield Error(text, hint=hint, id="chatsession.E022")


def foreign_engine() -> Iterator[CheckMessage]:
    if not positions(DjangoSessionMiddleware):
        text = "There is no session middleware: the chat cannot tell its visitors apart."
        hint = 'Put "chatsession.middleware.SessionMiddleware" into MIDDLEWARE.'
        yield Error(text, hint=hint, id="chatsession.E029")
    elif positions(SessionMiddleware):
        text = "The session middleware is chatsession's and SESSION_ENGINE is not: it behaves as Django's."
        hint = f'{MISSING} Set SESSION_ENGINE = "chatsession.stores.db".'
        yield Warning(text, hint=hint, id="chatsession.W024")
    else:
        text = "The chat runs on sessions that are not chatsession's."
        hint = f"{MISSING} If that is meant, silence this check with SILENCED_SYSTEM_CHECKS."
        yield Warning(text, hint=hint, id="chatsession.W025")


def pickled(serializer: Any) -> Iterator[CheckMessage]:
    """By name, or by the first byte of pickle's protocols from 2 on."""
    is_pickle = "pickle" in serializer.__name__.lower() or serializer().dumps({}).startswith(b"\x80")
    if is_pickle:
        text = "SESSION_SERIALIZER uses pickle: whoever can write to the store can run code here."
        hint = 'Use "django.contrib.sessions.serializers.JSONSerializer".'
        yield Error(text, hint=hint, id="chatsession.E020")


def check_deployment(**kwargs: Any) -> Iterator[CheckMessage]:
    """What ``check --deploy`` asks of the cookie."""
    if not settings.SESSION_EXPIRE_AT_BROWSER_CLOSE:
        text = "The session cookie outlives the browser."
        hint = "Set SESSION_EXPIRE_AT_BROWSER_CLOSE = True; SESSION_COOKIE_AGE then is the server's limit."
        yield Warning(text, hint=hint, id="chatsession.W040")
    if "django.contrib.sessions" in settings.INSTALLED_APPS:
        return  # then Django's security.W010 to W015 ask for the other two
    if settings.SESSION_COOKIE_SECURE is not True:
        text = "The session cookie is sent over unencrypted connections too."
        hint = "Set SESSION_COOKIE_SECURE = True."
        yield Warning(text, hint=hint, id="chatsession.W041")
    if settings.SESSION_COOKIE_HTTPONLY is not True:
        text = "Scripts can read the session cookie."
        hint = "Set SESSION_COOKIE_HTTPONLY = True."
        yield Warning(text, hint=hint, id="chatsession.W042")
