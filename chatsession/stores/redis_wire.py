"""What travels between the Redis store and its script, in the order in which ``redis.lua`` takes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import TypeAlias

from django.conf import settings
from django.utils.timezone import get_default_timezone, make_naive

from chatsession.conf import conf
from chatsession.stores.records import (
    GUEST_KEY,
    NOBODY,
    Change,
    Client,
    Record,
    Stamp,
    size_of,
)

Words: TypeAlias = "list[bytes | int]"
Fields: TypeAlias = Mapping[bytes, bytes]

#: As in the script.
FACTS = (
    *(b"handle", b"user", b"guest", b"created", b"seen", b"expires", b"login", b"agent", b"ip"),
    *(b"version", b"generation", b"size"),
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_bytes(text: str | None) -> bytes:
    return (text or "").encode(errors="surrogatepass")


def to_text(stored: bytes) -> str:
    return stored.decode(errors="surrogatepass")


def to_number(moment: datetime) -> int:
    """Microseconds since 1970."""
    return round(moment.timestamp() * 1_000_000)


def to_moment(stored: bytes) -> datetime:
    moment = EPOCH + timedelta(microseconds=int(stored))
    return moment if settings.USE_TZ else make_naive(moment, get_default_timezone())


def optional(moment: datetime | None) -> int | bytes:
    return b"" if moment is None else to_number(moment)


def counted(items: Iterable[Iterable[bytes | int]]) -> Words:
    found = list(items)
    return [len(found), *chain.from_iterable(found)]


def pairs(data: Mapping[str, bytes]) -> Words:
    return counted((to_bytes(key), value) for key, value in data.items())


def to_insert(record: Record) -> Words:
    moments = (record.created_at, record.last_seen_at, record.expires_at)
    return [
        *map(to_bytes, (record.handle, record.user_id, record.guest)),
        *map(to_number, moments),
        optional(record.login_at),
        *map(to_bytes, record.client),
        *(record.version, record.generation, size_of(record.data)),
        *pairs(record.data),
    ]


def to_apply(record: Record, change: Change, stamp: Stamp) -> Words:
    expect = (change.expect or {}).items()
    return [
        *(record.version, change.generation, conf.MAX_SESSION_BYTES, int(change.clear)),
        *counted((to_bytes(key), int(value is not None), value or b"") for key, value in expect),
        int(change.auth),
        *counted([to_bytes(key)] for key in change.drop),
        *pairs(change.put),
        *(int(change.auth or change.clear), to_bytes(stamp.user_id)),
        *(int(change.touches(GUEST_KEY)), to_bytes(stamp.guest)),
        *(int(stamp.expiry is not None), stamp.expiry or b""),
        *to_touch(stamp),
    ]


def to_touch(stamp: Stamp) -> Words:
    client = stamp.client or NOBODY
    moments = (to_number(stamp.seen_at), to_number(stamp.expires_at), optional(stamp.login_at))
    return [*moments, int(stamp.client is not None), *map(to_bytes, client)]


def to_record(fields: Fields) -> Record:
    """Of the whole hash, or of its facts alone."""
    return Record(
        handle=to_text(fields[b"handle"]),
        data={to_text(name[2:]): value for name, value in fields.items() if name.startswith(b"v:")},
        created_at=to_moment(fields[b"created"]),
        last_seen_at=to_moment(fields[b"seen"]),
        expires_at=to_moment(fields[b"expires"]),
        version=int(fields[b"version"]),
        generation=int(fields[b"generation"]),
        user_id=to_text(fields[b"user"]) or None,
        client=Client(to_text(fields[b"agent"]), to_text(fields[b"ip"])),
        login_at=to_moment(fields[b"login"]) if fields[b"login"] else None,
        guest=to_text(fields[b"guest"]) or None,
    )


def from_row(row: Iterable[bytes]) -> Record:
    return to_record(dict(zip(FACTS, row, strict=True)))
