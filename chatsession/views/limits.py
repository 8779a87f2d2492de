"""Limits on what one visitor may ask: sends in a while (with Redis of the whole site), streams at once."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter, OrderedDict, deque
from contextlib import contextmanager
from functools import partial
from math import ceil
from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy as _

from chatsession import redis
from chatsession.bus import bus
from chatsession.conf import conf
from chatsession.exceptions import TooManyRequests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.http import HttpRequest
    from redis import Redis

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
#: Visitors remembered at the most; the one not seen longest is forgotten first.
MAX_VISITORS = 10_000

#: KEYS: the times of a visitor's sends, in microseconds of Redis's clock. ARGV: most sends, in how many
#: seconds. Counts one, or answers after how many microseconds there is room for it.
_COUNT = """
local time = redis.call('TIME')
local now, window = time[1] * 1000000 + time[2], ARGV[2] * 1000000
local oldest = tonumber(redis.call('LINDEX', KEYS[1], 0))
while oldest and oldest <= now - window do
    redis.call('LPOP', KEYS[1])
    oldest = tonumber(redis.call('LINDEX', KEYS[1], 0))
end
if redis.call('LLEN', KEYS[1]) >= tonumber(ARGV[1]) then return oldest + window - now end
redis.call('RPUSH', KEYS[1], string.format('%.0f', now))
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 0
"""

# Reentrant: a collected OpenStream closes itself wherever its thread is.
_lock = threading.RLock()
_sends: OrderedDict[str, deque[float]] = OrderedDict()
_streams: Counter[str] = Counter()


def parse_rate(rate: str) -> tuple[int, int]:
    """``"20/m"`` as (20, 60 seconds). Raises ``ValueError``."""
    count, _slash, unit = rate.partition("/")
    if unit not in SECONDS or int(count) < 1:
        raise ValueError(rate)
    return int(count), SECONDS[unit]


def count_send(request: HttpRequest, owner: str, user_id: str | None) -> None:
    """Count one send of a user, or of a guest's IP address. Raises ``TooManyRequests`` over ``RATE``."""
    kind, visitor = ("guest", f"ip:{client_ip(request)}") if user_id is None else ("user", owner)
    rate = conf.RATE.get(kind)
    if rate is not None:
        _count(visitor, *parse_rate(rate))


def client_ip(request: HttpRequest) -> str:
    """The visitor's address, by ``CLIENT_IP`` where a site stands behind a proxy."""
    found = conf.CLIENT_IP(request) if conf.CLIENT_IP else request.META.get("REMOTE_ADDR")
    return found or ""


def _count(visitor: str, limit: int, seconds: int) -> None:
    wait = bus.ask(partial(_count_in_site, visitor, limit, seconds))
    if wait is None:
        wait = _count_in_process(visitor, limit, seconds)
    if wait:
        raise TooManyRequests(retry_after=ceil(wait))


def _count_in_site(visitor: str, limit: int, seconds: int, client: Redis) -> float:
    """Count a send; seconds to wait first if there were too many. By Redis."""
    name = hashlib.sha256(visitor.encode()).hexdigest()
    microseconds = client.register_script(_COUNT)([redis.key("rate", name)], [limit, seconds])
    return int(microseconds) / 1_000_000


def _count_in_process(visitor: str, limit: int, seconds: int) -> float:
    """See ``_count_in_site()``; by the memory of this process."""
    now = time.monotonic()
    with _lock:
        sends = _sends.setdefault(visitor, deque())
        _sends.move_to_end(visitor)
        while sends and sends[0] <= now - seconds:
            sends.popleft()
        if len(sends) >= limit:
            return sends[0] + seconds - now
        sends.append(now)
        if len(_sends) > MAX_VISITORS:
            _sends.popitem(last=False)
    return 0.0


class OpenStream:
    """One stream of an owner, from before its turn is stored until its body is closed.

    Raises ``TooManyRequests`` over ``MAX_STREAMS_PER_OWNER``.
    """

    def __init__(self, owner: str) -> None:
        self._owners: list[str] = []
        with _lock:
            if _streams[owner] >= conf.MAX_STREAMS_PER_OWNER:
                message = _("You are reading too many answers at once. Please close some of them.")
                raise TooManyRequests(message, code="too_many_streams", retry_after=5)
            _streams[owner] += 1
            self._owners.append(owner)

    def __del__(self) -> None:
        # Django drops a response whose client has left, or whose middleware raised, without closing it.
        self.close()

    def close(self) -> None:
        """Give the place back, once."""
        with _lock:
            if self._owners:
                owner = self._owners.pop()
                _streams[owner] -= 1
                if not _streams[owner]:
                    del _streams[owner]


@contextmanager
def open_stream(owner: str) -> Iterator[OpenStream]:
    """A place that the response made inside takes along; given back if there is none."""
    place = OpenStream(owner)
    try:
        yield place
    except BaseException:
        place.close()
        raise
