"""Redis: one pooled client in a process, one async client in an event loop, and how keys are named.

Keys and values are bytes (``decode_responses`` is off). redis-py, the extra ``[redis]``, is imported when it
is first needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured

from chatsession.conf import conf

if TYPE_CHECKING:
    import redis
    import redis.asyncio

PREFIX = "chatsession"
#: Seconds until a server that does not answer is an error: to connect, and for each read and write.
CONNECT_TIMEOUT, TIMEOUT = 1, 2
#: Connections of each client; who finds none free waits for ``TIMEOUT``.
MAX_CONNECTIONS = 50
#: Bytes read in one go: a session with a long history comes whole, and need not be put together.
READ_SIZE = 131_072

_async_clients: dict[tuple[asyncio.AbstractEventLoop, str], redis.asyncio.Redis] = {}
# Nothing else refers to what is suspended in _closing().
_endings: dict[tuple[asyncio.AbstractEventLoop, str], AsyncGenerator[None]] = {}


def is_configured() -> bool:
    """Whether the site has a ``REDIS_URL``."""
    return conf.REDIS_URL is not None


def key(*parts: str) -> str:
    """The name of a key: ``chatsession:part:part``."""
    return ":".join((PREFIX, *parts))


def client() -> redis.Redis:
    """The process's client, for every thread, with a pool of connections; a forked child opens its own.

    A command that blocks has to come back before ``TIMEOUT``. Raises ``ImproperlyConfigured`` without a
    ``REDIS_URL``, ``ImportError`` without redis-py, ``ValueError`` if the URL is none of Redis.
    """
    return _client(_url())


def aclient() -> redis.asyncio.Redis:
    """The running loop's client, see client(). Its connections are closed when the loop ends."""
    place = asyncio.get_running_loop(), _url()
    if place not in _async_clients:
        _forget_closed_loops()
        _async_clients[place] = _aclient(place[1])
        _endings[place] = _closing(place)
        with suppress(StopIteration):  # run it to its yield, from where the loop knows it
            _endings[place].__anext__().send(None)
    return _async_clients[place]


def _url() -> str:
    if conf.REDIS_URL is None:
        raise ImproperlyConfigured('CHATSESSION["REDIS_URL"] is not set.')
    return conf.REDIS_URL


# No command is repeated by itself: a script whose answer was lost may have run. A connection that the server
# has closed meanwhile is found out and replaced before it is used.
def _options() -> dict[str, Any]:
    return {
        "max_connections": MAX_CONNECTIONS,
        "timeout": TIMEOUT,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "socket_timeout": TIMEOUT,
        "socket_keepalive": True,
        "socket_read_size": READ_SIZE,
        "protocol": 2,
    }


@cache
def _client(url: str) -> redis.Redis:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    retry = Retry(NoBackoff(), 0)
    return redis.Redis.from_pool(redis.BlockingConnectionPool.from_url(url, retry=retry, **_options()))


def _aclient(url: str) -> redis.asyncio.Redis:
    from redis.asyncio import BlockingConnectionPool, Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    retry = Retry(NoBackoff(), 0)
    return Redis.from_pool(BlockingConnectionPool.from_url(url, retry=retry, **_options()))


async def _closing(place: tuple[asyncio.AbstractEventLoop, str]) -> AsyncGenerator[None]:
    """Whoever ends a loop as it should calls ``shutdown_asyncgens()``, as ``asyncio.run()`` does."""
    try:
        yield
    finally:
        del _endings[place]
        await _async_clients.pop(place).aclose()


def _forget_closed_loops() -> None:
    """Of loops that were ended otherwise."""
    for place in [*_async_clients]:
        if place[0].is_closed():
            _async_clients.pop(place, None)
            _endings.pop(place, None)
