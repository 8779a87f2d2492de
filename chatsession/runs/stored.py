"""Answers as the database has them: replay, following another worker's run, death, stop flags."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from chatsession.conversations import history
from chatsession.conversations.turns import ACTIVE
from chatsession.models import Conversation, Message, Worker
from chatsession.runs.log import Outcome, events

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatsession.runs.log import Event

#: Seconds without a renewal after which a worker is dead. Renewals come once a second.
LEASE = 20


class StoredRun:
    """A finished answer, or one that another worker is writing: read once a second."""

    poll = 1.0

    def __init__(self, message: Message) -> None:
        self.message = message

    @property
    def outcome(self) -> Outcome | None:
        """None while the answer is being written."""
        if self.message.status in ACTIVE:
            return None
        error = self.message.error
        if self.message.status == Message.Status.INTERRUPTED:
            error = error or _("The answer was interrupted. Please try again.")
        return Outcome(self.message.status, self.message.usage, error)

    def events_after(self, position: int) -> list[Event]:
        """See ``Run.events_after()``."""
        return list(events(self.message.parts, position, self.outcome))

    def refresh(self) -> None:
        """Read the row again; mark the run if its worker has died."""
        self.message.refresh_from_db(fields=["parts", "status", "usage", "error", "lease"])
        if self.message.status in ACTIVE:
            mark_if_dead(self.message)

    def subscribe(self, wake: Callable[[], None]) -> None:
        """Nobody wakes the readers of a stored run; they poll."""

    def unsubscribe(self, wake: Callable[[], None]) -> None:
        """See ``subscribe()``."""


def mark_if_dead(message: Message) -> bool:
    """Whether an active answer's worker is gone; then the answer is interrupted by whoever sees it first."""
    alive = Worker.objects.using(history.database()).filter(
        token=message.lease, renewed_at__gte=Now() - timedelta(seconds=LEASE)
    )
    if alive.exists():
        return False
    finish(message, message.lease, Outcome(Message.Status.INTERRUPTED, message.usage))
    message.refresh_from_db(fields=["parts", "status", "usage", "error", "lease"])
    return message.status not in ACTIVE


def own(message: Message, lease: str | None) -> dict[str, object]:
    """The condition on every write of a run: still active, still this worker's."""
    return {"pk": message.pk, "run_id": message.run_id, "status__in": ACTIVE, "lease": lease}


def finish(message: Message, lease: str | None, outcome: Outcome, **fields: object) -> bool:
    """Write the end of a run and give the conversation's lease back; False if the run was not ours."""
    database = history.database()
    rows = (
        Message.objects.using(database)
        .filter(**own(message, lease))
        .update(
            status=outcome.status,
            usage=outcome.usage,
            error=outcome.error[:300],
            finished_at=timezone.now(),
            **fields,
        )
    )
    conversation = Conversation.objects.using(database).filter(
        pk=message.conversation_id, active_run=message.run_id
    )
    conversation.update(active_run=None, updated_at=timezone.now())
    return bool(rows)


def request_stop(message: Message) -> bool:
    """Raise the flag that the run's worker reads once a second; False if it has ended already."""
    rows = Message.objects.using(history.database()).filter(
        pk=message.pk, run_id=message.run_id, status__in=ACTIVE
    )
    return bool(rows.update(stop_requested=True))
