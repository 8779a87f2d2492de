"""``CHATSESSION`` itself: its keys and their values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.utils.module_loading import import_string

from chatsession.conf import DEFAULT_PERMISSIONS, DEFAULT_RETENTION, Settings
from chatsession.stores import adoption

KEYS = [name for name in vars(Settings) if name.isupper()]
PERMISSION = re.compile(r"anyone|authenticated|staff|\w+\.\w+")
HEADER = re.compile(r"[A-Za-z0-9-]+")
DATABASE_NUMBER = re.compile(r"/?[0-9]*")
RATE = re.compile(r"[1-9][0-9]*/[smhd]")


def given() -> Any:
    return getattr(settings, "CHATSESSION", {})


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
    """Such as ``{"deleted_users": "erase", "days": 90}``."""
    return (
        isinstance(value, Mapping)
        and value.keys() <= DEFAULT_RETENTION.keys()
        and value.get("deleted_users", "erase") in ("erase", "anonymise")
        and (value.get("days") is None or is_number(value["days"]))
    )


def is_redis_url(value: Any) -> bool:
    """What redis-py would take; it need not be installed."""
    if not isinstance(value, str) or "://" not in value:
        return value is None
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - raises for what is no port
    except ValueError:
        return False
    if parts.scheme == "unix":
        return bool(parts.path)
    return parts.scheme in ("redis", "rediss") and DATABASE_NUMBER.fullmatch(parts.path) is not None


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
    "RETENTION": (is_retention, 'a dictionary: {"deleted_users": "erase", "days": 90}; or "anonymise", None'),
    "MAX_SESSION_BYTES": NUMBER,
    "MAX_SESSIONS": NUMBER,
    "SKIP_HEADERS": (is_headers, 'a dictionary: header\'s name -> the value it must have, or "*"'),
    "SESSIONS_PER_USER": (lambda value: value is None or is_number(value), "a whole number above 0, or None"),
    "ABSOLUTE_AGE": (lambda value: value is None or is_number(value), "a number of seconds above 0, or None"),
    "ADOPT": (is_adoptable, f"None or {ADOPTABLE}"),
    "REDIS_URL": (is_redis_url, 'None or a URL as "redis://localhost:6379/0", "rediss://…" or "unix://…"'),
    "CLIENT_IP": FUNCTION,
}


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
