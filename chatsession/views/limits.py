"""Limits on what one visitor may ask of a process: sends in a while, streams at once."""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict, deque
from contextlib import contextmanager
from math import ceil
from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy as _

from chatsession.conf import conf
from chatsession.exceptions import TooManyRequests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.http import HttpRequest

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
#: Visitors remembered at the most; the one not seen longest is forgotten first.
MAX_VISITORS = 10_000

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
    now = time.monotonic()
    with _lock:
        sends = _sends.setdefault(visitor, deque())
        _sends.move_to_end(visitor)
        while sends and sends[0] <= now - seconds:
            sends.popleft()
        if len(sends) >= limit:
            raise TooManyRequests(retry_after=ceil(sends[0] + seconds - now))
        sends.append(now)
        if len(_sends) > MAX_VISITORS:
            _sends.popitem(last=False)


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
