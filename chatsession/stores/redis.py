"""Sessions in Redis, ``CHATSESSION["REDIS_URL"]``: a hash each, and one script that does all the writing.

Python decides what is asked for, the script what ``records.merge()`` decides, on the hash as it is then: only
the keys that were changed travel, and no write of anybody is lost.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import redis
from django.utils import timezone

from chatsession.conf import conf
from chatsession.exceptions import SessionTooLarge, StoreAway
from chatsession.redis import aclient, client, key
from chatsession.stores import redis_wire as wire
from chatsession.stores.base import BaseStore, SessionInfo, Sessions
from chatsession.stores.records import Change, Record, Stamp, has_expired, matches, merge
from chatsession.stores.steps import Steps

T = TypeVar("T")

#: How long an expired session is still there to say so, in seconds. Clocks may differ by as much.
GRACE = 3600
#: Sessions the script looks at in one go.
BATCH = 500

SCRIPT = (
    Path(__file__)
    .with_suffix(".lua")
    .read_text(encoding="utf-8")
    .replace("{prefix}", key(""))
    .replace("{grace_ms}", str(GRACE * 1000))
)
SHA = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()


@contextmanager
def reaching() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        raise StoreAway(f"Redis cannot be used: {error}") from error


def do(operation: str, *words: bytes | str | int) -> Any:
    """Run the script. Raises ``StoreAway``."""
    with reaching():
        try:
            return client().evalsha(SHA, 0, operation, *words)
        except redis.exceptions.NoScriptError:
            return client().eval(SCRIPT, 0, operation, *words)


async def ado(operation: str, *words: bytes | str | int) -> Any:
    """See do()."""
    with reaching():
        try:
            return await aclient().evalsha(SHA, 0, operation, *words)
        except redis.exceptions.NoScriptError:
            return await aclient().eval(SCRIPT, 0, operation, *words)


def records(operation: str, asked: Collection[str]) -> Iterator[Record]:
    """What the script finds by these handles, or guests."""
    words = [*map(wire.to_bytes, asked)]
    for start in range(0, len(words), BATCH):
        batch = words[start : start + BATCH]
        yield from map(wire.from_facts, do(operation, len(batch), *batch))


class SessionStore(BaseStore):
    """The I/O, sync and async; what is sent and what comes back is in ``redis_wire``."""

    @contextmanager
    def _noticing(self) -> Iterator[None]:
        try:
            yield
        except StoreAway:
            self.is_away = True
            raise

    def _run(self, steps: Steps[T]) -> T:
        with self._noticing():
            return super()._run(steps)

    async def _arun(self, steps: Steps[T]) -> T:
        with self._noticing():
            return await self._adrive(steps)

    def _fetch(self, key_hash: str) -> Record | None:
        with reaching():
            return record_of(client().hgetall(key("session", key_hash)))

    async def _afetch(self, key_hash: str) -> Record | None:
        with reaching():
            return record_of(await aclient().hgetall(key("session", key_hash)))

    def _insert(self, key_hash: str, record: Record) -> bool:
        return bool(do("insert", key_hash, *wire.to_insert(record)))

    async def _ainsert(self, key_hash: str, record: Record) -> bool:
        return bool(await ado("insert", key_hash, *wire.to_insert(record)))

    def _apply(self, key_hash: str, record: Record, change: Change, stamp: Stamp) -> Record | None:
        answer = do("apply", key_hash, *wire.to_apply(record, change, stamp))
        return applied(answer, record, change, stamp)

    async def _aapply(self, key_hash: str, record: Record, change: Change, stamp: Stamp) -> Record | None:
        answer = await ado("apply", key_hash, *wire.to_apply(record, change, stamp))
        return applied(answer, record, change, stamp)

    def _rename(self, old_hash: str, new_hash: str) -> bool:
        return bool(do("rename", old_hash, new_hash))

    async def _arename(self, old_hash: str, new_hash: str) -> bool:
        return bool(await ado("rename", old_hash, new_hash))

    def _touch(self, key_hash: str, stamp: Stamp) -> bool:
        return bool(do("touch", key_hash, *wire.to_touch(stamp)))

    async def _atouch(self, key_hash: str, stamp: Stamp) -> bool:
        return bool(await ado("touch", key_hash, *wire.to_touch(stamp)))

    def _remove(self, key_hash: str) -> None:
        do("remove", key_hash)

    async def _aremove(self, key_hash: str) -> None:
        await ado("remove", key_hash)

    def _expire(self, key_hash: str, now: datetime) -> bool:
        return bool(do("expire", key_hash, *end_of(now)))

    async def _aexpire(self, key_hash: str, now: datetime) -> bool:
        return bool(await ado("expire", key_hash, *end_of(now)))

    def _adopt(self, old_key: str, key_hash: str) -> tuple[Record | None, bool]:
        with reaching():
            client().ping()  # the old session is deleted first, and would be lost
        return super()._adopt(old_key, key_hash)

    def _end(self, handle: str) -> SessionInfo | None:
        return ended(do("end", wire.to_bytes(handle)))

    async def _aend(self, handle: str) -> SessionInfo | None:
        return ended(await ado("end", wire.to_bytes(handle)))

    def _excess(self, user_id: str, limit: int) -> Sequence[str]:
        return texts(do("excess", wire.to_bytes(user_id), limit, *end_of(timezone.now())))

    async def _aexcess(self, user_id: str, limit: int) -> Sequence[str]:
        return texts(await ado("excess", wire.to_bytes(user_id), limit, *end_of(timezone.now())))

    # Screens and commands

    @classmethod
    def _valid(cls, user_id: str | None) -> Iterator[Record]:
        """The last seen first; those of a user the last login first."""
        now, start, scanned = timezone.now(), 0, BATCH
        while scanned == BATCH:
            words = (int(user_id is not None), wire.to_bytes(user_id), start, start + BATCH - 1)
            scanned, rows = do("page", *words)
            start += len(rows)
            yield from (record for record in map(wire.from_facts, rows) if not has_expired(record, now))

    @classmethod
    def list(
        cls, *, user_id: str | None = None, search: str = "", offset: int = 0, limit: int = 100
    ) -> Sessions:
        infos = (record.info() for record in cls._valid(user_id))
        found = (info for info in infos if matches(info, search))
        if user_id is None:
            return [*islice(found, offset, offset + limit)]
        return sorted(found, key=lambda info: info.last_seen_at, reverse=True)[offset : offset + limit]

    @classmethod
    def count(cls, *, user_id: str | None = None, search: str = "") -> int:
        if user_id is None and not search:
            with reaching():
                return client().zcount(key("expires"), f"({wire.to_number(timezone.now())}", "+inf")
        return len(cls.list(user_id=user_id, search=search, limit=sys.maxsize))

    @classmethod
    def info(cls, handle: str) -> SessionInfo | None:
        return next(cls._valid_of([handle]), None)

    @classmethod
    def _valid_of(cls, handles: Collection[str]) -> Iterator[SessionInfo]:
        now = timezone.now()
        return (record.info() for record in records("by_handle", handles) if not has_expired(record, now))

    @classmethod
    def guests_among(cls, guests: Collection[str]) -> set[str]:
        now, found = timezone.now(), records("by_guest", guests)
        return {record.guest for record in found if record.guest and not has_expired(record, now)}

    @classmethod
    def _find(cls, handle: str) -> tuple[str, Record] | None:
        with reaching():
            found: Any = client().get(key("handle", handle))
        record = cls()._fetch(wire.to_text(found)) if found else None
        return (wire.to_text(found), record) if record else None

    @classmethod
    def clear_expired(cls) -> None:
        now = wire.to_number(timezone.now())
        while do("clear", now, BATCH):
            pass


def end_of(now: datetime) -> tuple[int, int]:
    """The moment itself, and when a session that has expired by its ``ABSOLUTE_AGE`` began at the latest."""
    if conf.ABSOLUTE_AGE is None:
        return wire.to_number(now), 0
    return wire.to_number(now), wire.to_number(now - timedelta(seconds=conf.ABSOLUTE_AGE))


def record_of(fields: Any) -> Record | None:
    return wire.to_record(fields) if fields else None


def texts(words: Any) -> Sequence[str]:
    return [*map(wire.to_text, words)]


def applied(answer: Any, record: Record, change: Change, stamp: Stamp) -> Record | None:
    if answer is None:
        return None
    if isinstance(answer, int):
        raise SessionTooLarge(answer, conf.MAX_SESSION_BYTES)
    if not answer:
        return merge(record, change, stamp)
    return wire.to_record(dict(zip(answer[::2], answer[1::2], strict=True)))


def ended(facts: Any) -> SessionInfo | None:
    return wire.from_facts(facts).info() if facts else None
