"""System checks. Their IDs are stable; ``docs/checks.md`` lists them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.sessions.middleware import SessionMiddleware as DjangoSessionMiddleware
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.utils.module_loading import import_string

from chatsession.backends.base import get_backend
from chatsession.conf import DEFAULT_PERMISSIONS, Settings, conf
from chatsession.middleware import SessionMiddleware
from chatsession.stores import adoption
from chatsession.stores.configured import configured_store

TAG = "chatsession"
KEYS = [name for name in vars(Settings) if name.isupper()]
PERMISSION = re.compile(r"anyone|authenticated|staff|\w+\.\w+")
HEADER = re.compile(r"[A-Za-z0-9-]+")
RATE = re.compile(r"[1-9][0-9]*/[smhd]")
MISSING = (
    "The session ID goes out unsigned and is stored as it is, parallel requests overwrite each other's "
    "values, and what a streamed response writes to the session is lost."
)


def register_checks() -> None:
    """Called once, when the app is ready."""
    register(check_settings, TAG)
    register(check_models, TAG)
    register(check_sessions, TAG)
    register(check_deployment, TAG, Tags.security, deploy=True)


# The settings


def is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def is_callable(value: Any) -> bool:
    """A callable, its dotted path, or None."""
    try:
        return value is None or callable(import_string(value) if isinstance(value, str) else value)
    except ImportError:
        return False


def is_rates(value: Any) -> bool:
    """Such as ``{"user": "60/h", "guest": "20/m"}``."""
    return isinstance(value, Mapping) and all(
        kind in ("user", "guest") and isinstance(rate, str) and RATE.fullmatch(rate)
        for kind, rate in value.items()
    )


def is_headers(value: Any) -> bool:
    """Such as ``{"X-Session": "none"}``."""
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and HEADER.fullmatch(name) and isinstance(wanted, str) and wanted
        for name, wanted in value.items()
    )


def is_adoptable(value: Any) -> bool:
    try:
        return value is None or bool(adoption.engine(value))
    except (ImportError, AttributeError, TypeError, ImproperlyConfigured):
        return False


ADOPTABLE = (
    '"django.contrib.sessions.backends.db", "….cache" or "….cached_db"; the first and the last need '
    "django.contrib.sessions in INSTALLED_APPS"
)


def is_retention(value: Any) -> bool:
    choices = {"deleted_users": ("erase", "anonymise")}
    return isinstance(value, Mapping) and all(
        wanted in choices.get(kind, ()) for kind, wanted in value.items()
    )


NUMBER = (is_number, "a whole number above 0")
FUNCTION = (is_callable, "a function of the request or the dotted path of one that can be imported")
EXPECTED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "MODELS": (lambda value: isinstance(value, Mapping), "a dictionary of models"),
    "DATABASE": (lambda value: value is None or value in connections, "an alias in DATABASES, or None"),
    "OWNER": FUNCTION,
    "PERMISSIONS": (lambda value: isinstance(value, Mapping), "a dictionary: API name -> who may use it"),
    "MAX_MESSAGE_CHARS": NUMBER,
    "CLAIM_AT_LOGIN": (lambda value: isinstance(value, bool), "True or False"),
    "ON_DISCONNECT": (lambda value: value in ("continue", "stop"), '"continue" or "stop"'),
    "MAX_RUNNING": NUMBER,
    "MAX_QUEUED": (lambda value: value == 0 or is_number(value), "a whole number, 0 or above"),
    "MAX_STREAMS_PER_OWNER": NUMBER,
    "RATE": (is_rates, 'a dictionary: {"user": "60/h", "guest": "20/m"}; s, m, h or d'),
    "RETENTION": (is_retention, 'a dictionary: {"deleted_users": "erase"}, or "anonymise"'),
    "MAX_SESSION_BYTES": NUMBER,
    "MAX_SESSIONS": NUMBER,
    "SKIP_HEADERS": (is_headers, 'a dictionary: header\'s name -> the value it must have, or "*"'),
    "SESSIONS_PER_USER": (lambda value: value is None or is_number(value), "a whole number above 0, or None"),
    "ABSOLUTE_AGE": (lambda value: value is None or is_number(value), "a number of seconds above 0, or None"),
    "ADOPT": (is_adoptable, f"None or {ADOPTABLE}"),
    "CLIENT_IP": FUNCTION,
}


def given() -> Any:
    return getattr(settings, "CHATSESSION", {})


def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """``CHATSESSION`` itself: its keys and their values."""
    if not isinstance(given(), Mapping):
        return [Error("CHATSESSION must be a dictionary.", id="chatsession.E001")]
    return [*unknown_keys(), *wrong_values(), *wrong_permissions()]


def unknown_keys() -> Iterator[CheckMessage]:
    for name in given():
        if name not in KEYS:
            close = get_close_matches(str(name).upper(), KEYS, 1)
            hint = f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(KEYS)}."
            yield Error(f"CHATSESSION has an unknown key {name!r}.", hint=hint, id="chatsession.E002")


def wrong_values() -> Iterator[CheckMessage]:
    for name, (is_right, what) in EXPECTED.items():
        if name in given() and not is_right(given()[name]):
            yield Error(
                f"CHATSESSION[{name!r}] has a value that cannot be used.",
                hint=f"It must be {what}.",
                id="chatsession.E003",
            )


def wrong_permissions() -> Iterator[CheckMessage]:
    permissions = given().get("PERMISSIONS", {})
    for name, wanted in permissions.items() if isinstance(permissions, Mapping) else ():
        if name not in DEFAULT_PERMISSIONS:
            text = f"CHATSESSION['PERMISSIONS'] names an API that does not exist: {name!r}."
            hint = f"There are: {', '.join(DEFAULT_PERMISSIONS)}."
            yield Error(text, hint=hint, id="chatsession.E004")
        if not (isinstance(wanted, str) and PERMISSION.fullmatch(wanted)):
            text = f"CHATSESSION['PERMISSIONS'][{name!r}] does not say who may use it."
            hint = 'It must be "anyone", "authenticated", "staff" or a permission as "app.codename".'
            yield Error(text, hint=hint, id="chatsession.E005")


# The models


def check_models(**kwargs: Any) -> list[CheckMessage]:
    """Every entry of ``MODELS``, and what its backend says itself."""
    if not isinstance(given(), Mapping) or not isinstance(conf.MODELS, Mapping):
        return []
    found = [message for alias, entry in conf.MODELS.items() for message in check_model(alias, entry)]
    if "default" not in conf.MODELS:
        text = "CHATSESSION['MODELS'] has no model 'default', which answers when a request names none."
        found.append(Error(text, hint="Name one of the models 'default'.", id="chatsession.E012"))
    return found


def check_model(alias: str, entry: Any) -> Iterator[CheckMessage]:
    name = f"CHATSESSION['MODELS'][{alias!r}]"
    if not is_entry(entry):
        hint = "It must be a dictionary with a BACKEND and, if that is a class with arguments, OPTIONS."
        yield Error(f"{name} is not a model.", hint=hint, id="chatsession.E010")
        return
    try:
        backend: Any = get_backend(alias)
    except Exception as error:  # whatever the class of the site or of a library raises
        hint = (
            "BACKEND must be the dotted path of a function, or of a class with a method 'stream' that "
            f"takes these OPTIONS. ({error})"
        )
        yield Error(f"The backend of {name} cannot be made.", hint=hint, id="chatsession.E011")
        return
    if check := getattr(backend, "check", None):
        yield from check(alias)
    if getattr(backend, "is_demo", False) and not settings.DEBUG:
        hint = "Set its BACKEND to a real model's."
        yield Warning(f"{name} is the demo, and DEBUG is off.", hint=hint, id="chatsession.W027")
    if is_open_purse(entry) and not settings.DEBUG:
        hint = 'Set CHATSESSION["RATE"] = {"guest": "20/m"}, or close CHATSESSION["PERMISSIONS"]["chat"].'
        text = f"Anybody may spend the API key of {name}, without a limit."
        yield Warning(text, hint=hint, id="chatsession.W028")


def is_open_purse(entry: Any) -> bool:
    """Whether guests use a model that costs somebody money, as often as they like."""
    has_key = bool(entry.get("OPTIONS", {}).get("api_key"))
    return has_key and conf.PERMISSIONS.get("chat") == "anyone" and "guest" not in conf.RATE


def is_entry(entry: Any) -> bool:
    if not isinstance(entry, Mapping) or "BACKEND" not in entry:
        return False
    return entry.keys() <= {"BACKEND", "OPTIONS", "CONTEXT_CHARS", "SINGLE_TURN"} and isinstance(
        entry.get("OPTIONS", {}), Mapping
    )


# The sessions


def check_sessions(**kwargs: Any) -> list[CheckMessage]:
    """Engine, middleware and serializer belong together."""
    try:
        store = configured_store()
    except ImportError as error:
        hint = 'Set it to "chatsession.stores.db" or "chatsession.stores.memory".'
        return [Error(f"SESSION_ENGINE cannot be imported: {error}", hint=hint, id="chatsession.E023")]
    found = [*wrong_order()]
    if store is None:
        return [*found, *foreign_engine()]
    found += [*unsigned(), *pickled(store(None).serializer)]
    if store.per_process and not settings.DEBUG:
        text = "Sessions are kept in the memory of one process, and DEBUG is off."
        hint = (
            "They are lost when it ends, and other processes do not know them. With more than one process "
            'use SESSION_ENGINE = "chatsession.stores.db".'
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
    if positions(SessionMiddleware):
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


# The deployment


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
