"""Sessions in the database of alias ``CHATSESSION["DATABASE"]``, else where the routers write them."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.db import (
    DatabaseError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    connections,
    router,
    transaction,
)
from django.db.models import Q, QuerySet
from django.utils import timezone

from chatsession import sql
from chatsession.conf import conf
from chatsession.models import Session
from chatsession.stores.base import BaseStore, SessionInfo, Sessions
from chatsession.stores.columns import changed, load, to_columns
from chatsession.stores.records import Change, Record, Stamp, merge, pack
from chatsession.stores.steps import Steps, jitter

T = TypeVar("T")

#: How long a write is tried against rivals and locks before an error is raised, in seconds.
PATIENCE = 30
#: How SQLite, MySQL ("try restarting transaction") and PostgreSQL say it.
LOST_TO_RIVALS = re.compile("database (table )?is locked|try restarting transaction|deadlock detected")
#: Rows asked for or deleted at a time: SQLite takes no more than 999 variables everywhere.
BATCH = 900

INFO = ("id", "user_id", "created_at", "last_seen_at", "expires_at", "user_agent", "ip")


def alias() -> str:
    """The database of the sessions: always the one that is written, a replica may not know them yet."""
    return conf.DATABASE or router.db_for_write(Session)


def rows() -> QuerySet[Session]:
    return Session.objects.using(alias())


def write(columns: Mapping[str, Any], **by: Any) -> int:
    return sql.write(Session, alias(), columns, **by)


def in_atomic_block() -> bool:
    return connections[alias()].in_atomic_block


def attempts() -> Iterator[int]:
    """Count tries, with a growing random pause between them, until the patience is at its end."""
    attempt, end = 0, time.monotonic() + PATIENCE
    while time.monotonic() < end:
        yield attempt
        time.sleep(jitter(attempt))
        attempt += 1


def past_locks(query: Callable[[], T]) -> T:
    """Try again while SQLite says that the database is locked, or another one that there was a deadlock.

    Inside an atomic block that cannot help: there the transaction itself has lost.
    """
    for _ in attempts():
        try:
            return query()
        except OperationalError as error:
            if in_atomic_block() or not LOST_TO_RIVALS.search(str(error)):
                raise
    return query()


class SessionStore(BaseStore):
    """One row a session; writes are compare-and-set on its version."""

    #: Another has written since this session was loaded. A transaction of the site may still see what was
    #: there at its own start, over and over: in it only a lock shows the present.
    _is_overtaken = False

    def _fetch(self, key_hash: str) -> Record | None:
        lock = self._is_overtaken and in_atomic_block()
        found = past_locks(lambda: load(alias(), lock=lock, key_hash=key_hash))
        return found[1] if found else None

    def _insert(self, key_hash: str, record: Record) -> bool:
        row = Session(
            id=uuid.UUID(record.handle),
            key_hash=key_hash,
            created_at=record.created_at,
            data=pack(record.data),
            **to_columns(record),
        )

        def insert() -> None:
            with transaction.atomic(using=alias()):
                row.save(using=alias(), force_insert=True)

        try:
            past_locks(insert)
        except IntegrityError:
            return False
        return True

    def _apply(self, key_hash: str, record: Record | None, change: Change, stamp: Stamp) -> Record | None:
        for attempt in attempts():
            if attempt:
                self._is_overtaken = True
                record = self._fetch(key_hash)
            merged = merge(record, change, stamp) if record else None
            if record is None or merged is None:
                return None
            columns, version = changed(record, merged), record.version
            if past_locks(lambda: write(columns, key_hash=key_hash, version=version)):  # noqa: B023
                return merged
        raise DatabaseError(f"The session could not be written in {PATIENCE} s: too many concurrent writers.")

    def _rename(self, old_hash: str, new_hash: str) -> bool:
        return bool(past_locks(lambda: write({"key_hash": new_hash}, key_hash=old_hash)))

    def _touch(self, key_hash: str, stamp: Stamp) -> bool:
        columns: dict[str, Any] = {"last_seen_at": stamp.seen_at, "expires_at": stamp.expires_at}
        if stamp.login_at:
            columns["login_at"] = stamp.login_at
        if stamp.client:
            columns |= stamp.client._asdict()
        return bool(past_locks(lambda: write(columns, key_hash=key_hash)))

    def _remove(self, key_hash: str) -> None:
        past_locks(lambda: rows().filter(key_hash=key_hash).delete())

    def _expire(self, key_hash: str, now: datetime) -> bool:
        expired = rows().filter(Q(expires_at__lte=now) | too_old(now), key_hash=key_hash)
        return bool(past_locks(lambda: expired.delete()[0]))

    def _adopt(self, old_key: str, key_hash: str) -> tuple[Record | None, bool]:
        """In one transaction: nobody finds neither, and a failure loses nothing."""
        return past_locks(lambda: self._adopt_at_once(old_key, key_hash))

    def _adopt_at_once(self, old_key: str, key_hash: str) -> tuple[Record | None, bool]:
        with transaction.atomic(using=alias()):
            return super()._adopt(old_key, key_hash)

    def _run(self, steps: Steps[T]) -> T:
        try:
            return super()._run(steps)
        except (OperationalError, InterfaceError):
            self.is_away = True
            raise
        finally:
            self.in_transaction = in_atomic_block()

    @classmethod
    def clear_expired(cls) -> None:
        now = timezone.now()
        # A transaction of the site may go on seeing rows that others have deleted or touched.
        deleted = 1
        while deleted:
            batch = list(rows().filter(expires_at__lte=now).values_list("pk", flat=True)[:BATCH])
            deleted, _ = past_locks(rows().filter(pk__in=batch, expires_at__lte=now).delete)

    # Screens and commands

    @classmethod
    def count(cls, *, user_id: str | None = None, search: str = "") -> int:
        return matching(user_id, search).count()

    @classmethod
    def info(cls, handle: str) -> SessionInfo | None:
        query = matching().filter(pk=handle) if is_uuid(handle) else rows().none()
        return next(to_infos(query), None)

    @classmethod
    def _valid_of(cls, handles: Collection[str]) -> Iterator[SessionInfo]:
        wanted = [*handles]
        for start in range(0, len(wanted), BATCH):
            yield from to_infos(matching().filter(pk__in=wanted[start : start + BATCH]))

    @classmethod
    def _find(cls, handle: str) -> tuple[str, Record] | None:
        return load(alias(), id=handle)

    @classmethod
    def _end(cls, handle: str) -> SessionInfo | None:
        if not is_uuid(handle):
            return None
        found = next(to_infos(rows().filter(pk=handle)), None)
        return found if past_locks(lambda: rows().filter(pk=handle).delete()[0]) else None

    @classmethod
    def guests_among(cls, guests: Collection[str]) -> set[str]:
        return {
            guest for guest in matching().filter(guest__in=guests).values_list("guest", flat=True) if guest
        }

    @classmethod
    def _excess(cls, user_id: str, limit: int) -> Sequence[str]:
        newest_first = matching(user_id).order_by("-login_at", "-pk")
        return [str(handle) for handle in newest_first.values_list("pk", flat=True)[limit:]]

    @classmethod
    def list(
        cls, *, user_id: str | None = None, search: str = "", offset: int = 0, limit: int = 100
    ) -> Sessions:
        query = matching(user_id, search).order_by("-last_seen_at", "pk")
        return [*to_infos(query[offset : offset + limit])]


def matching(user_id: str | None = None, search: str = "") -> QuerySet[Session]:
    now = timezone.now()
    found = rows().filter(~too_old(now), expires_at__gt=now)
    if user_id is not None:
        found = found.filter(user_id=user_id)
    if not search:
        return found
    wanted = Q(user_agent__icontains=search) | Q(ip__startswith=search) | Q(user_id=search)
    return found.filter(wanted | Q(pk__startswith=search))


def too_old(now: datetime) -> Q:
    """Over an ``ABSOLUTE_AGE`` that was set after the row was written; other rows have it in expires_at."""
    if conf.ABSOLUTE_AGE is None:
        return Q(pk__in=[])
    oldest = now - timedelta(seconds=conf.ABSOLUTE_AGE)
    return Q(login_at__lte=oldest) | Q(login_at=None, created_at__lte=oldest)


def is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def to_infos(query: QuerySet[Session]) -> Iterator[SessionInfo]:
    return (SessionInfo(str(handle), *others) for handle, *others in query.values_list(*INFO))
