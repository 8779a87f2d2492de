"""Answers as the database has them: replay, another worker's run, leases, ends, stop flags."""

from __future__ import annotations

from datetime import timedelta
from itertools import chain
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from chatsession import connections, sql
from chatsession.conversations import history
from chatsession.conversations.turns import ACTIVE
from chatsession.models import Conversation, Message, Worker
from chatsession.runs.log import Outcome, events

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatsession.runs.follow import Source
    from chatsession.runs.log import Event
    from chatsession.runs.run import Run

#: Seconds without a renewal after which a worker is dead. Renewals come once a second.
LEASE = 20


class StoredRun:
    """A finished answer, or one that another worker is writing: read once a second."""

    poll = 1.0
    place = 0
    lost = False

    def __init__(self, message: Message, look_after: Callable[[Message], Source]) -> None:
        self.message = message
        self.look_after = look_after

    def events_after(self, position: int) -> list[Event]:
        """See ``Run.events_after()``."""
        return list(events(self.message.parts, position, outcome_of(self.message)))

    def refresh(self) -> Source:
        """Read the row again. Answers where to read on: here, or from the run if it has been taken over."""
        try:
            reload(self.message)
            return self.look_after(self.message) if self.message.status in ACTIVE else self
        except Message.DoesNotExist:
            self.lost = True
            return self
        finally:
            connections.release()

    def subscribe(self, wake: Callable[[], None]) -> None:
        """Nobody wakes the readers of a stored run; they poll."""

    def unsubscribe(self, wake: Callable[[], None]) -> None:
        """See ``subscribe()``."""


def outcome_of(message: Message) -> Outcome | None:
    """How an answer ended; None while it is being written."""
    if message.status in ACTIVE:
        return None
    error = message.error
    if message.status == Message.Status.INTERRUPTED and not error:
        with translation.override(message.language or None):
            error = _("The answer was interrupted. Please try again.")
    return Outcome(message.status, message.usage, error)


def reload(message: Message) -> None:
    """Read again what the run's worker writes."""
    message.refresh_from_db(fields=["parts", "status", "usage", "error", "lease"])


def is_held(message: Message) -> bool:
    """Whether the worker that writes an answer has renewed its lease in time, by the database's clock."""
    workers = Worker.objects.using(history.database()).filter(token=message.lease)
    return workers.filter(renewed_at__gte=Now() - timedelta(seconds=LEASE)).exists()


def take_lease(message: Message, lease: str) -> bool:
    """Make a dead worker's run ours: once, by whoever is first."""
    with connections.writing(history.database()):
        found = sql.write(Message, history.database(), {"lease": lease}, **own(message, message.lease))
    return bool(found)


def own(message: Message, lease: str | None) -> dict[str, object]:
    """The condition on every write of a run: still active, still this worker's."""
    return {"id": message.pk, "run_id": message.run_id, "status": ACTIVE, "lease": lease}


def write_texts(runs: list[Run], status: str, lease: str) -> None:
    """Write what has grown, one statement for many runs.

    With one for each, 1,000 runs kept SQLite's lock for seconds. ``bulk_update()`` takes ten times as long.
    """
    connection = transaction.get_connection(history.database())
    field = Message._meta.get_field("parts")
    parts = f"CASE id {'WHEN %s THEN %s ' * len(runs)}END"
    if connection.features.requires_casted_case_in_updates:
        parts = f"CAST({parts} AS {field.cast_db_type(connection)})"
    query = (
        f"UPDATE {Message._meta.db_table} SET parts = {parts}, status = %s "  # noqa: S608
        f"WHERE id IN ({', '.join(['%s'] * len(runs))}) AND lease = %s AND status IN (%s, %s)"
    )
    ids = [run.message.pk for run in runs]
    texts = [field.get_db_prep_save(run.parts(), connection) for run in runs]
    with connection.cursor() as cursor:
        cursor.execute(query, [*chain(*zip(ids, texts, strict=True)), status, *ids, lease, *ACTIVE])


def finish(message: Message, lease: str | None, outcome: Outcome) -> bool:
    """``write_end()`` in a transaction of its own."""
    with connections.writing(history.database()):
        return write_end(message, lease, outcome)


def write_end(message: Message, lease: str | None, outcome: Outcome, **fields: object) -> bool:
    """Write the end of a run and give the conversation's lease back; False if the run was not ours."""
    database, now = history.database(), timezone.now()
    end = {"status": outcome.status, "usage": outcome.usage, "error": outcome.error[:300], "finished_at": now}
    freed = {"active_run": None, "updated_at": now}
    is_ours = sql.write(Message, database, end | fields, **own(message, lease))
    if is_ours:
        sql.write(Conversation, database, freed, id=message.conversation_id, active_run=message.run_id)
    return bool(is_ours)


def request_stop(message: Message) -> bool:
    """Raise the flag that the run's worker reads once a second; False if it has ended already."""
    rows = Message.objects.using(history.database()).filter(
        pk=message.pk, run_id=message.run_id, status__in=ACTIVE
    )
    with connections.writing(history.database()):
        return bool(rows.update(stop_requested=True))
