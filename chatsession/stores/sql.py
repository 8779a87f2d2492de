"""One row of the sessions, loaded and written by queries that are built once: to build them takes the ORM
five times as long as the database takes to answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from django.conf import settings
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.db.models import CharField, IntegerField

from chatsession.models import Session
from chatsession.stores.records import Client, Record, pack, unpack

TABLE = Session._meta.db_table
FIELDS = Session._meta.concrete_fields
NAMES = [field.name for field in FIELDS]
#: Where databases differ in what they answer: the identifier, bytes and times.
CONVERTED = [field.get_col(TABLE) for field in FIELDS if not isinstance(field, CharField | IntegerField)]


def load(using: str, by: str, value: str, *, lock: bool = False) -> tuple[str, Record] | None:
    """Key hash and record of the row that has the value in the column ``by``."""
    connection = connections[using]
    with cursor_of(connection) as cursor:
        cursor.execute(select(using, by, lock=lock), [prepared(by, value, connection)])
        row = cursor.fetchone()
    return to_record(row, connection) if row else None


def write(using: str, columns: Mapping[str, Any], **by: Any) -> int:
    """Set these columns of the row that is found by the others. Rows written."""
    connection = connections[using]
    values = [prepared(name, value, connection) for name, value in (*columns.items(), *by.items())]
    with transaction.mark_for_rollback_on_error(using), cursor_of(connection) as cursor:
        cursor.execute(update(using, (*columns,), (*by,)), values)
        return int(cursor.rowcount)


@cache
def select(using: str, by: str, *, lock: bool) -> str:
    connection = connections[using]
    quote = connection.ops.quote_name
    columns = ", ".join(quote(str(field.column)) for field in FIELDS)
    locking = connection.ops.for_update_sql() if lock and connection.features.has_select_for_update else ""
    return f"SELECT {columns} FROM {quote(TABLE)} WHERE {quote(by)} = %s {locking}"  # noqa: S608


@cache
def update(using: str, columns: tuple[str, ...], by: tuple[str, ...]) -> str:
    quote = connections[using].ops.quote_name
    values = ", ".join(f"{quote(name)} = %s" for name in columns)
    found = " AND ".join(f"{quote(name)} = %s" for name in by)
    return f"UPDATE {quote(TABLE)} SET {values} WHERE {found}"  # noqa: S608


def cursor_of(connection: Any) -> CursorWrapper:
    """With psycopg 3 one that sends and gets bytes as they are: Django's, which binds on the client, takes
    two hexadecimal digits for each, and at 100 kB two to three times as long."""
    cursor: CursorWrapper = connection.cursor()
    if connection.vendor == "postgresql" and (psycopg := connection.Database).__name__ == "psycopg":
        cursor.cursor.close()
        cursor.cursor = psycopg.Cursor(connection.connection)
        cursor.cursor.format = psycopg.pq.Format.BINARY
    return cursor


def prepared(name: str, value: Any, connection: BaseDatabaseWrapper) -> Any:
    return Session._meta.get_field(name).get_db_prep_save(value, connection)  # type: ignore[union-attr]


def to_record(row: Sequence[Any], connection: BaseDatabaseWrapper) -> tuple[str, Record]:
    values = dict(zip(NAMES, row, strict=True))
    for column in CONVERTED:
        value = values[column.target.name]
        for convert in (*connection.ops.get_db_converters(column), *column.get_db_converters(connection)):
            value = convert(value, column, connection)
        if isinstance(value, datetime) and not settings.USE_TZ:
            value = value.replace(tzinfo=None)  # PostgreSQL's, as it comes in binary
        values[column.target.name] = value
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
