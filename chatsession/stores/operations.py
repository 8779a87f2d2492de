"""Every decision about a session, once for sync and async (see ``steps``)."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.conf import settings
from django.contrib.sessions.backends.base import VALID_KEY_CHARS, CreateError, SessionBase, UpdateError
from django.utils import timezone
from django.utils.crypto import get_random_string

from chatsession import signals
from chatsession.conf import conf
from chatsession.exceptions import ResponseStarted
from chatsession.signing import Signature, hash_key
from chatsession.stores import adoption, attendance
from chatsession.stores.records import (
    EXPIRY_KEY,
    GUEST_KEY,
    NOBODY,
    USER_KEY,
    Change,
    Client,
    Record,
    SessionInfo,
    Stamp,
    check_size,
    has_expired,
    last_moment,
    seen,
    user_id_text,
)
from chatsession.stores.steps import Driver, Steps
from chatsession.stores.values import Values

#: A session in use is stamped at most this often, in seconds.
TOUCH_INTERVAL = 60


class Cause(StrEnum):
    """Why the session is the one it is. The values are those of FastSession's ``__cause__``."""

    NEW = "new"
    SUCCESS = "success"
    UNKNOWN_ID = "valid_cookie_but_no_store"
    BAD_SIGNATURE = "renew after InvalidSignature"
    EXPIRED = "renew after SignatureExpired"


class Operations(Driver, SessionBase):
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

    #: Who is seen using this session; set by the middleware.
    client: Client | None = None
    #: The signature of the token it was made from, if it was.
    signature: Signature | None = None
    #: The bare key of another engine's session that may be adopted instead.
    old_key: str | None = None
    #: Ends the stream that this session's response is, if it is one.
    cut: attendance.Cut | None = None
    #: Whether the store could not be reached.
    is_away = False
    #: Whether the last operation was part of a database transaction of the site.
    in_transaction = False

    _session_cache: Values
    _cause = Cause.NEW
    _sealed = False

    def _values(self, record: Record | None = None, *, cleared: bool = False) -> Values:
        return Values(self.serializer, record, cleared=cleared)

    @property
    def _hash(self) -> str:
        return hash_key(str(self.session_key))

    # Reading

    def _opening(self, no_load: bool = False) -> Steps[Values]:
        self.accessed = True
        if not hasattr(self, "_session_cache"):
            self._session_cache = self._values() if no_load else (yield from self._loading())
            if self._session_cache.record:
                yield "send", signals.session_loaded, {"session": self}
        return self._session_cache

    def _loading(self) -> Steps[Values]:
        return self._values((yield from self._finding()))

    def _finding(self) -> Steps[Record | None]:
        record = (yield from self._looking_up()) if self.session_key else None
        old_key, self.old_key = self.old_key, None
        if record is None and old_key and not self._sealed:
            record = yield from self._adopting(old_key)
        return record

    def _looking_up(self) -> Steps[Record | None]:
        now, key_hash = timezone.now(), self._hash
        record: Record | None = yield "fetch", key_hash
        if record and not has_expired(record, now):
            self._cause = Cause.SUCCESS
            return record
        self._session_key = None
        self._cause = Cause.EXPIRED if record or self._outlived() else Cause.UNKNOWN_ID
        if record and (yield "expire", key_hash, now):
            attendance.end(record.handle)
            yield "send", signals.session_expired, {"session": self}
        return None

    def _adopting(self, old_key: str) -> Steps[Record | None]:
        key = adoption.new_key_of(old_key)
        record: Record | None
        record, rival = yield "adopt", old_key, hash_key(key)
        if record:
            yield "send", signals.session_created, {"session": self}
        else:
            record = yield from self._adopted(hash_key(key), rival)
        self._cause = Cause.SUCCESS if record else Cause.UNKNOWN_ID
        self._session_key = key if record else None
        return record

    def _carrying(self, taken: dict[str, Any]) -> Record:
        data = adoption.carried(taken, self._values().encode)
        now = timezone.now()
        draft = Record(str(uuid.uuid4()), data, created_at=now, last_seen_at=now, expires_at=now)
        stamp = self._stamp(self._values(draft))
        return replace(seen(draft, stamp), user_id=stamp.user_id, guest=stamp.guest)

    def _adopted(self, key_hash: str, rival: bool) -> Steps[Record | None]:
        """What another request has just adopted: for a while, and only until somebody logs in."""
        for attempt in range(adoption.TRIES_WITH_RIVAL if rival else adoption.TRIES):
            record: Record | None = yield "fetch", key_hash
            if record:
                age = (timezone.now() - record.created_at).total_seconds()
                return record if age < adoption.GRACE and not record.login_at else None
            yield "pause", attempt
        return None

    def _outlived(self) -> bool:
        """Whether the signature is older than its cookie was meant to live."""
        return self.signature is not None and self.signature.age > self.get_session_cookie_age()

    def sliding_age(self) -> float | None:
        """Seconds of disuse after which a loaded session ends; None for one with a fixed end."""
        expiry = self._session_cache.get(EXPIRY_KEY)
        if isinstance(expiry, int):
            return expiry if expiry > 0 else self.get_session_cookie_age()
        return self.get_session_cookie_age() if expiry is None else None

    def _existing(self, session_key: str | None) -> Steps[bool]:
        return bool(session_key) and (yield "fetch", hash_key(str(session_key))) is not None

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
        record = yield "apply", self._hash, values.record, change, self._stamp(values)
        if record:
            values.rebase(record, change)
        elif change.put:
            raise gone()

    def _touching(self, values: Values) -> Steps[bool]:
        stamp = self._stamp(values)
        found: bool = yield "touch", self._hash, stamp
        if found and values.record:
            values.record = seen(values.record, stamp)
        return found

    def _stamp(self, values: Values) -> Stamp:
        now, expiry, user_id = timezone.now(), values.get(EXPIRY_KEY), values.get(USER_KEY)
        login_at = now if values.login and user_id is not None else None
        begun_at = login_at or (values.record.begun_at if values.record else now)
        return Stamp(
            seen_at=now,
            expires_at=last_moment(begun_at, self.get_expiry_date(modification=now, expiry=expiry)),
            user_id=text_or_none(user_id),
            guest=text_or_none(values.get(GUEST_KEY)),
            client=self.client,
            expiry=None if expiry is None else values.encode(EXPIRY_KEY, expiry),
            login_at=login_at,
        )

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
            if written := (yield "apply", self._hash, record, change, self._stamp(values)):
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


def text_or_none(value: object) -> str | None:
    return None if value is None else user_id_text(value)


def is_due(last_seen_at: datetime, now: datetime, age: float) -> bool:
    """Whether a session that lives for ``age`` seconds of disuse has to be stamped again."""
    return (now - last_seen_at).total_seconds() >= min(TOUCH_INTERVAL, age / 10)


def new_key() -> str:
    return get_random_string(32, VALID_KEY_CHARS)


def gone() -> UpdateError:
    return UpdateError("The session was deleted or cleared meanwhile; what this request wrote is lost.")
