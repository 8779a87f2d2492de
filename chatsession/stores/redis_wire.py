"""What travels between the Redis store and its script, in the order in which ``redis.lua`` takes it."""

from __future__ import annotations

import json
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

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_bytes(text: str | None) -> bytes:
    return (text or "").encode(errors="surrogatepass")


def to_text(stored: bytes) -> str:
    return stored.decode(errors="surrogatepass")


def to_number(moment: datetime) -> int:
    """Microseconds since 1970."""
    return round(moment.timestamp() * 1_000_000)


def to_moment(stored: str) -> datetime:
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
    facts = {
        "handle": record.handle,
        "user": record.user_id or "",
        "guest": record.guest or "",
        "created": str(to_number(record.created_at)),
        "seen": str(to_number(record.last_seen_at)),
        "expires": str(to_number(record.expires_at)),
        "login": str(to_number(record.login_at)) if record.login_at else "",
        "agent": record.client.user_agent,
        "ip": record.client.ip,
        "version": str(record.version),
        "generation": str(record.generation),
        "size": str(size_of(record.data)),
    }
    return [to_bytes(json.dumps(facts, ensure_ascii=False)), *pairs(record.data)]


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
        *(int(stamp.moves), int(stamp.expiry is not None), stamp.expiry or b""),
        *to_touch(stamp),
    ]


def to_touch(stamp: Stamp) -> Words:
    client = stamp.client or NOBODY
    moments = (to_number(stamp.seen_at), to_number(stamp.expires_at), optional(stamp.login_at))
    return [*moments, int(stamp.client is not None), *map(to_bytes, client)]


def to_record(fields: Fields) -> Record:
    """Of the whole hash, or of its facts alone."""
    facts = json.loads(to_text(fields[b"facts"]))
    return Record(
        handle=facts["handle"],
        data={to_text(name[2:]): value for name, value in fields.items() if name.startswith(b"v:")},
        created_at=to_moment(facts["created"]),
        last_seen_at=to_moment(facts["seen"]),
        expires_at=to_moment(facts["expires"]),
        version=int(facts["version"]),
        generation=int(facts["generation"]),
        user_id=facts["user"] or None,
        client=Client(facts["agent"], facts["ip"]),
        login_at=to_moment(facts["login"]) if facts["login"] else None,
        guest=facts["guest"] or None,
    )


def from_facts(stored: bytes) -> Record:
    return to_record({b"facts": stored})
