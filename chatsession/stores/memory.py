"""Sessions in the memory of one process: for development, tests and single-process sites."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import ClassVar, TypeVar

from django.utils import timezone

from chatsession.conf import conf
from chatsession.stores.base import BaseStore, SessionInfo, Sessions
from chatsession.stores.records import Change, Record, Stamp, has_expired, matches, merge, seen
from chatsession.stores.steps import Steps

T = TypeVar("T")

#: Records looked at for expiry with each new one.
SWEEP = 10


class SessionStore(BaseStore):
    """Records are immutable and hold encoded bytes: nothing of a request is shared with another."""

    per_process = True

    #: By key hash, the least recently used first.
    _records: ClassVar[OrderedDict[str, Record]] = OrderedDict()
    #: Key hashes by handle.
    _hashes: ClassVar[dict[str, str]] = {}
    #: Key hashes in the order in which the sweep visits them.
    _sweep: ClassVar[deque[str]] = deque()
    _lock: ClassVar[threading.Lock] = threading.Lock()

    async def _arun(self, steps: Steps[T]) -> T:
        return await self._adrive(steps)

    def _fetch(self, key_hash: str) -> Record | None:
        with self._lock:
            return self._use(key_hash)

    @classmethod
    def _use(cls, key_hash: str) -> Record | None:
        record = cls._records.get(key_hash)
        if record:
            cls._records.move_to_end(key_hash)
        return record

    def _insert(self, key_hash: str, record: Record) -> bool:
        with self._lock:
            if key_hash in self._records:
                return False
            self._make_room(timezone.now())
            self._put(key_hash, record)
        return True

    @classmethod
    def _put(cls, key_hash: str, record: Record) -> None:
        cls._records[key_hash] = record
        cls._hashes[record.handle] = key_hash
        cls._sweep.append(key_hash)

    @classmethod
    def _drop(cls, key_hash: str) -> Record | None:
        record = cls._records.pop(key_hash, None)
        if record:
            del cls._hashes[record.handle]
        return record

    @classmethod
    def _make_room(cls, now: datetime) -> None:
        for key_hash in [cls._sweep.popleft() for _ in range(min(SWEEP, len(cls._sweep)))]:
            record = cls._records.get(key_hash)
            if record and has_expired(record, now):
                cls._drop(key_hash)
            elif record:
                cls._sweep.append(key_hash)
        while len(cls._records) >= max(conf.MAX_SESSIONS, 1):
            cls._drop(next(iter(cls._records)))

    def _apply(self, key_hash: str, record: Record, change: Change, stamp: Stamp) -> Record | None:
        with self._lock:
            present = self._use(key_hash)
            merged = merge(present, change, stamp) if present else None
            if merged:
                self._records[key_hash] = merged
            return merged

    def _rename(self, old_hash: str, new_hash: str) -> bool:
        with self._lock:
            record = self._drop(old_hash)
            if record:
                self._put(new_hash, record)
            return record is not None

    def _touch(self, key_hash: str, stamp: Stamp) -> bool:
        with self._lock:
            record = self._use(key_hash)
            if record:
                self._records[key_hash] = seen(record, stamp)
            return record is not None

    def _remove(self, key_hash: str) -> None:
        with self._lock:
            self._drop(key_hash)

    def _expire(self, key_hash: str, now: datetime) -> bool:
        with self._lock:
            expired = key_hash in self._records and has_expired(self._records[key_hash], now)
            if expired:
                self._drop(key_hash)
            return expired

    @classmethod
    def clear_expired(cls) -> None:
        now = timezone.now()
        with cls._lock:
            for key_hash in [key for key, record in cls._records.items() if has_expired(record, now)]:
                cls._drop(key_hash)

    @classmethod
    async def aclear_expired(cls) -> None:
        cls.clear_expired()

    @classmethod
    def reset(cls) -> None:
        """Forget every session: for tests."""
        with cls._lock:
            cls._records.clear()
            cls._hashes.clear()
            cls._sweep.clear()

    # Screens and commands

    @classmethod
    def _valid(cls) -> Iterator[Record]:
        now = timezone.now()
        with cls._lock:
            records = list(cls._records.values())
        return (record for record in records if not has_expired(record, now))

    @classmethod
    def guests_among(cls, guests: Collection[str]) -> set[str]:
        held = {record.guest for record in cls._valid()}
        return {guest for guest in guests if guest in held}

    @classmethod
    def _excess(cls, user_id: str, limit: int) -> Sequence[str]:
        found = [record for record in cls._valid() if record.user_id == user_id]
        found.sort(key=lambda record: (record.begun_at.timestamp(), record.handle), reverse=True)
        return [record.handle for record in found[limit:]]

    @classmethod
    def _matching(cls, user_id: str | None, search: str) -> Sessions:
        valid = (record.info() for record in cls._valid() if user_id in (None, record.user_id))
        found = [info for info in valid if matches(info, search)]
        return sorted(found, key=lambda info: info.last_seen_at.timestamp(), reverse=True)

    @classmethod
    def count(cls, *, user_id: str | None = None, search: str = "") -> int:
        return len(cls._matching(user_id, search))

    @classmethod
    def info(cls, handle: str) -> SessionInfo | None:
        return next(cls._valid_of([handle]), None)

    @classmethod
    def _valid_of(cls, handles: Collection[str]) -> Iterator[SessionInfo]:
        now, found = timezone.now(), map(cls._find, handles)
        return (entry[1].info() for entry in found if entry and not has_expired(entry[1], now))

    @classmethod
    def _find(cls, handle: str) -> tuple[str, Record] | None:
        with cls._lock:
            key_hash = cls._hashes.get(handle)
            return (key_hash, cls._records[key_hash]) if key_hash else None

    @classmethod
    def _end(cls, handle: str) -> SessionInfo | None:
        with cls._lock:
            record = cls._drop(cls._hashes.get(handle, ""))
        return record.info() if record else None

    @classmethod
    def list(
        cls, *, user_id: str | None = None, search: str = "", offset: int = 0, limit: int = 100
    ) -> Sessions:
        return cls._matching(user_id, search)[offset : offset + limit]
