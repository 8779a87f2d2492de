"""Which store this site has configured."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django.conf import settings

from chatsession.stores.base import BaseStore


def configured_store() -> type[BaseStore] | None:
    """The ``SessionStore`` of ``SESSION_ENGINE``, None if it is not one of ours.

    Raises what importing the engine raises.
    """
    store: Any = getattr(import_module(settings.SESSION_ENGINE), "SessionStore", None)
    return store if isinstance(store, type) and issubclass(store, BaseStore) else None
