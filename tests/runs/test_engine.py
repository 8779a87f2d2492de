"""Runs on the real background loop and ticker; what a client reads is what the database has."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from itertools import pairwise

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connections
from django.test import override_settings
from django.utils import translation
from django.utils.translation import gettext, gettext_lazy

from chatsession.backends.base import BackendError, Reasoning, Source, Usage
from chatsession.conversations.turns import Ask
from chatsession.models import Conversation, Message, Worker
from chatsession.runs import recovery, service, stored
from chatsession.runs.engine import engine
from chatsession.runs.follow import Reader, afollow, follow
from chatsession.runs.log import Outcome
from chatsession.runs.ticker import GATHER
from chatsession.signals import message_saved, run_finished, run_started

pytestmark = pytest.mark.django_db(transaction=True)


class Backend:
    """Calls a function for its stream."""

    def __init__(self, function) -> None:
        self.stream = function


class Gate:
    """An async backend that writes a word and then waits to be let on."""

    def __init__(self) -> None:
        self.written = threading.Event()
        self.open = threading.Event()
        self.closed = threading.Event()

    async def stream(self, prompt):
        try:
            yield "first "
            self.written.set()
            while not self.open.is_set():
                await asyncio.sleep(0.01)
            yield "second"
        finally:
            self.closed.set()


def send(backend, text: str = "hello", conversation_id: str = "c", message_id: str = "m1", **terms):
    ask = Ask(owner="user:1", conversation_id=conversation_id, message_id=message_id, text=text, **terms)
    with override_settings(CHATSESSION={"MODELS": {"default": {"BACKEND": backend}}}):
        return service.send(ask)


def exits(prompt):
    raise SystemExit(3)


async def exits_async(prompt):
    raise SystemExit(3)
    yield


def stops(prompt):
    return next(iter(()))


@pytest.mark.parametrize("backend", [exits, exits_async, stops])
def test_a_backend_that_wants_to_end_more_than_itself_ends_its_answer_alone(backend):
    _, run = send(Backend(backend))
    assert run.ended.wait(5)
    assert run.outcome.status == "error"

    _, run = send(Backend(lambda prompt: "goes on"), conversation_id="c2")
    assert text_of(run) == "goes on"


@pytest.mark.parametrize("chunk", [{"text": "a dict"}, 7, Reasoning({"text": "a dict"})])
def test_a_chunk_that_is_no_text_fails_its_answer_alone(chunk):
    _, run = send(Backend(lambda prompt: iter(["so far", chunk])))
    assert run.ended.wait(5)
    assert (run.outcome.status, text_of(run)) == ("error", "so far")

    _, run = send(Backend(lambda prompt: "goes on"), conversation_id="c2")
    assert text_of(run) == "goes on"


def test_a_chunk_may_be_nothing_or_text_that_is_not_translated_yet():
    _, run = send(Backend(lambda prompt: iter([None, "", gettext_lazy("New chat"), None])), language="ja")
    with translation.override("ja"):
        assert text_of(run) == gettext("New chat")
    assert run.ended.wait(5)
    assert run.outcome.status == "complete"


def test_receivers_in_async_code_have_the_conversation():
    seen = []

    async def receive(sender, message, **kwargs):
        seen.append((kwargs["signal"], message.role, message.conversation.public_id))

    signals = [message_saved, run_started, run_finished]
    try:
        for signal in signals:
            signal.connect(receive)
        _, run = send(Backend(lambda prompt: "whole"))
        assert text_of(run) == "whole"
        assert run.ended.wait(5)
        deadline = time.monotonic() + 5
        while len(seen) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        for signal in signals:
            signal.disconnect(receive)
    roles = ["user", "assistant", "assistant", "assistant"]
    order = [message_saved, run_started, message_saved, run_finished]
    assert seen == [(signal, role, "c") for signal, role in zip(order, roles, strict=True)]


@pytest.mark.parametrize("error", [Conversation.DoesNotExist, OperationalError])
def test_receivers_hear_of_an_end_whose_conversation_is_not_to_be_had(monkeypatch, error):
    def refuse(message):
        raise error

    monkeypatch.setattr("chatsession.conversations.history.conversation_of", refuse)
    heard = threading.Event()
    run_finished.connect(hear := lambda **details: heard.set())
    try:
        send(Backend(lambda prompt: "whole"))
        assert heard.wait(5)
    finally:
        run_finished.disconnect(hear)


def test_a_seat_is_free_again_where_no_thread_can_be_had(monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    assert text_of(send(Backend(lambda prompt: "there are"), conversation_id="c0")[1]) == "there are"
    monkeypatch.setattr("chatsession.runs.produce.threading.Thread.start", refuse)
    _, run = send(Backend(lambda prompt: "never"))
    monkeypatch.undo()
    assert run.ended.wait(5)
    deadline = time.monotonic() + 5
    while engine.seats._places and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not engine.seats._places


def test_an_async_backend_that_asks_nothing_takes_no_thread(monkeypatch):
    async def plain(prompt):
        yield "whole"

    assert text_of(send(Backend(plain), conversation_id="c0")[1]) == "whole"  # the threads of the engine
    begun, start = [], threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda self: (begun.append(self.name), start(self)))
    _, run = send(Backend(plain))
    assert text_of(run) == "whole"
    assert begun == []


def test_between_the_ends_of_many_answers_there_is_time_for_others_to_join(monkeypatch):
    rounds, tick = [], engine.ticker.tick

    def timed(**options):
        began = time.monotonic()
        tick(**options)
        rounds.append((began, time.monotonic()))

    monkeypatch.setattr(engine.ticker, "tick", timed)
    gates = [Gate() for _ in range(10)]
    runs = [send(Backend(gate.stream), conversation_id=f"c{n}")[1] for n, gate in enumerate(gates)]
    for gate in gates:
        gate.open.set()
        time.sleep(0.005)
    assert all(run.ended.wait(5) for run in runs)
    assert all(begins - ended >= 0.9 * GATHER for (_, ended), (begins, _) in pairwise(rounds))


def test_an_async_backend_leaves_no_connection_behind():
    used = []

    async def counts(prompt):
        yield str(await Message.objects.acount())
        used.append(await sync_to_async(lambda: connections["default"])())

    _, run = send(Backend(counts))
    assert text_of(run) == "2"
    assert run.ended.wait(5)
    assert used[0].connection is None


def test_an_end_is_the_last_event_though_the_place_in_the_queue_changes():
    _, run = send(Gate())
    reader = Reader(run, 0)
    run.place = 2
    reader.take()
    run.place = 1
    run.end(Outcome("stopped", {}))

    assert reader.take()[-1].kind == "end"
    assert reader.finished


@pytest.mark.parametrize("there", [True, False], ids=["uvloop", "asyncio"])
def test_the_loop_is_uvloops_where_it_is_installed(monkeypatch, there):
    if not there:
        monkeypatch.setitem(sys.modules, "uvloop", None)
    engine.reset()

    async def name_of_the_loop(prompt):
        yield type(asyncio.get_running_loop()).__module__

    _, run = send(Backend(name_of_the_loop))

    assert text_of(run).startswith("uvloop") == there
    engine.reset()


def text_of(source, position: int = 0) -> str:
    return "".join(event.text for batch in follow(source, position) for event in batch)


def stored_answer() -> Message:
    return Message.objects.get(role="assistant")


def test_an_answer_is_stored_before_its_end_is_announced():
    _, run = send(Backend(lambda prompt: iter(["Good ", "day", Usage(1, 2)])))

    kinds = [event.kind for batch in follow(run, 0) for event in batch]

    assert kinds[-1] == "end"
    answer = stored_answer()
    assert (answer.status, answer.parts) == ("complete", [{"type": "text", "text": "Good day"}])
    assert answer.usage == {"inputTokens": 1, "outputTokens": 2}
    assert answer.finished_at is not None
    assert Conversation.objects.get().active_run is None


async def _coroutine(prompt):
    return "as a whole"


async def _generator(prompt):
    for word in ("as ", "a ", "whole"):
        yield word


@pytest.mark.parametrize(
    "function",
    [
        lambda prompt: "as a whole",
        lambda prompt: iter(["as ", "a ", "whole"]),
        lambda prompt: ["as ", "a ", "whole"],
        lambda prompt: _generator(prompt),
        lambda prompt: _coroutine(prompt),
        _generator,
        _coroutine,
    ],
    ids=["text", "iterator", "list", "async-iterator", "awaitable", "async-generator", "coroutine"],
)
def test_every_kind_of_function_is_a_backend(function):
    _, run = send(Backend(function))

    assert text_of(run) == "as a whole"


def test_parts_keep_their_order_and_kind():
    chunks = [Reasoning("hm"), Reasoning("m"), "See ", Source("https://example.com/", "it"), "there"]
    _, run = send(Backend(lambda prompt: iter(chunks)))

    text_of(run)

    assert stored_answer().parts == [
        {"type": "reasoning", "text": "hmm"},
        {"type": "text", "text": "See "},
        {"type": "source-url", "sourceId": "s2", "url": "https://example.com/", "title": "it"},
        {"type": "text", "text": "there"},
    ]


def test_what_no_database_stores_is_replaced():
    _, run = send(Backend(lambda prompt: iter(["a\0b", "\ud83d", "日本"])))

    assert text_of(run) == "a\ufffdb?日本"
    assert stored_answer().parts[0]["text"] == "a\ufffdb?日本"


def test_a_reader_that_leaves_does_not_end_the_run_and_a_second_one_follows_from_any_position():
    gate = Gate()
    _, run = send(gate)
    reader = follow(run, 0)
    assert next(reader)[0].kind == "start"
    gate.written.wait(5)
    reader.close()

    gate.open.set()

    assert text_of(run, position=3 + len("first ")) == "second"
    assert text_of(run, position=5) == "rst second"
    assert stored_answer().parts[0]["text"] == "first second"


def test_a_site_may_have_the_last_reader_take_the_run_along(settings):
    gate = Gate()
    _, run = send(gate)
    settings.CHATSESSION = {"ON_DISCONNECT": "stop"}
    first, second = follow(run, 0), follow(run, 0)
    next(first), next(second)
    gate.written.wait(5)

    first.close()
    assert not gate.closed.wait(0.1)
    second.close()

    assert gate.closed.wait(5)
    assert run.ended.wait(5)
    assert stored_answer().status == "stopped"


def test_an_async_reader_sees_the_same_as_a_sync_one():
    _, run = send(Backend(_generator))

    async def read() -> str:
        return "".join([event.text async for batch in afollow(run, 0) for event in batch])

    assert asyncio.run(read()) == text_of(run) == "as a whole"


def test_the_first_words_are_read_while_the_rest_is_not_written_yet():
    gate = Gate()
    _, run = send(gate)
    reader = follow(run, 0)

    seen = ""
    while "first" not in seen:
        seen += "".join(event.text for event in next(reader))

    assert not gate.open.is_set()
    gate.open.set()
    assert "".join(event.text for batch in reader for event in batch) == "second"


def test_stop_ends_the_backend_at_once_and_keeps_what_is_written():
    gate = Gate()
    _, run = send(gate)
    gate.written.wait(5)

    answer = service.stop(stored_answer())

    assert gate.closed.wait(5)
    assert answer.status == "stopped"
    assert stored_answer().parts == [{"type": "text", "text": "first "}]
    assert [event.kind for batch in follow(run, 0) for event in batch][-1] == "end"
    assert service.stop(stored_answer()).status == "stopped"


def test_a_sync_backend_that_sleeps_is_stopped_at_once_and_its_later_output_dropped():
    written, wake, returned = threading.Event(), threading.Event(), threading.Event()

    def answer(prompt):
        yield "first"
        written.set()
        wake.wait(10)
        yield "too late"
        returned.set()

    _, run = send(Backend(answer))
    written.wait(5)
    began = time.monotonic()
    assert service.stop(stored_answer()).status == "stopped"
    assert time.monotonic() - began < service.STOP_PATIENCE
    wake.set()

    assert text_of(run) == "first"
    assert not returned.wait(0.2)


def test_a_stop_before_the_run_begins_is_not_lost():
    block, blocking = threading.Event(), threading.Event()

    async def hog(prompt):
        blocking.set()
        block.wait(5)  # the loop begins nothing else meanwhile
        yield "done"

    first = send(Backend(hog))
    blocking.wait(5)
    turn, run = send(Gate(), conversation_id="c2", message_id="m2")
    run.stop()
    block.set()

    assert [event.kind for batch in follow(run, 0) for event in batch][-1] == "end"
    turn.answer.refresh_from_db()
    assert turn.answer.status == "stopped"
    assert text_of(first[1]) == "done"


def test_a_silent_run_whose_conversation_is_deleted_ends():
    gate = Gate()
    _, run = send(gate)
    gate.written.wait(5)
    while run.dirty:
        engine.ticker.wake()
        time.sleep(0.01)

    Conversation.objects.all().delete()
    engine.ticker.wake()

    assert gate.closed.wait(5)
    assert run.ended.wait(5)


def test_a_refusal_of_the_backend_is_shown_and_any_other_error_is_not(caplog):
    def refuse(prompt):
        yield "half"
        raise BackendError("The model is resting.")

    def fail(prompt):
        yield "half"
        raise ValueError("secret detail")

    _, refused = send(Backend(refuse), conversation_id="c1")
    _, failed = send(Backend(fail), conversation_id="c2", message_id="m2")
    ends = [[event for batch in follow(run, 0) for event in batch][-1] for run in (refused, failed)]

    assert [end.part["status"] for end in ends] == ["error", "error"]
    assert ends[0].part["error"] == "The model is resting."
    assert "secret" not in ends[1].part["error"]
    assert "secret detail" in caplog.text
    assert not Conversation.objects.exclude(active_run=None).exists()


def test_the_run_lives_in_a_fresh_context_but_speaks_the_visitors_language():
    from contextvars import ContextVar

    from django.utils.translation import get_language

    mark = ContextVar("mark", default="none")
    mark.set("the request's")

    async def answer(prompt):
        yield f"{mark.get()} {get_language()}"

    with override_settings(CHATSESSION={"MODELS": {"default": {"BACKEND": Backend(answer)}}}):
        ask = Ask(owner="user:1", conversation_id="c", message_id="m", text="?", language="ja")
        _, run = service.send(ask)

    assert text_of(run) == "none ja"


def test_threads_of_backends_leave_no_connection_open():
    seen = []

    def answer(prompt):
        connection = connections["default"]
        Message.objects.count()
        seen.append(connection)
        return "done"

    _, run = send(Backend(answer))

    text_of(run)
    deadline = time.monotonic() + 5
    while seen[0].connection is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert seen[0].connection is None


def test_the_text_is_written_while_the_answer_grows():
    gate = Gate()
    _, run = send(gate)
    gate.written.wait(5)

    deadline = time.monotonic() + 5
    while not stored_answer().parts and time.monotonic() < deadline:
        time.sleep(0.05)

    assert stored_answer().parts == [{"type": "text", "text": "first "}]
    gate.open.set()
    text_of(run)


def test_a_run_whose_row_another_worker_took_stops_itself():
    gate = Gate()
    _, run = send(gate)
    gate.written.wait(5)
    Message.objects.update(lease="another worker")

    run.dirty = True
    engine.ticker.wake()

    assert gate.closed.wait(5)
    assert run.ended.wait(5)
    assert stored_answer().status == "streaming"


def test_the_end_of_a_run_that_was_taken_over_does_not_free_the_conversation():
    gate = Gate()
    turn, run = send(gate)
    gate.written.wait(5)

    assert not stored.finish(turn.answer, "a worker that was taken for dead", Outcome("complete", {}))

    assert Conversation.objects.get().active_run == run.id
    gate.open.set()
    text_of(run)


def orphan(model: str, parts: list, text: str = "hello") -> Message:
    """An answer that a worker had begun when it died."""
    turn, run = send(Backend(lambda prompt: "whole"), text)
    text_of(run)
    Worker.objects.create(token="dead", renewed_at="2020-01-01T00:00Z")
    Message.objects.filter(role="assistant").update(
        status="streaming", lease="dead", model=model, parts=parts
    )
    Conversation.objects.update(active_run=turn.answer.run_id)
    return stored_answer()


def test_without_runs_the_ticker_keeps_no_connection_and_lives_on(monkeypatch):
    let_go = threading.Event()

    def release() -> None:
        if threading.current_thread().name == "chatsession-ticker":
            let_go.set()
            raise RuntimeError("as if connections were forbidden, between two tests")

    monkeypatch.setattr("chatsession.connections.release", release)
    threads = set()
    for number in range(2):
        _, run = send(Backend(lambda prompt: "whole"), message_id=f"m{number}")
        assert text_of(run) == "whole"
        assert let_go.wait(5)
        let_go.clear()
        threads.add(engine.ticker._thread)
    assert len(threads) == 1


@pytest.mark.parametrize("model", ["default", "no longer there"])
def test_an_answer_of_a_dead_worker_is_interrupted_by_whoever_looks(model, settings):
    settings.CHATSESSION = {"MODELS": {"default": {"BACKEND": Backend(lambda prompt: "other")}}}
    source = recovery.source_of(orphan(model, [{"type": "text", "text": "half"}]))

    end = list(source.refresh().events_after(0))[-1]

    assert (end.kind, end.part["status"]) == ("end", "interrupted")
    assert end.part["error"]
    assert stored_answer().parts == [{"type": "text", "text": "half"}]
    assert Conversation.objects.get().active_run is None


@pytest.mark.parametrize("written", [0, 1, 30, 10_000])
def test_a_dead_workers_answer_goes_on_where_the_backend_can_and_ends_as_if_nothing_had_been(written):
    whole = "".join(f"{number} " for number in range(1, 100)) + "100 "
    begun = [{"type": "text", "text": whole[:written]}] if written else []
    message = orphan("default", begun, text="/long 100")

    source = recovery.source_of(message)
    text = "".join(event.text for batch in follow(source, 0) for event in batch)

    assert text == stored_answer().parts[0]["text"] == whole
    assert stored_answer().status == "complete"
    assert stored_answer().lease == engine.lease


def test_a_dead_workers_answer_is_taken_over_once_however_many_look():
    message = orphan("default", [], text="/slow 20")
    barrier, runs = threading.Barrier(6), []

    def look() -> None:
        barrier.wait()
        try:
            copy = Message.objects.get(pk=message.pk)
            source = recovery.source_of(copy).refresh()
            runs.append("".join(event.text for batch in follow(source, 0) for event in batch))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=look) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert set(runs) == {stored_answer().parts[0]["text"]}
    assert len(runs) == 6


def test_an_answer_of_a_living_worker_is_followed_through_the_database():
    _, run = send(Backend(lambda prompt: "whole"))
    text_of(run)
    Worker.objects.create(token="other", renewed_at="2999-01-01T00:00Z")
    Message.objects.filter(role="assistant").update(
        status="streaming", lease="other", parts=[{"type": "text", "text": "who"}]
    )
    source = recovery.source_of(stored_answer())
    reader = follow(source, 0)
    assert "".join(event.text for event in next(reader)) == "who"

    Message.objects.filter(role="assistant").update(
        status="complete", parts=[{"type": "text", "text": "whole"}]
    )

    assert "".join(event.text for batch in reader for event in batch) == "le"


def test_signals_tell_the_beginning_and_the_end_with_timings():
    seen, done = [], threading.Event()

    def started(message, **kwargs):
        seen.append(("started", message.status))

    def finished(message, timings, **kwargs):
        seen.append(("finished", message.status, timings["first_token"] <= timings["total"]))
        done.set()

    run_started.connect(started)
    run_finished.connect(finished)
    try:
        _, run = send(Backend(lambda prompt: "done"))
        text_of(run)
        assert done.wait(5)
    finally:
        run_started.disconnect(started)
        run_finished.disconnect(finished)

    assert seen == [("started", "streaming"), ("finished", "complete", True)]


def test_a_hundred_runs_at_once_are_all_written(settings):
    settings.CHATSESSION = {"MODELS": {"default": {"BACKEND": Backend(_generator)}}}
    runs = [
        service.send(Ask(owner="user:1", conversation_id=f"c{n}", message_id=f"m{n}", text="?"))[1]
        for n in range(100)
    ]

    assert {text_of(run) for run in runs} == {"as a whole"}
    assert Message.objects.filter(role="assistant", status="complete").count() == 100
