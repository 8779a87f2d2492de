"""Several processes and one Redis: what happens in one is known in the others, at once."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

from tests.faults.hosts import kill, workers
from tests.faults.reading import Reading
from tests.redis_server import Server
from tests.servers import migrate, serve
from tests.test_bus import eventually
from tests.test_hosts import GTHREAD, Guest, host, read

pytestmark = pytest.mark.server

SERVERS = ["uvicorn", "gunicorn"]


@pytest.fixture(scope="module")
def database_url(tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('events')}/db.sqlite3"
    migrate(url)
    return url


@contextmanager
def redis_server():
    redis = Server()
    try:
        yield redis
    finally:
        redis.stop()


def variables(redis, site=None, **others):
    """The environment of a process of the site."""
    settings = json.dumps({"REDIS_URL": redis.url, **(site or {})})
    return {"DJANGO_SETTINGS_MODULE": "tests.runs.site", "TEST_CHATSESSION": settings, **others}


@contextmanager
def processes(database_url, site=None, **others):
    """(ports, Redis) of two servers of one site, and a Redis of their own."""
    with redis_server() as redis, ExitStack() as stack:
        environment = variables(redis, site, **others)
        yield [stack.enter_context(serve(server, database_url, **environment)) for server in SERVERS], redis


@pytest.fixture(scope="module")
def deaf(database_url):
    """Two that look into the database once in an hour."""
    with processes(database_url, TEST_DEAF="1") as (ports, _):
        yield ports


@pytest.mark.parametrize("turned", [False, True], ids=["uvicorn-writes", "gunicorn-writes"])
def test_an_answer_is_read_in_another_process_as_it_grows(deaf, turned):
    here, there = reversed(deaf) if turned else deaf
    guest = Guest(here)
    sent = guest.send(here, "/slow 30")

    reading = read(guest.follow(there))

    assert reading.text == read(sent).text
    assert (reading.end, reading.faults, reading.replays) == ("finish", [], 0)


def test_an_answer_is_resumed_from_process_to_process_where_it_was_left(deaf):
    guest = Guest(deaf[0])
    reading = read(guest.send(deaf[0], "/slow 60"), words=2)

    for turn in range(1, 7):
        read(guest.follow(deaf[turn % 2], reading.cursor), reading, words=2 + 3 * turn)
    read(guest.follow(deaf[1], reading.cursor), reading)

    assert reading.text == read(guest.send(deaf[0], "/slow 1")).text
    assert (reading.end, reading.faults, reading.replays) == ("finish", [], 0)


def test_a_stop_reaches_the_process_that_writes(deaf):
    here, there = deaf
    guest = Guest(here)
    response = guest.send(here, "/stall")

    assert guest.stop(there)["stopped"]

    assert read(response).end == "abort"


def test_a_session_that_ends_in_one_process_ends_its_streams_in_the_other(deaf):
    here, there = deaf
    guest = Guest(here)
    response = guest.send(here, "/slow 300")
    assert response.status == 200

    guest.open(there, "GET", "/session/flush").close()

    assert read(response).end is None


def at_once(function, count):
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(function, range(count)))


def beginning(response):
    """The position in the queue that a stream tells first of all, or its first words."""
    for line in response:
        if line.startswith(b"data: {"):
            frame = json.loads(line.removeprefix(b"data: "))
            if frame["type"] == "data-queue":
                return frame["data"]["position"]
            if frame["type"] == "text-delta":
                return frame["delta"]
    return None


@pytest.fixture
def limited(database_url):
    """Two processes that write two answers at once between them, while five wait."""
    with processes(database_url, site={"MAX_RUNNING": 2, "MAX_QUEUED": 5}) as (ports, _):
        yield ports


def test_a_burst_of_twelve_is_two_running_five_queued_and_five_refused(limited):
    guests = [Guest(limited[n % 2]) for n in range(12)]
    responses = at_once(lambda n: guests[n].send(limited[n % 2], "/stall"), 12)

    answered = [n for n in range(12) if responses[n].status == 200]
    refused = [json.load(response)["error"]["code"] for response in responses if response.status == 429]
    began = {n: beginning(responses[n]) for n in answered}
    waiting = sorted((place, n) for n, place in began.items() if isinstance(place, int))

    assert refused == ["queue_full"] * 5
    assert [place for place, _ in waiting] == [1, 2, 3, 4, 5]
    last = waiting[-1][1]
    assert beginning(guests[last].follow(limited[(last + 1) % 2])) == 5

    for n in answered:  # in the other process; the next in line is seated, wherever that is
        if isinstance(began[n], str):
            assert guests[n].stop(limited[(n + 1) % 2])["stopped"]
    for _, n in waiting:
        while isinstance(beginning(responses[n]), int):
            pass
        assert guests[n].stop(limited[(n + 1) % 2])["stopped"]
        assert read(responses[n]).end == "abort"
    assert Guest(limited[0]).send(limited[0], "/stall").status == 200


def test_a_rate_counts_over_all_processes(database_url):
    with processes(database_url, site={"RATE": {"guest": "5/h"}}) as (ports, _):
        guests = [Guest(ports[n % 2]) for n in range(12)]
        statuses = at_once(lambda n: guests[n].send(ports[n % 2], "/slow 0").status, 12)

    assert sorted(statuses) == [200] * 5 + [429] * 7


def test_the_seats_of_a_process_that_was_killed_come_free(database_url):
    limits = {"MAX_RUNNING": 1, "MAX_QUEUED": 0}
    with redis_server() as redis, ExitStack() as stack:
        site = variables(redis, limits, TEST_LEASE="2")
        (process, here), (_, there) = (
            stack.enter_context(host(GTHREAD, database_url, **site)) for _ in range(2)
        )
        guest = Guest(there)
        Guest(here).send(here, "/stall")
        assert guest.send(there, "/slow 0").status == 429

        for pid in [process.pid, *workers(process)]:
            kill(pid)

        assert eventually(lambda: guest.send(there, "/slow 0").status == 200)


@pytest.mark.parametrize("reader", [0, 1], ids=SERVERS)
def test_redis_may_go_and_come_back_in_mid_answer(database_url, reader):
    limits = {"MAX_RUNNING": 2, "MAX_QUEUED": 0, "RATE": {"guest": "9/h"}}
    with processes(database_url, site=limits) as (ports, redis), ThreadPoolExecutor() as pool:
        here, there = ports[1 - reader], ports[reader]
        guest, reading = Guest(here), Reading("")
        sent = pool.submit(read, guest.send(here, "/slow 150"))
        followed = pool.submit(read, guest.follow(there), reading)
        assert eventually(lambda: "One" in reading.text)

        redis.stop()
        before = len(reading.text)
        assert read(Guest(there).send(there, "/slow 1")).end == "finish"  # by the process's own limits
        assert eventually(lambda: len(reading.text) > before)
        redis.start()
        before = len(reading.text)
        assert eventually(lambda: len(reading.text) > before)
        assert read(Guest(there).send(there, "/slow 1")).end == "finish"

        assert followed.result().text == sent.result().text == reading.text
        assert (reading.end, reading.faults, reading.replays) == ("finish", [], 0)
