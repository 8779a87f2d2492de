"""Rows read and written past the ORM are the ORM's."""

from __future__ import annotations

import uuid

import pytest
from django.db import connection
from django.utils import timezone

from chatsession import sql
from chatsession.models import Conversation, Message, Session, Worker

pytestmark = pytest.mark.django_db


def a_session() -> Session:
    now = timezone.now()
    data = bytes(range(256))
    return Session.objects.create(
        key_hash="1$key", data=data, created_at=now, last_seen_at=now, expires_at=now
    )


def a_conversation() -> Conversation:
    ids = {"owner": "user:1", "owner_hash": "o", "public_id": "日本", "public_hash": "p"}
    return Conversation.objects.create(**ids, archived=True, params={"temperature": 0.5, "文": [None]})


def an_answer() -> Message:
    conversation = a_conversation()
    parts = [{"type": "text", "text": "a\n\\ \u2028 \U0001f600"}]
    return Message.objects.create(
        conversation=conversation, role="assistant", public_hash="p", parts=parts, run_id="r", lease="mine"
    )


def values_of(row):
    values = {key: value for key, value in vars(row).items() if key != "_state"}
    return {key: bytes(value) if isinstance(value, memoryview) else value for key, value in values.items()}


@pytest.mark.parametrize("made", [a_session, a_conversation, an_answer])
@pytest.mark.parametrize("use_tz", [True, False])
def test_a_row_is_the_one_that_the_orm_gives(settings, made, use_tz):
    settings.USE_TZ = use_tz
    row = made()

    found = sql.get(type(row), "default", id=row.pk)

    assert values_of(found) == values_of(type(row).objects.get(pk=row.pk))
    assert found._state.db == "default"
    assert not found._state.adding


def test_what_is_not_there_is_none():
    a_conversation()

    assert sql.get(Conversation, "default", owner_hash="o", public_hash="another") is None
    assert sql.fetch(Session, "default", id=uuid.uuid4()) is None


def test_what_is_written_is_what_the_orm_reads():
    answer, other = an_answer(), Worker.objects.create(token="t", renewed_at=timezone.now())
    now, parts = timezone.now(), [{"type": "text", "text": "x\u2028 \U0001f600 \\u0000"}]

    columns = {"parts": parts, "usage": {}, "finished_at": now, "lease": None, "stop_requested": True}
    assert sql.write(Message, "default", columns, id=answer.pk, status=("streaming", "complete")) == 1

    answer.refresh_from_db()
    assert (answer.parts, answer.usage, answer.lease, answer.stop_requested) == (parts, {}, None, True)
    assert answer.finished_at == now
    assert Worker.objects.get().renewed_at == other.renewed_at


def test_a_row_is_found_by_what_it_does_not_have():
    answer = an_answer()
    Message.objects.update(lease=None)

    assert sql.write(Message, "default", {"error": "it failed"}, id=answer.pk, lease=None) == 1
    assert sql.write(Message, "default", {"error": "it failed"}, id=answer.pk, run_id=None) == 0


@pytest.mark.parametrize(
    "by", [{"lease": "another's"}, {"lease": None}, {"status": ("queued", "streaming")}, {"id": 10**9}]
)
def test_a_row_that_does_not_have_all_the_values_is_left_alone(by):
    answer = an_answer()

    found = {"id": answer.pk, "lease": "mine", "status": "complete"} | by
    assert sql.write(Message, "default", {"error": "it failed"}, **found) == 0

    answer.refresh_from_db()
    assert answer.error == ""


def test_a_statement_that_fails_dooms_the_transaction_around_it():
    answer = an_answer()

    with pytest.raises(Exception, match=r"(?i)null"):
        sql.write(Message, "default", {"error": None}, id=answer.pk)

    assert connection.needs_rollback
