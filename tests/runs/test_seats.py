"""Admission: exact numbers, positions, and who gives a seat back when."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from django.db import connections

from chatsession import redis
from chatsession.bus import bus
from chatsession.conversations.turns import Ask
from chatsession.exceptions import TooManyRequests
from chatsession.models import Conversation, Message
from chatsession.runs import service, stored
from chatsession.runs.engine import Engine, engine
from chatsession.runs.follow import follow
from chatsession.runs.seats import Seats
from chatsession.testing import inline_runs
from tests.runs.test_engine import Backend, Gate
from tests.test_bus import own_server, server

__all__ = ["own_server", "server"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def limits(settings):
    def limit(backend, running: int, queued: int) -> None:
        settings.CHATSESSION = {
            "MODELS": {"default": {"BACKEND": backend}}, "MAX_RUNNING": running, "MAX_QUEUED": queued,
        }  # fmt: skip

    return limit


def send(number: int):
    return service.send(Ask(owner="user:1", conversation_id=f"c{number}", message_id=f"m{number}", text="?"))


def eventually(condition) -> bool:
    deadline = time.monotonic() + 5
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def finish(runs) -> list[str]:
    return ["".join(event.text for batch in follow(run, 0) for event in batch) for _, run in runs]


def test_a_burst_of_twelve_is_two_running_five_queued_and_five_refused_with_nothing_stored(limits):
    gate = Gate()
    limits(gate, running=2, queued=5)
    runs, refusals, barrier = [], [], threading.Barrier(12)

    def burst(number: int) -> None:
        barrier.wait()
        try:
            runs.append(send(number))
        except TooManyRequests as refused:
            refusals.append((refused.code, refused.retry_after))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=burst, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(runs) == 7
    assert refusals == [("queue_full", 5)] * 5
    assert Conversation.objects.count() == 7
    assert eventually(lambda: sorted(run.place for _, run in runs) == [0, 0, 1, 2, 3, 4, 5])
    assert eventually(lambda: Message.objects.filter(status="queued").count() == 5)
    gate.open.set()
    assert finish(runs) == ["first second"] * 7
    assert eventually(lambda: not engine.seats._places)


def test_who_waits_is_told_the_position_as_it_changes(limits):
    gate = Gate()
    limits(gate, running=1, queued=5)
    runs = [send(number) for number in range(3)]
    assert eventually(lambda: runs[2][1].place == 2)
    reader = follow(runs[2][1], 0)

    kinds = [(event.kind, event.number) for event in next(reader)]
    assert kinds == [("start", 0), ("start-step", 0), ("queue", 2)]
    service.stop(runs[1][0].answer)
    assert [(event.kind, event.number) for event in next(reader)] == [("queue", 1)]

    gate.open.set()
    rest = [event for batch in reader for event in batch]
    assert "".join(event.text for event in rest) == "first second"
    finish(runs)


def test_stopping_a_waiting_run_frees_its_seat_at_once(limits):
    gate = Gate()
    limits(gate, running=1, queued=1)
    first, second = send(1), send(2)
    with pytest.raises(TooManyRequests):
        send(3)

    assert service.stop(second[0].answer).status == "stopped"

    third = send(3)
    gate.open.set()
    assert finish([first, third]) == ["first second"] * 2
    assert finish([second]) == [""]


def test_a_sync_backend_that_sleeps_holds_its_slot_till_it_returns(limits):
    began, wake = threading.Event(), threading.Event()

    def answer(prompt):
        began.set()
        wake.wait(10)
        return "too late"

    limits(Backend(answer), running=1, queued=0)
    turn, run = send(1)
    began.wait(5)

    assert service.stop(turn.answer).status == "stopped"
    assert finish([(turn, run)]) == [""]
    with pytest.raises(TooManyRequests):
        send(2)
    wake.set()

    assert eventually(lambda: not engine.seats._places)
    finish([send(2)])


def test_a_repeated_send_needs_no_seat(limits):
    gate = Gate()
    limits(gate, running=1, queued=0)
    first = send(1)

    again = send(1)

    assert again[0].attached
    gate.open.set()
    assert finish([first, again]) == ["first second"] * 2


def test_a_refused_turn_gives_its_place_back(limits):
    gate = Gate()
    limits(gate, running=1, queued=1)
    first = send(1)
    ask = Ask(owner="user:1", conversation_id="c1", message_id="other", text="?")
    for _ in range(3):
        with pytest.raises(Exception, match="run_active"):
            service.send(ask)

    second = send(2)

    gate.open.set()
    assert finish([first, second]) == ["first second"] * 2


def test_a_wait_that_is_cancelled_leaves_no_position(limits, monkeypatch):
    limits(None, running=0, queued=2)
    seats = Seats()
    run = SimpleNamespace(place=0, message=Message(), notify=lambda: None)
    release = seats.release

    def release_while_the_bus_looks(place):
        seats._settle({place: 1})
        release(place)

    monkeypatch.setattr(seats, "release", release_while_the_bus_looks)

    async def wait_and_give_up():
        waiting = asyncio.create_task(seats.sit(seats.reserve(), run))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])

    asyncio.run(wait_and_give_up())

    assert (run.dirty, run.place) == (True, 0)


# The line of a site: two processes, as two ``Seats`` have it


@pytest.fixture
def two(server, settings):
    settings.CHATSESSION |= {"MAX_RUNNING": 2, "MAX_QUEUED": 3}
    return Seats(), Seats()


def taken() -> int:
    return redis.client().zcard(redis.key("seats", "order"))


def test_all_processes_admit_as_many_as_one_would(two):
    barrier = threading.Barrier(20)

    def reserve(number: int) -> int | None:
        barrier.wait()
        try:
            return two[number % 2].reserve().rank
        except TooManyRequests:
            return None

    with ThreadPoolExecutor(20) as pool:
        ranks = list(pool.map(reserve, range(20)))

    assert sorted(rank for rank in ranks if rank is not None) == [0, 1, 2, 3, 4]
    assert taken() == 5


def test_the_next_in_line_is_seated_in_whatever_process(two):
    here, there = two
    first = here.reserve()
    line = [there.reserve() for _ in range(4)]

    here.release(first)
    here.renew()
    there.renew()

    assert [place.rank for place in line] == [0, 1, 2, 3]
    assert [place.waits for place in line] == [False, False, True, True]


def test_a_place_that_is_given_back_may_be_taken_at_once(two):
    here, _ = two
    places = [here.reserve() for _ in range(5)]

    here.release(places[0])

    here.reserve()


def test_a_run_that_is_taken_over_is_admitted_though_all_places_are_taken(two):
    here, there = two
    for _ in range(5):
        here.reserve()

    assert there.force().waits
    assert taken() == 6


def test_the_line_is_there_again_in_its_order_when_redis_has_lost_it(two):
    here, there = two
    places = [seats.reserve() for seats in (here, there, here, there)]
    redis.client().flushdb()

    there.renew()
    here.renew()
    there.renew()

    assert [place.rank for place in places] == [0, 1, 2, 3]


def test_while_redis_is_away_each_process_has_its_own_line_and_then_the_site_again(two, server):
    here, there = two
    here.reserve()
    given_back = here.reserve()
    server.stop()

    assert [there.reserve().waits for _ in range(5)] == [False, False, True, True, True]
    with pytest.raises(TooManyRequests):
        there.reserve()
    here.release(given_back)
    server.start()

    assert eventually(lambda: bus.ask(lambda client: client.ping()))
    for seats in two:
        seats.renew()
    assert taken() == 1 + 5
    with pytest.raises(TooManyRequests):
        here.reserve()


def test_the_places_of_a_process_that_is_gone_come_free_after_its_lease(two, monkeypatch):
    here, there = two
    monkeypatch.setattr(stored, "LEASE", 0.05)
    for _ in range(5):
        here.reserve()

    time.sleep(0.1)

    assert not there.reserve().waits


def test_a_process_that_ends_gives_its_places_back(two):
    here, _ = two
    for _ in range(3):
        here.reserve()

    here.leave()

    assert taken() == 0


def test_runs_inside_requests_take_no_places_of_the_site(server, limits, settings, monkeypatch):
    started, places = [], []
    monkeypatch.setattr(bus, "start", lambda: not started.append(True))
    limits(Backend(lambda prompt: places.append(taken()) or "answer"), running=1, queued=0)
    settings.CHATSESSION |= {"REDIS_URL": server.url}

    with inline_runs():
        finish([send(1), send(2)])

    assert (places, started) == ([0, 0], [])


def test_an_engine_that_leaves_gives_its_places_back(server, limits, settings, monkeypatch):
    gate, other = Gate(), Engine()
    monkeypatch.setattr(service, "engine", other)
    limits(gate, running=1, queued=0)
    settings.CHATSESSION |= {"REDIS_URL": server.url}
    _, run = send(1)
    assert gate.written.wait(5)
    assert taken() == 1

    other.leave()

    assert taken() == 0
    run.stop()
