"""The Redis that the configured store needs. Whether it answers is not asked: checks work without servers."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from django.conf import settings
from django.core.checks import CheckMessage, Error

from chatsession import redis

STORE = "chatsession.stores.redis"


def lacks_of_redis() -> Iterator[CheckMessage]:
    if settings.SESSION_ENGINE != STORE:
        return
    if not find_spec("redis"):
        text = "SESSION_ENGINE is chatsession.stores.redis and the package redis is not installed."
        yield Error(text, hint='pip install "django-chatsession[redis]"', id="chatsession.E032")
    if not redis.is_configured():
        text = "SESSION_ENGINE is chatsession.stores.redis and CHATSESSION has no REDIS_URL."
        hint = 'Set CHATSESSION["REDIS_URL"] = "redis://localhost:6379/0".'
        yield Error(text, hint=hint, id="chatsession.E033")
