"""How a session comes by its record: looked up, found to have expired, or adopted from another engine."""

from __future__ import annotations

import uuid
from dataclasses import replace
from enum import StrEnum
from typing import Any

from django.contrib.sessions.backends.base import SessionBase
from django.utils import timezone

from chatsession import signals
from chatsession.signing import Signature, hash_key
from chatsession.stores import adoption, attendance
from chatsession.stores.records import (
    EXPIRY_KEY,
    GUEST_KEY,
    USER_KEY,
    Client,
    Record,
    Stamp,
    has_expired,
    last_moment,
    seen,
    user_id_text,
)
from chatsession.stores.steps import Driver, Steps
from chatsession.stores.values import Values


class Cause(StrEnum):
    """Why the session is the one it is. The values are those of FastSession's ``__cause__``."""

    NEW = "new"
    SUCCESS = "success"
    UNKNOWN_ID = "valid_cookie_but_no_store"
    BAD_SIGNATURE = "renew after InvalidSignature"
    EXPIRED = "renew after SignatureExpired"


class Loading(Driver, SessionBase):
    """The steps of a load, and what of it every write needs: the ages and the stamp."""

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

    def _existing(self, session_key: str | None) -> Steps[bool]:
        return bool(session_key) and (yield "fetch", hash_key(str(session_key))) is not None

    def _outlived(self) -> bool:
        """Whether the signature is older than its cookie was meant to live."""
        return self.signature is not None and self.signature.age > self.get_session_cookie_age()

    def sliding_age(self) -> float | None:
        """Seconds of disuse after which a loaded session ends; None for one with a fixed end."""
        expiry = self._session_cache.get(EXPIRY_KEY)
        if isinstance(expiry, int):
            return expiry if expiry > 0 else self.get_session_cookie_age()
        return self.get_session_cookie_age() if expiry is None else None

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


def text_or_none(value: object) -> str | None:
    return None if value is None else user_id_text(value)
