"""What the processes of a site tell each other by Redis, where the site has one.

Announcements go to one stream that every process reads: a run to stop, a session that has ended, a seat
that is free. A stream and not a channel, so that a connection that breaks loses none. What they say is in
the database too, and is found there later: none has to arrive.

One thread of a process listens and one speaks. Nobody else waits for Redis but who asks it something.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from weakref import WeakSet

from chatsession import redis

if TYPE_CHECKING:
    from redis import Redis

T = TypeVar("T")

logger = logging.getLogger("chatsession.redis")

#: Seconds until a Redis that was away is asked again, and for which the listener waits for news.
PATIENCE = 1.0
#: Seconds between two rounds of a thread: what gathers meanwhile goes together.
INTERVAL = 0.03
#: Announcements kept at the most, and the seconds after which they are forgotten.
KEPT, EXPIRY = 1000, 60


class Tail(Protocol):
    """Somebody who reads a stream from its begin, as it grows."""

    key: str

    def hear(self, news: bytes) -> None:
        """The field "news" of the next entry; of all of them again when Redis was away."""

    def look(self, *, away: bool) -> None:
        """Called every second at least. ``away``: nothing is to be heard."""


class Bus:
    """The part that this process takes."""

    def __init__(self) -> None:
        self._hearers: dict[str, Callable[[str], None]] = {}
        self._rounds: list[Callable[[], bool]] = []
        self.reset()

    def reset(self) -> None:
        """Begin anew: threads stay in the parent of a fork."""
        self._origin = uuid.uuid4().hex
        self._outbox: deque[tuple[str, str]] = deque(maxlen=KEPT)
        self._tails: WeakSet[Tail] = WeakSet()
        self._threads: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()
        self._bell = threading.Event()
        self.is_away = False
        self._is_refused = False
        self._ask_again = 0.0

    def on(self, kind: str, hearer: Callable[[str], None]) -> None:
        """Call ``hearer(value)``, which must not wait, for what another process announces as ``kind``."""
        self._hearers[kind] = hearer

    def each_round(self, work: Callable[[], bool]) -> None:
        """Have the speaker do ``work`` after each ``ring()``, and every second while it answers True."""
        self._rounds.append(work)

    def start(self) -> bool:
        """Take part. False if there is no Redis, or no thread can live."""
        if not redis.is_configured():
            return False
        with self._lock, suppress(RuntimeError):
            for name, target in (("listener", self._listen), ("speaker", self._speak)):
                if name not in self._threads or not self._threads[name].is_alive():
                    thread = threading.Thread(target=target, name=f"chatsession-{name}", daemon=True)
                    thread.start()
                    self._threads[name] = thread
        return len(self._threads) == 2

    def announce(self, kind: str, value: str = "") -> None:
        """Tell the other processes, without waiting; nothing while Redis is away."""
        if self.start():
            self._outbox.append((kind, value))
            self.ring()

    def ring(self) -> None:
        """Have the speaker go round now."""
        if not self._bell.is_set():
            self._bell.set()

    def follow(self, tail: Tail) -> None:
        """Read a stream for as long as somebody else refers to ``tail``, or until ``unfollow``.

        Announce something right after it: that is how the listener notices.
        """
        with self._lock:
            self._tails.add(tail)

    def unfollow(self, tail: Tail) -> None:
        """See ``follow()``."""
        with self._lock:
            self._tails.discard(tail)

    def ask(self, question: Callable[[Redis], T], *, only_reads: bool = False) -> T | None:
        """What Redis answers to ``question(client)``; None without Redis, or while it is away.

        It is away from an error to the next answer, and asked once a second. The log says so once. One that
        refuses what it is asked, as where it may not be written to, may still be read; an answer to who
        ``only_reads`` does not make it be back.
        """
        if not redis.is_configured():
            return None
        if self.is_away and not (only_reads and self._is_refused) and not self._may_try():
            return None
        from redis import RedisError, ResponseError

        try:
            answer = question(redis.client())
        except RedisError as error:
            if not self.is_away:
                logger.warning("Redis is away: %s", error)
            self._is_refused = isinstance(error, ResponseError)
            self.is_away, self._ask_again = True, time.monotonic() + PATIENCE
            return None
        if self.is_away and not (only_reads and self._is_refused):
            logger.warning("Redis is back")
            self.is_away = False
        return answer

    def _may_try(self) -> bool:
        with self._lock:
            if time.monotonic() < self._ask_again:
                return False
            self._ask_again = time.monotonic() + PATIENCE
            return True

    def _speak(self) -> None:
        busy = self._rounds
        while redis.is_configured():
            self._bell.wait(PATIENCE if busy else None)
            self._bell.clear()
            busy = [work for work in self._rounds if _safely(work)]
            self.deliver()
            time.sleep(INTERVAL)

    def deliver(self) -> None:
        """Send what is to be announced."""
        waiting = []
        with suppress(IndexError):
            while True:
                waiting.append(self._outbox.popleft())
        if waiting:
            self.ask(partial(self._send, waiting))

    def _send(self, announcements: list[tuple[str, str]], client: Redis) -> None:
        pipeline = client.pipeline(transaction=False)
        for kind, value in announcements:
            fields = {"kind": kind, "value": value, "origin": self._origin}
            pipeline.xadd(news_key(), fields, maxlen=KEPT)  # type: ignore[arg-type]
        pipeline.expire(news_key(), EXPIRY)
        pipeline.execute()

    def _listen(self) -> None:
        read: dict[str, bytes] = {}
        while redis.is_configured():
            with self._lock:
                tails = {tail.key: tail for tail in self._tails}
            read = {key: read.get(key, b"0") for key in (news_key(), *tails)}
            found = self.ask(partial(_news, read), only_reads=True)
            for name, entries in found or ():
                key = name.decode()
                read[key] = entries[-1][0]
                for _id, fields in entries:
                    _safely(self._hear, tails.get(key), fields)
            for tail in tails.values():
                _safely(partial(tail.look, away=found is None))
            if found is None:
                read.clear()  # a Redis that has lost everything may count from anywhere
                time.sleep(PATIENCE)
            elif found:
                time.sleep(INTERVAL)

    def _hear(self, tail: Tail | None, fields: dict[bytes, bytes]) -> None:
        if tail:
            tail.hear(fields[b"news"])
        elif fields[b"origin"].decode() != self._origin:
            # A kind may be unknown: not every process has all of the site, or the same version.
            hearer = self._hearers.get(fields[b"kind"].decode(), _ignore)
            hearer(fields[b"value"].decode())


def news_key() -> str:
    """The stream of announcements."""
    return redis.key("news")


def _news(
    read: dict[str, bytes], client: Redis
) -> list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]:
    """What streams have behind the IDs that are read: (key, [(ID, fields)]). Waits for it a while."""
    streams: dict[Any, Any] = dict(read)
    return client.xread(streams, block=int(PATIENCE * 1000))  # type: ignore[return-value]


def _ignore(_value: str) -> None:
    pass


def _safely(function: Callable[..., T], *args: Any) -> T | None:
    # One that fails must not take the thread, and so all the others, along.
    try:
        return function(*args)
    except Exception:
        logger.exception("The bus goes on")
        return None


bus = Bus()
atexit.register(bus.deliver)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=bus.reset)
