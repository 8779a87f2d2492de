"""What a store keeps of a session, and how a request's changes are merged onto it. Pure functions."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from chatsession.conf import conf
from chatsession.exceptions import SessionTooLarge

logger = logging.getLogger("django.security.SuspiciousSession")

AUTH_PREFIX = "_auth_"
USER_KEY = "_auth_user_id"
USER_ID_CHARS = 64
EXPIRY_KEY = "_session_expiry"
#: Where the chat keeps the owner ID of a guest.
GUEST_KEY = "_chatsession_guest"


class Client(NamedTuple):
    """Who was seen using a session: the user agent (at most 300 characters) and the truncated IP."""

    user_agent: str = ""
    ip: str = ""


NOBODY = Client()


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """What screens and commands may know of a session. ``handle`` is its public name."""

    handle: str
    user_id: str | None
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    user_agent: str
    ip: str


@dataclass(frozen=True, slots=True)
class Record:
    """One stored session. ``data`` maps each top-level key to its encoded bytes and is never altered."""

    handle: str
    data: Mapping[str, bytes]
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    version: int = 1
    generation: int = 0
    user_id: str | None = None
    client: Client = NOBODY
    login_at: datetime | None = None
    guest: str | None = None

    @property
    def begun_at(self) -> datetime:
        """From when ``ABSOLUTE_AGE`` counts."""
        return self.login_at or self.created_at

    def info(self) -> SessionInfo:
        return SessionInfo(
            self.handle,
            self.user_id,
            self.created_at,
            self.last_seen_at,
            self.expires_at,
            *self.client,
        )


@dataclass(frozen=True, slots=True)
class Change:
    """What one request wants written: bytes to put, keys to drop."""

    put: Mapping[str, bytes]
    drop: frozenset[str] = frozenset()
    #: Drop everything else first and raise the generation.
    clear: bool = False
    #: ``_auth_*`` was written: ``put`` holds the whole group and replaces the stored one.
    auth: bool = False
    #: The generation the request has loaded; on a newer one its changes are refused.
    generation: int = 0
    #: Keys that must still have these bytes (None: be absent), or nothing is written.
    expect: Mapping[str, bytes | None] | None = None

    def __bool__(self) -> bool:
        return bool(self.put or self.drop or self.clear)

    def touches(self, key: str) -> bool:
        return self.clear or key in self.put or key in self.drop


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a write or a touch tells of the session beside its values."""

    seen_at: datetime
    expires_at: datetime
    user_id: str | None = None
    #: None: leave what is stored.
    client: Client | None = None
    #: The bytes of ``_session_expiry`` from which ``expires_at`` was computed.
    expiry: bytes | None = None
    #: The user has logged in with this write.
    login_at: datetime | None = None
    guest: str | None = None
    #: Whether it is time for a write to move ``last_seen_at`` and ``expires_at``; a touch always does.
    moves: bool = True


def merge(record: Record, change: Change, stamp: Stamp) -> Record | None:
    """The record after the change, or None if the change must not be applied to it.

    Raises ``SessionTooLarge`` if the change makes it grow beyond ``MAX_SESSION_BYTES``.
    """
    if not change.clear and change.generation != record.generation:
        return None
    if any(record.data.get(key) != value for key, value in (change.expect or {}).items()):
        return None
    data = _merged(record.data, change)
    check_size(data, than=record.data)
    return replace(
        seen(record, stamp) if stamp.moves and data.get(EXPIRY_KEY) == stamp.expiry else record,
        data=data,
        version=record.version + 1,
        generation=record.generation + change.clear,
        user_id=stamp.user_id if change.auth or change.clear else record.user_id,
        guest=stamp.guest if change.touches(GUEST_KEY) else record.guest,
    )


def _merged(data: Mapping[str, bytes], change: Change) -> Mapping[str, bytes]:
    if change.clear:
        return dict(change.put)
    kept = {
        key: value
        for key, value in data.items()
        if key not in change.drop and not (change.auth and key.startswith(AUTH_PREFIX))
    }
    return {**kept, **change.put}


def seen(record: Record, stamp: Stamp) -> Record:
    """The record after a touch."""
    return replace(
        record,
        last_seen_at=stamp.seen_at,
        expires_at=stamp.expires_at,
        client=stamp.client or record.client,
        login_at=stamp.login_at or record.login_at,
    )


def last_moment(begun_at: datetime, expires_at: datetime) -> datetime:
    """When a session that began (or logged in) at ``begun_at`` expires: idle, or by its ``ABSOLUTE_AGE``."""
    if conf.ABSOLUTE_AGE is None:
        return expires_at
    return min(expires_at, begun_at + timedelta(seconds=conf.ABSOLUTE_AGE))


def has_expired(record: Record, now: datetime) -> bool:
    """By timestamp: naive and aware times may meet when a test changes USE_TZ."""
    end = last_moment(record.begun_at, record.expires_at)
    return end.timestamp() <= now.timestamp()


def matches(info: SessionInfo, search: str) -> bool:
    return (
        search.lower() in info.user_agent.lower()
        or info.ip.startswith(search)
        or info.handle.startswith(search)
        or info.user_id == search
    )


def user_id_text(user_id: object) -> str:
    """A user's key as records have it: as text, or its SHA-256 where the text is too long for the column."""
    text = str(user_id)
    return text if len(text) < USER_ID_CHARS else hashlib.sha256(text.encode()).hexdigest()


def size_of(data: Mapping[str, bytes]) -> int:
    return sum(len(key) + len(value) for key, value in data.items())


def check_size(data: Mapping[str, bytes], *, than: Mapping[str, bytes] | None = None) -> None:
    """Refuse what is over the limit, unless it became no larger ``than`` it was."""
    size, limit = size_of(data), conf.MAX_SESSION_BYTES
    if size > limit and (than is None or size > size_of(than)):
        raise SessionTooLarge(size, limit)


def pack(data: Mapping[str, bytes]) -> bytes:
    """All values in one blob: a line of JSON with keys and lengths, then the values' bytes as they are."""
    header = json.dumps([(key, len(value)) for key, value in data.items()])
    return b"\n".join([header.encode(), b"".join(data.values())])


def unpack(blob: bytes) -> dict[str, bytes]:
    """Reverse ``pack()``. A damaged blob holds nothing, as in Django's own stores."""
    data, start = {}, blob.find(b"\n") + 1
    try:
        for key, length in json.loads(blob[:start]):
            data[key] = blob[start : start + length]
            start += length
    except (TypeError, ValueError):
        logger.warning("Session data corrupted")
        return {}
    return data
