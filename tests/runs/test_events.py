"""Several processes and one Redis: what happens in one is known in the others, at once."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager

import pytest

from tests.redis_server import clean, needed
from tests.servers import migrate, serve
from tests.test_hosts import Guest, read

pytestmark = pytest.mark.server

SERVERS = ["uvicorn", "gunicorn"]


@pytest.fixture(scope="module")
def database_url(tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('events')}/db.sqlite3"
    migrate(url)
    return url


@contextmanager
def processes(database_url, redis_url, servers=SERVERS, values=None, **variables):
    """The ports of servers of one site."""
    site = json.dumps({"REDIS_URL": redis_url, **(values or {})})
    variables = {"DJANGO_SETTINGS_MODULE": "tests.runs.site", "TEST_CHATSESSION": site, **variables}
    with ExitStack() as stack:
        yield [stack.enter_context(serve(server, database_url, **variables)) for server in servers]


@pytest.fixture(scope="module")
def deaf(database_url):
    """Two that look into the database once in an hour."""
    clean(needed())
    with processes(database_url, needed(), TEST_DEAF="1") as ports:
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
