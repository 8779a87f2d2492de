"""An answer as another process has it; here the two are one process, and the Redis between them is real."""

from __future__ import annotations

import json
import threading

import pytest

from chatsession import redis
from chatsession.bus import bus
from chatsession.models import Conversation, Message
from chatsession.runs import broadcast, mirror
from chatsession.runs.engine import engine
from chatsession.runs.follow import Lost, follow
from chatsession.runs.mirror import Mirror
from chatsession.runs.recovery import look_after
from tests.runs.test_engine import Gate, send, stored_answer, text_of
from tests.test_bus import eventually, own_server, server

__all__ = ["own_server", "server"]
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def gate():
    """A model that has written its first word and waits."""
    gate = Gate()
    yield gate
    gate.open.set()
    for run in list(engine.live.values()):
        run.ended.wait(5)


def begin(gate):
    """(the run, its mirror)."""
    turn, run = send(gate)
    assert gate.written.wait(5)
    return run, Mirror(Message.objects.get(pk=turn.answer.pk), look_after)


def broadcast_to(copy, run):
    """As if the announcement of ``copy`` had come from another process."""
    news = threading.Event()
    copy.subscribe(news.set)
    engine.broadcast.begin(run.id)
    return news


def test_a_mirror_has_what_the_run_has_and_polls_no_more(server, gate):
    run, copy = begin(gate)
    assert copy.poll

    broadcast_to(copy, run)

    assert eventually(lambda: copy.poll is None)
    assert copy.events_after(0) == run.events_after(0)
    gate.open.set()
    assert text_of(copy) == text_of(run) == "first second"


def test_a_mirror_without_redis_polls_and_is_live_again_with_it(server, gate):
    run, copy = begin(gate)
    news = broadcast_to(copy, run)
    assert eventually(lambda: copy.poll is None)

    news.clear()
    server.stop()
    assert eventually(lambda: copy.poll)
    assert news.is_set()  # or its readers would not poll before their next heartbeat
    server.start()

    assert eventually(lambda: copy.poll is None)
    gate.open.set()
    assert text_of(copy) == "first second"


def test_a_worker_that_falls_silent_is_looked_after(server, gate, monkeypatch):
    run, copy = begin(gate)
    broadcast_to(copy, run)
    assert eventually(lambda: copy.poll is None)

    monkeypatch.setattr(mirror, "SILENCE", 0)

    assert eventually(lambda: copy.poll)


def test_a_silent_model_is_not_a_silent_worker(server, gate):
    run, copy = begin(gate)
    broadcast_to(copy, run)
    key = broadcast.stream_key(run.id)

    assert eventually(lambda: redis.client().xlen(key) >= 2)

    assert copy.poll is None
    assert redis.client().ttl(key) > 0


def news(copy, **values) -> bytes:
    entry = {"lease": engine.lease, "behind": [0, 0], "rest": [], "place": 0, "end": False}
    return json.dumps(entry | values).encode()


def test_what_a_worker_says_that_has_lost_the_run_is_not_listened_to(gate):
    _, copy = begin(gate)

    copy.hear(news(copy, lease="taken for dead", rest=[{"type": "text", "text": "other"}]))

    assert copy.poll
    assert "other" not in text_so_far(copy)


def test_behind_a_gap_everything_is_asked_for_again(gate, monkeypatch):
    _, copy = begin(gate)
    asked = []
    monkeypatch.setattr(bus, "announce", lambda *words: asked.append(words))

    copy.hear(news(copy, behind=[1, 50], rest=[{"type": "text", "text": "second"}]))

    assert asked == [("read", stored_answer().run_id)]
    assert copy.poll
    copy.hear(news(copy, rest=[{"type": "text", "text": "first second"}]))
    assert (copy.poll, text_so_far(copy)) == (None, "first second")


def text_so_far(source) -> str:
    return "".join(event.text for event in source.events_after(0))


@pytest.mark.parametrize(
    ("row", "is_lost"),
    [("first second and more", False), ("first sec", True), ("something else that is longer", True)],
)
def test_a_reader_goes_on_with_a_row_only_if_it_is_what_was_read(gate, row, is_lost):
    run, copy = begin(gate)
    copy.hear(news(copy, rest=[{"type": "text", "text": "first second"}]))
    reader = follow(copy, 0)
    next(reader)
    run.stop()  # dead, for what its reader knows
    assert run.ended.wait(5)
    Message.objects.filter(pk=run.message.pk).update(
        status="interrupted", parts=[{"type": "text", "text": row}], lease="another"
    )

    copy.look(away=True)

    if is_lost:
        with pytest.raises(Lost):
            list(reader)
    else:
        assert "".join(event.text for batch in reader for event in batch) == " and more"


def test_a_mirror_of_what_is_deleted_sends_its_readers_away(gate):
    _, copy = begin(gate)
    reader = follow(copy, 0)
    next(reader)
    Conversation.objects.all().delete()

    with pytest.raises(Lost):
        list(reader)


def test_a_reader_in_another_process_does_not_keep_a_run_from_ending_with_its_last_one(
    server, gate, settings
):
    run, copy = begin(gate)
    broadcast_to(copy, run)
    reader = follow(run, 0)
    next(reader)
    settings.CHATSESSION |= {"ON_DISCONNECT": "stop"}

    reader.close()

    assert gate.closed.wait(5)


def test_a_reader_that_comes_while_the_last_one_leaves_is_not_forgotten(server, gate, monkeypatch):
    run, copy = begin(gate)
    leaver = broadcast_to(copy, run)
    assert eventually(lambda: copy.poll is None)
    comer, unfollow = threading.Thread(target=copy.subscribe, args=[lambda: None]), bus.unfollow

    def unfollow_late(tail):
        comer.start()
        comer.join(0.2)
        unfollow(tail)

    monkeypatch.setattr(bus, "unfollow", unfollow_late)
    copy.unsubscribe(leaver.set)
    comer.join()

    monkeypatch.setattr(mirror, "SILENCE", 0)
    assert eventually(lambda: copy.poll)


def test_an_answer_that_is_asked_for_again_and_again_is_kept_once(server, gate):
    run, copy = begin(gate)
    sender, key = broadcast.Broadcast(engine.live), broadcast.stream_key(run.id)
    sender.begin(run.id)
    sender.go_round()
    [(seen, _)] = redis.client().xrange(key)

    for _ in range(3):
        sender.begin(run.id)
        sender.go_round()

    assert redis.client().xlen(key) == 1
    gate.open.set()
    assert run.ended.wait(5)
    sender.go_round()
    [(_, entries)] = redis.client().xread({key: seen})
    assert len(entries) == 2
    for _, fields in entries:
        copy.hear(fields[b"news"])
    assert text_so_far(copy) == "first second"


def test_the_readers_of_a_process_share_a_mirror(server, gate):
    begin(gate)
    message = stored_answer()
    one, two = (mirror.mirror_of(message, look_after) for _ in range(2))

    assert one is two
    one.lost = True
    assert mirror.mirror_of(message, look_after) is not one


def test_a_reader_is_waited_for_until_the_mirror_is_as_far(gate):
    _, copy = begin(gate)
    threading.Timer(0.1, copy.hear, [news(copy, rest=[{"type": "text", "text": "first second"}])]).start()

    mirror.catch_up(copy, 3 + len("first second"))

    assert text_so_far(copy) == "first second"
