from __future__ import annotations

import os

import pytest
from django.utils import translation

from chatsession import conf
from chatsession.stores import memory
from tests import redis_server


@pytest.fixture(autouse=True)
def no_language():
    """LocaleMiddleware leaves the last visitor's language behind in the thread."""
    translation.deactivate()


@pytest.fixture(autouse=True)
def empty_stores(monkeypatch):
    memory.SessionStore.reset()
    if os.environ.get("TEST_STORE") == "redis":
        redis_server.clean(redis_server.needed())
        # For the tests that set CHATSESSION anew.
        monkeypatch.setattr(conf, "DEFAULT_REDIS_URL", redis_server.needed())
