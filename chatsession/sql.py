"""One row, found and written by statements that are built once: to build them takes the ORM five times as
long as the database takes to answer."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

from django.conf import settings
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.db.models import BinaryField, DateTimeField, Field, Model
from django.db.models.expressions import Col

M = TypeVar("M", bound=Model)


def get(model: type[M], using: str, **by: Any) -> M | None:
    """The row that has these values in unique columns."""
    values = fetch(model, using, **by)
    return None if values is None else model.from_db(using, values.keys(), values.values())


def fetch(model: type[Model], using: str, *, lock: bool = False, **by: Any) -> dict[str, Any] | None:
    """The values of ``get()`` by the names of their attributes; ``lock``: FOR UPDATE, where there is that."""
    connection = connections[using]
    statement = select(model, using, (*by,), lock=lock)
    with cursor_of(model, connection, binary=True) as cursor:
        cursor.execute(statement, [prepared(model, name, value, connection) for name, value in by.items()])
        row = cursor.fetchone()
    if row is None:
        return None
    values = dict(zip(names_of(model), row, strict=True))
    for column in differing(model, using):
        name = column.target.attname
        values[name] = converted(values[name], column, connection)
    return values


def write(model: type[Model], using: str, columns: Mapping[str, Any], **by: Any) -> int:
    """Set these columns of the rows that have the other values (a tuple: one of them). Rows written."""
    connection = connections[using]
    values = [prepared(model, name, value, connection) for name, value in columns.items()]
    found = []
    for name, value in by.items():
        wanted = value if isinstance(value, tuple) else () if value is None else (value,)
        values += [prepared(model, name, one, connection) for one in wanted]
        found.append((name, len(wanted)))
    statement = update(model, using, (*columns,), (*found,))
    with transaction.mark_for_rollback_on_error(using), cursor_of(model, connection) as cursor:
        cursor.execute(statement, values)
        return int(cursor.rowcount)


@cache
def select(model: type[Model], using: str, by: tuple[str, ...], *, lock: bool) -> str:
    connection = connections[using]
    quote = connection.ops.quote_name
    columns = ", ".join(quote(column.target.column) for column in columns_of(model))
    found = " AND ".join(f"{quote(column_of(model, name))} = %s" for name in by)
    locking = connection.ops.for_update_sql() if lock and connection.features.has_select_for_update else ""
    return f"SELECT {columns} FROM {quote(model._meta.db_table)} WHERE {found} {locking}"  # noqa: S608


@cache
def update(model: type[Model], using: str, columns: tuple[str, ...], by: tuple[tuple[str, int], ...]) -> str:
    quote = connections[using].ops.quote_name
    values = ", ".join(f"{quote(column_of(model, name))} = %s" for name in columns)
    found = " AND ".join(f"{quote(column_of(model, name))} {one_of(count)}" for name, count in by)
    return f"UPDATE {quote(model._meta.db_table)} SET {values} WHERE {found}"  # noqa: S608


def one_of(count: int) -> str:
    return f"IN ({', '.join(['%s'] * count)})" if count else "IS NULL"


@cache
def columns_of(model: type[Model]) -> list[Any]:
    return [field.get_col(model._meta.db_table) for field in model._meta.concrete_fields]


@cache
def names_of(model: type[Model]) -> list[str]:
    return [field.attname for field in model._meta.concrete_fields]


@cache
def differing(model: type[Model], using: str) -> list[Any]:
    """The columns in which databases differ in what they answer: identifiers, bytes, times, JSON. Times
    always, as it may depend on ``USE_TZ``."""
    connection = connections[using]
    return [
        column
        for column in columns_of(model)
        if isinstance(column.target, DateTimeField) or converters(column, connection)
    ]


def column_of(model: type[Model], name: str) -> str:
    return str(field_of(model, name).column)


@cache
def field_of(model: type[Model], name: str) -> Field[Any, Any]:
    field = model._meta.get_field(name)
    assert isinstance(field, Field)  # noqa: S101
    return field


@cache
def has_bytes(model: type[Model]) -> bool:
    return any(isinstance(field, BinaryField) for field in model._meta.concrete_fields)


def cursor_of(model: type[Model], connection: Any, *, binary: bool = False) -> CursorWrapper:
    """For rows with bytes, with psycopg 3, one that sends them as they are, and gets them so if ``binary``:
    Django's binds on the client, in hexadecimal digits, and takes two to three times as long at 100 kB.
    """
    cursor: CursorWrapper = connection.cursor()
    is_psycopg = connection.vendor == "postgresql" and connection.Database.__name__ == "psycopg"
    if is_psycopg and has_bytes(model):
        cursor.cursor.close()
        cursor.cursor = connection.Database.Cursor(connection.connection)
        if binary:
            cursor.cursor.format = connection.Database.pq.Format.BINARY
    return cursor


def prepared(model: type[Model], name: str, value: Any, connection: BaseDatabaseWrapper) -> Any:
    return field_of(model, name).get_db_prep_save(value, connection)


def converters(column: Col, connection: BaseDatabaseWrapper) -> list[Any]:
    return [*connection.ops.get_db_converters(column), *column.get_db_converters(connection)]


def converted(value: Any, column: Col, connection: BaseDatabaseWrapper) -> Any:
    for convert in converters(column, connection):
        value = convert(value, column, connection)
    if isinstance(value, datetime) and not settings.USE_TZ:
        value = value.replace(tzinfo=None)  # PostgreSQL's, as it comes in binary
    return value
