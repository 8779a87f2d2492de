"""Every decision about a session after its ``loading``, once for sync and async (see ``steps``)."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib.sessions.backends.base import VALID_KEY_CHARS, CreateError, UpdateError
from django.utils import timezone
from django.utils.crypto import get_random_string

from chatsession import signals
from chatsession.conf import conf
from chatsession.exceptions import ResponseStarted
from chatsession.signing import hash_key
from chatsession.stores import attendance
from chatsession.stores.loading import Loading
from chatsession.stores.records import (
    EXPIRY_KEY,
    NOBODY,
    USER_KEY,
    Change,
    Record,
    SessionInfo,
    Stamp,
    check_size,
    seen,
    user_id_text,
)
from chatsession.stores.steps import Steps
from chatsession.stores.values import Values

#: A session in use is stamped at most this often, in seconds.
TOUCH_INTERVAL = 60


class Operations(Loading):
    """The steps of each operation. A store supplies their I/O:

    ``_fetch(key_hash) -> Record | None``
    ``_insert(key_hash, record) -> bool``: False if the hash is taken.
    ``_apply(key_hash, record, change, stamp) -> Record | None``: ``records.merge()`` onto the present record,
    atomically; ``record`` is the one last seen. None: there is none any more, or it refuses the change.
    ``_rename(old_hash, new_hash) -> bool``, ``_touch(key_hash, stamp) -> bool``, ``_remove(key_hash)``,
    ``_adopt(old_key, key_hash) -> (Record | None, rival)``: insert what ``adoption.take()`` gives.
    ``_expire(key_hash, now) -> bool``: remove the record if it has expired.
    ``_find(handle) -> (key_hash, Record) | None``, ``_valid_of(handles) -> iterable of SessionInfo``.
    ``_end(handle) -> SessionInfo | None``: remove the record of that handle.
    ``_excess(user_id, limit) -> list[handle]``: the user's sessions but for the ``limit`` newest logins.
    """

    # Writing

    def _saving(self, must_create: bool) -> Steps[None]:
        values = yield from self._opening(no_load=must_create)
        if must_create and self.session_key:
            yield from self._inserting(values, self.session_key)
        else:
            yield from self._writing(values, values.changes())

    def _creating(self) -> Steps[None]:
        yield from self._inserting((yield from self._opening(no_load=True)))

    def _inserting(self, values: Values, session_key: str | None = None) -> Steps[None]:
        """A new record of all values, under the given key or a new one."""
        if self._sealed:
            raise ResponseStarted
        change = Change(values.encoded())
        record = self._new_record(values, change)
        key = session_key or new_key()
        if not (yield "insert", hash_key(key), record):
            raise CreateError
        self._session_key = key
        values.rebase(record, change)
        self.modified = True
        yield "send", signals.session_created, {"session": self}
        yield from self._admitting(values)

    def _new_record(self, values: Values, change: Change) -> Record:
        check_size(change.put)
        stamp = self._stamp(values)
        return Record(
            handle=str(uuid.uuid4()),
            data=change.put,
            created_at=stamp.seen_at,
            last_seen_at=stamp.seen_at,
            expires_at=stamp.expires_at,
            user_id=stamp.user_id,
            client=stamp.client or NOBODY,
            login_at=stamp.login_at,
            guest=stamp.guest,
        )

    def _writing(self, values: Values, change: Change) -> Steps[None]:
        if values.record is None:  # new, or cleared before it was loaded
            values.record = yield from self._finding()
        if values.record is None:
            yield from self._inserting(values)
            return
        if change:
            yield from self._applying(values, change)
        elif not (yield from self._touching(values)) and self.modified:
            raise gone()
        yield from self._admitting(values)

    def _admitting(self, values: Values) -> Steps[None]:
        """After the write that stored a login. Racing logins agree which the newest are: none is spared
        and none too many ended."""
        logged_in, values.login = values.login, False
        user_id, limit = values.get(USER_KEY), conf.SESSIONS_PER_USER
        if logged_in and user_id is not None and limit:
            for handle in (yield "excess", user_id_text(user_id), limit):
                yield from self._revoking(handle)

    def _revoking(self, handle: str) -> Steps[bool]:
        removed: SessionInfo | None = yield "end", handle
        if removed:
            attendance.end(handle)
            yield "send", signals.session_revoked, {"handle": handle, "user_id": removed.user_id}
        return removed is not None

    def _applying(self, values: Values, change: Change) -> Steps[None]:
        record = yield "apply", self._hash, values.record, change, self._stamp_of(values, change)
        if record:
            values.rebase(record, change)
        elif change.put:
            raise gone()

    def _stamp_of(self, values: Values, change: Change) -> Stamp:
        """A write stamps no more often than a read, unless there is news: on SQL that is two more indexes."""
        stamp = self._stamp(values)
        known = values.record.client if values.record else NOBODY
        moves = (
            stamp.login_at is not None
            or stamp.client not in (None, known)
            or change.touches(EXPIRY_KEY)
            or settings.SESSION_SAVE_EVERY_REQUEST
            or self._touch_is_due(values, stamp.seen_at)
        )
        return replace(stamp, moves=moves)

    def _touching(self, values: Values) -> Steps[bool]:
        stamp = self._stamp(values)
        found: bool = yield "touch", self._hash, stamp
        if found and values.record:
            values.record = seen(values.record, stamp)
        return found

    def _mutating(self, key: str, fn: Callable[[Any], Any], default: Any) -> Steps[Any]:
        values = yield from self._opening()
        pending = values.changes()
        if self.session_key is None:
            values[key] = fn(values.get(key, default))
            self.modified = True
            return values[key]
        if pending.clear or key in pending.put or key in pending.drop:
            yield from self._writing(values, pending)
        attempt, record = 0, values.record
        while record:
            old = record.data.get(key)
            new = values.encode(key, fn(default if old is None else values.decode(old)))
            change = Change({key: new}, generation=record.generation, expect={key: old})
            if written := (yield "apply", self._hash, record, change, self._stamp_of(values, change)):
                values.forget(key)
                values.rebase(written, change)
                return values[key]
            yield "pause", attempt
            attempt, record = attempt + 1, (yield "fetch", self._hash)
        raise gone()

    # The key

    def _cycling(self) -> Steps[None]:
        if self._sealed:
            raise ResponseStarted
        values = yield from self._opening()
        old, new = self.session_key, new_key()
        if old is None:
            yield from self._inserting(values)
        elif (yield "rename", hash_key(old), hash_key(new)):
            self._session_key, self.modified = new, True
        else:
            # The record went away meanwhile. What it held must not come back: only own writes go on.
            yield from self._starting_over(values)
        if old and self.session_key:
            details = {"session": self, "old_hash": hash_key(old), "new_hash": self._hash}
            yield "send", signals.session_id_changed, details

    def _starting_over(self, values: Values) -> Steps[None]:
        own = {key: values[key] for key in values.written()}
        self._session_cache = self._values()
        self._session_cache.update(own)
        yield from self._inserting(self._session_cache)

    def _flushing(self) -> Steps[None]:
        record = yield from self._present()
        yield from self._deleting(self.session_key)
        if record:
            attendance.end(record.handle, but=self.cut)
        self._session_cache = self._values()
        self._session_key = None
        self.accessed = self.modified = True

    def _present(self) -> Steps[Record | None]:
        if hasattr(self, "_session_cache"):
            return self._session_cache.record
        return (yield "fetch", self._hash) if self.session_key else None

    def _deleting(self, session_key: str | None) -> Steps[None]:
        if session_key:
            yield "remove", hash_key(session_key)

    # The end of a response

    def _committing(self) -> Steps[bool]:
        values = yield from self._opening()
        if self.is_empty():
            return False
        change = values.changes()
        if change or self.modified or settings.SESSION_SAVE_EVERY_REQUEST:
            yield from self._writing(values, change)
            return self.session_key is not None
        if self._touch_is_due(values, timezone.now()):
            yield from self._touching(values)
        return False

    def _touch_is_due(self, values: Values, now: datetime) -> bool:
        if values.record is None:
            return False
        age = self.sliding_age() or self.get_session_cookie_age()
        return is_due(values.record.last_seen_at, now, age)

    def _stamping(self, key_hash: str, record: Record) -> Steps[None]:
        """Touch a record found by its handle."""
        yield "touch", key_hash, self._stamp(self._values(record))


def is_due(last_seen_at: datetime, now: datetime, age: float) -> bool:
    """Whether a session that lives for ``age`` seconds of disuse has to be stamped again."""
    return (now - last_seen_at).total_seconds() >= min(TOUCH_INTERVAL, age / 10)


def new_key() -> str:
    return get_random_string(32, VALID_KEY_CHARS)


def gone() -> UpdateError:
    return UpdateError("The session was deleted or cleared meanwhile; what this request wrote is lost.")
