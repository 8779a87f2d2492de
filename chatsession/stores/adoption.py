"""Taking over, visit by visit, the sessions of Django's own engine (``ADOPT``)."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

from django.apps import apps
from django.contrib.sessions.backends.cache import SessionStore as CacheStore
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.db import router
from django.utils.crypto import salted_hmac

from chatsession.conf import conf
from chatsession.exceptions import ValueNotSerializable

logger = logging.getLogger("chatsession.sessions")

#: Seconds in which requests sent with the old cookie still find the session.
GRACE = 60
#: How often such a request looks for what another is just storing: 30 ms in all, on average.
TRIES = 6

_BARE_KEY = re.compile(r"[a-z0-9]{32}")


def is_old_key(value: str) -> bool:
    """Whether a cookie's value may be one of the adopted engine."""
    return conf.ADOPT is not None and _BARE_KEY.fullmatch(value) is not None


def engine(path: str) -> type[DatabaseStore | CacheStore]:
    """The store to adopt from; ``cached_db`` is a database's too.

    Raises ``TypeError`` for any other, and for a database's without ``django.contrib.sessions``.
    """
    store: type[DatabaseStore | CacheStore] = import_module(path).SessionStore
    if not issubclass(store, DatabaseStore | CacheStore):
        raise TypeError(f"Sessions of {path} cannot be adopted.")
    if issubclass(store, DatabaseStore) and not apps.is_installed("django.contrib.sessions"):
        raise TypeError(f"{path} needs django.contrib.sessions in INSTALLED_APPS.")
    return store


def new_key_of(old_key: str) -> str:
    """The new session key. All requests that race with one old cookie come to the same; who knows the old key
    alone does not come to it."""
    return salted_hmac("chatsession.adoption", old_key, algorithm="sha256").hexdigest()[:32]


def take(old_key: str) -> dict[str, Any] | None:
    """The values of the old session, which is deleted first; None if there is none, or another request has
    taken it."""
    old = engine(str(conf.ADOPT))(old_key)
    values = dict(old.load())
    return values if old.session_key and _remove(old) else None


def _remove(old: DatabaseStore | CacheStore) -> bool:
    if isinstance(old, CacheStore):
        cache: Any = old._cache  # type: ignore[attr-defined]
        return bool(cache.delete(old.cache_key))
    rows = old.model._default_manager.using(router.db_for_write(old.model))
    removed, _rows = rows.filter(session_key=old.session_key).delete()
    old.delete()  # from the cache too, if it has one
    return bool(removed)


def carried(values: dict[str, Any], encode: Callable[[str, Any], bytes]) -> dict[str, bytes]:
    """The values as they are stored here. What cannot be encoded goes to the log, by its key."""
    data = {}
    for key, value in values.items():
        try:
            data[str(key)] = encode(str(key), value)
        except ValueNotSerializable:
            logger.warning("The value of %r in an adopted session cannot be carried over.", key)
    return data
