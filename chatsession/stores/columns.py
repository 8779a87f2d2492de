"""A record as a row of the database."""

from __future__ import annotations

from typing import Any

from chatsession import sql
from chatsession.models import Session
from chatsession.stores.records import Client, Record, pack, unpack


def load(using: str, *, lock: bool = False, **by: str) -> tuple[str, Record] | None:
    """Key hash and record of the row that has this value."""
    values = sql.fetch(Session, using, lock=lock, **by)
    if values is None:
        return None
    handle, data = str(values.pop("id")), unpack(bytes(values.pop("data")))
    key_hash, client = values.pop("key_hash"), Client(values.pop("user_agent"), values.pop("ip"))
    return key_hash, Record(handle=handle, data=data, client=client, **values)


def to_columns(record: Record) -> dict[str, Any]:
    """What a write may set, but for the data. ``created_at`` and the key stay."""
    return {
        "version": record.version,
        "generation": record.generation,
        "last_seen_at": record.last_seen_at,
        "expires_at": record.expires_at,
        "login_at": record.login_at,
        "user_id": record.user_id,
        "guest": record.guest,
        **record.client._asdict(),
    }


def changed(old: Record, new: Record) -> dict[str, Any]:
    """The columns in which they differ: each of the others would cost its index a write."""
    before = to_columns(old)
    columns = {name: value for name, value in to_columns(new).items() if value != before[name]}
    return columns | ({"data": pack(new.data)} if new.data != old.data else {})
