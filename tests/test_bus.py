"""What processes tell each other, and what they do while Redis is away."""

from __future__ import annotations

import logging
import time

import pytest

from chatsession import redis
from chatsession.bus import Bus, bus, news_key
from tests.redis_server import Server, clean, configured, needed


@pytest.fixture
def url():
    clean(needed())
    with configured(needed()):
        yield needed()


@pytest.fixture(scope="session")
def own_server():
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def server(own_server):
    """An empty Redis that may be stopped and started, and that the site knows to be there."""
    clean(own_server.url)
    with configured(own_server.url):
        assert eventually(lambda: bus.ask(lambda client: client.ping()))
        yield own_server


@pytest.fixture
def two():
    """As two processes have it. Their threads end with the setting, once they have looked at it."""
    buses = Bus(), Bus()
    yield buses
    for one in buses:
        one.ring()


def eventually(condition) -> bool:
    deadline = time.monotonic() + 10
    while not (done := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return done


class Tail:
    def __init__(self, key: str) -> None:
        self.key, self.heard, self.away = key, [], None

    def hear(self, news: bytes) -> None:
        self.heard.append(news)

    def look(self, *, away: bool) -> None:
        self.away = away


def test_what_one_announces_the_others_hear_in_order(url, two):
    here, there = two
    heard, echo = [], []
    there.on("word", heard.append)
    here.on("word", echo.append)
    there.start()

    for word in ("one", "two", "三"):
        here.announce("word", word)

    assert eventually(lambda: len(heard) == 3)
    assert heard == ["one", "two", "三"]
    assert echo == []


def test_what_was_announced_while_a_process_began_to_listen_is_not_lost(url, two):
    here, there = two
    heard = []
    here.announce("word", "early")
    assert eventually(lambda: redis.client().exists(news_key()))

    there.on("word", heard.append)
    there.start()

    assert eventually(lambda: heard == ["early"])


def test_a_hearer_that_fails_does_not_make_the_others_deaf(url, two, caplog):
    here, there = two
    heard = []
    there.on("bad", lambda value: 1 / 0)
    there.on("word", heard.append)
    there.start()

    here.announce("bad")
    here.announce("unheard of")
    here.announce("word", "good")

    assert eventually(lambda: heard == ["good"])
    assert caplog.text.count("Traceback") == caplog.text.count("ZeroDivisionError: ") == 1


def test_a_stream_is_read_from_its_begin_and_on_for_as_long_as_it_is_followed(url, two):
    here, there = two
    tail = Tail(redis.key("run", "r"))
    redis.client().xadd(tail.key, {"news": "1"})

    here.start()
    here.follow(tail)
    there.announce("look")
    assert eventually(lambda: tail.heard == [b"1"])
    redis.client().xadd(tail.key, {"news": "2"})

    assert eventually(lambda: tail.heard == [b"1", b"2"])


def test_without_redis_nothing_starts_and_nothing_is_asked(two):
    here, _ = two
    with configured(None):
        here.announce("word", "x")
        assert not here.start()
        assert here.ask(lambda client: client.ping()) is None
    assert not here._threads


def test_a_redis_that_is_away_is_asked_once_in_a_while_and_the_log_says_so_once(
    server, two, caplog, monkeypatch
):
    here, _ = two
    asked = []

    def question(client):
        asked.append(client)
        return client.ping()

    caplog.set_level(logging.WARNING, "chatsession.redis")
    monkeypatch.setattr("chatsession.bus.PATIENCE", 1000)
    assert here.ask(question)
    server.stop()

    assert [here.ask(question) for _ in range(5)] == [None] * 5
    assert (here.is_away, len(asked)) == (True, 2)
    server.start()
    here._ask_again = 0.0

    assert here.ask(question)
    said = [record.message for record in caplog.records if record.threadName == "MainThread"]
    assert [line.partition(":")[0] for line in said] == ["Redis is away", "Redis is back"]


def test_a_redis_that_may_be_read_but_not_written_to_is_away_until_it_may_be(server, two, monkeypatch):
    here, _ = two
    looks = []
    tail = Tail(redis.key("run", "r"))
    tail.look = lambda *, away: looks.append(away)

    def write():
        return here.ask(lambda client: client.set(redis.key("word"), "x"))

    monkeypatch.setattr("chatsession.bus.PATIENCE", 0.05)
    here.follow(tail)
    here.start()
    redis.client().config_set("maxmemory", 1)
    try:
        assert write() is None
        looks.clear()
        assert eventually(lambda: len(looks) >= 5)
        assert here.is_away
        assert not any(looks)
    finally:
        redis.client().config_set("maxmemory", 0)

    assert eventually(write)
    assert not here.is_away


def test_listening_goes_on_when_redis_is_back_and_has_lost_everything(server, two):
    here, there = two
    heard, tail = [], Tail(redis.key("run", "r"))
    there.on("word", heard.append)
    there.start()
    there.follow(tail)
    here.announce("word", "before")
    redis.client().xadd(tail.key, {"news": "0"}, id="9999999999999-0")  # its clock was fast
    assert eventually(lambda: (heard, tail.heard) == (["before"], [b"0"]))

    server.stop()
    assert eventually(lambda: tail.away)
    here.announce("word", "lost")
    server.start()
    assert eventually(lambda: tail.away is False)
    assert eventually(lambda: not here.is_away or here.ask(lambda client: client.ping()))
    here.announce("word", "after")
    redis.client().xadd(tail.key, {"news": "1"})

    assert eventually(lambda: heard[-1] == "after")
    assert eventually(lambda: tail.heard[-1] == b"1")
