"""Dead workers, and workers that are taken for dead."""

from __future__ import annotations

import threading

import pytest
from django.db import connection, connections

from chatsession.models import Conversation, Message, Worker
from chatsession.runs import recovery, service, stored
from chatsession.runs.engine import Engine, engine
from chatsession.runs.follow import Lost, follow
from tests.runs.test_engine import Backend, Gate, orphan, send, stored_answer, text_of

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_thread_that_looks_while_another_takes_over_does_not_start_the_run_again(monkeypatch):
    message = orphan("default", [], text="/slow 1")
    Message.objects.update(created_at="2020-01-01T00:00Z")
    message.refresh_from_db()
    starts, start, looked = [], engine.start, []

    def look() -> None:
        try:
            looked.append(text_of(recovery.look_after(Message.objects.get(pk=message.pk))))
        finally:
            connections.close_all()

    def start_late(answer, *args):
        starts.append(answer.pk)
        if len(starts) == 1:
            other.start()
            other.join(0.3)  # it has to wait: the lease is ours, and nothing is live
        return start(answer, *args)

    other = threading.Thread(target=look)
    monkeypatch.setattr(engine, "start", start_late)

    text = text_of(recovery.look_after(message))
    other.join()

    assert starts == [message.pk]
    assert looked == [text]


def test_the_readers_of_a_lost_run_are_sent_away_to_ask_again():
    gate = Gate()
    _, run = send(gate)
    gate.written.wait(5)
    Message.objects.update(lease="another worker")
    run.dirty = True
    reader = follow(run, 0)
    next(reader)

    engine.ticker.wake()

    with pytest.raises(Lost):
        list(reader)
    assert gate.closed.wait(5)
    assert run.outcome is None
    assert run.id not in engine.live


def test_a_reader_of_another_workers_answer_is_sent_away_when_it_is_deleted():
    _, run = send(Backend(lambda prompt: "whole"))
    text_of(run)
    Worker.objects.create(token="other", renewed_at="2999-01-01T00:00Z")
    Message.objects.filter(role="assistant").update(status="streaming", lease="other")
    reader = follow(recovery.source_of(stored_answer()), 0)
    next(reader)

    Conversation.objects.all().delete()

    with pytest.raises(Lost):
        list(reader)


def test_an_end_is_written_whole_or_not_at_all():
    message = orphan("default", [])

    def broken(execute, query, *others):
        if "UPDATE" in query and "active_run" in query:
            raise KeyboardInterrupt
        return execute(query, *others)

    with connection.execute_wrapper(broken), pytest.raises(KeyboardInterrupt):
        stored.finish(message, "dead", stored.Outcome("interrupted", {}))

    assert stored_answer().status == "streaming"
    assert Conversation.objects.get().active_run == message.run_id


@pytest.fixture
def other_process(monkeypatch):
    """An engine besides the real one, as another process has it."""
    other = Engine()
    for module in (service, recovery):
        monkeypatch.setattr(module, "engine", other)
    yield other
    for run in list(other.live.values()):
        run.stop()


def test_a_process_that_ends_writes_what_is_new_and_gives_up_its_lease(other_process, monkeypatch):
    gate = Gate()
    send(gate)
    gate.written.wait(5)

    other_process.leave()

    answer = stored_answer()
    assert answer.parts == [{"type": "text", "text": "first "}]
    assert answer.status == "streaming"
    assert not stored.is_held(answer)


def test_the_thread_it_leaves_by_keeps_no_connection(other_process):
    gate, kept = Gate(), []
    send(gate)
    gate.written.wait(5)

    def leave() -> None:
        other_process.leave()
        kept.append(connections["default"].connection)

    thread = threading.Thread(target=leave)
    thread.start()
    thread.join()

    assert kept == [None]


def test_a_process_that_has_left_does_not_take_its_lease_back(other_process):
    gate = Gate()
    _, run = send(gate)
    gate.written.wait(5)
    other_process.leave()

    run.dirty = True
    other_process.ticker.tick()

    assert not stored.is_held(stored_answer())


def test_a_process_that_cannot_say_goodbye_ends_all_the_same(other_process, monkeypatch, caplog):
    gate = Gate()
    send(gate)
    gate.written.wait(5)
    monkeypatch.setattr("chatsession.runs.ticker.write_end", lambda *args: 1 / 0)

    other_process.leave()

    assert "could not be handed over" in caplog.text
    assert stored.is_held(stored_answer())


def test_a_process_without_runs_leaves_without_a_word(django_assert_num_queries):
    with django_assert_num_queries(0):
        Engine().leave()


def test_the_rows_of_workers_long_gone_are_swept():
    Worker.objects.create(token="gone", renewed_at="2020-01-01T00:00Z")
    engine.reset()
    _, run = send(Backend(lambda prompt: "whole"))
    text_of(run)

    assert set(Worker.objects.values_list("token", flat=True)) == {engine.lease}


def test_a_receiver_that_fails_does_not_leave_an_answer_that_nobody_writes(caplog):
    from chatsession.signals import message_saved

    def fail(message, **kwargs):
        raise ValueError(message.role)

    message_saved.connect(fail)
    try:
        _, run = send(Backend(lambda prompt: "whole"))
        assert text_of(run) == "whole"
    finally:
        message_saved.disconnect(fail)
    assert "ValueError: user" in caplog.text
