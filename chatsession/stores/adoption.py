"""Taking over, visit by visit, the sessions of Django's own engine (``ADOPT``)."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

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
#: How often such a request looks for what another is storing: 30 ms in all, some 5 s if it is known to.
TRIES, TRIES_WITH_RIVAL = 6, 160

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


class Taken(NamedTuple):
    """The ``values`` of the old session; None if there is none, or a ``rival`` has taken it."""

    values: dict[str, Any] | None
    rival: bool = False


def take(old_key: str) -> Taken:
    """The old session, which is deleted: one request gets it."""
    old = engine(str(conf.ADOPT))(old_key)
    values = dict(old.load())
    take_from = _take_from_cache if isinstance(old, CacheStore) else _take_from_database
    return take_from(old, old_key, values if old.session_key else None)


def _take_from_cache(old: Any, old_key: str, values: dict[str, Any] | None) -> Taken:
    # A mark decides, and tells those who come when the old session is gone and the new not there yet.
    mark = f"{old.cache_key_prefix}{old_key}.adopted"
    if values is None:
        return Taken(None, rival=old._cache.get(mark) is not None)
    if not old._cache.add(mark, 1, GRACE):
        return Taken(None, rival=True)
    old.delete()
    return Taken(values)


def _take_from_database(old: Any, old_key: str, values: dict[str, Any] | None) -> Taken:
    if values is None:
        return Taken(None)
    rows = old.model._default_manager.using(router.db_for_write(old.model))
    removed, _rows = rows.filter(session_key=old_key).delete()
    if not removed:
        return Taken(None, rival=True)
    old.delete()  # from the cache too, if it has one
    return Taken(values)


def carried(values: dict[str, Any], encode: Callable[[str, Any], bytes]) -> dict[str, bytes]:
    """The values as they are stored here. What cannot be encoded goes to the log, by its key."""
    data = {}
    for key, value in values.items():
        try:
            data[str(key)] = encode(str(key), value)
        except ValueNotSerializable:
            logger.warning("The value of %r in an adopted session cannot be carried over.", key)
    return data
