"""What a site that names Redis lacks for it. Whether it answers is not asked: checks work without servers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec

from django.conf import settings
from django.core.checks import CheckMessage, Error

from chatsession import redis
from chatsession.checks.settings import given

STORE = "chatsession.stores.redis"


def lacks_of_redis() -> Iterator[CheckMessage]:
    if not isinstance(given(), Mapping):
        return
    is_store = settings.SESSION_ENGINE == STORE
    if (is_store or redis.is_configured()) and not find_spec("redis"):
        text = "The site is to use Redis and the package redis is not installed."
        yield Error(text, hint='pip install "django-chatsession[redis]"', id="chatsession.E032")
    if is_store and not redis.is_configured():
        text = "SESSION_ENGINE is chatsession.stores.redis and CHATSESSION has no REDIS_URL."
        hint = 'Set CHATSESSION["REDIS_URL"] = "redis://localhost:6379/0".'
        yield Error(text, hint=hint, id="chatsession.E033")
