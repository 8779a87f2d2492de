"""The clients of Redis: who shares one, and what happens when the server is away."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import pytest
import redis as driver
from django.core.exceptions import ImproperlyConfigured

from chatsession import redis
from tests.redis_server import Server, configured, needed


@pytest.fixture
def url():
    with configured(needed()):
        yield needed()


@pytest.fixture
def server():
    server = Server()
    with configured(server.url):
        yield server
    server.stop()


def test_without_a_url_there_is_none():
    with configured(None):
        assert not redis.is_configured()
        with pytest.raises(ImproperlyConfigured):
            redis.client()


def test_the_threads_of_a_process_share_a_client(url):
    with ThreadPoolExecutor(4) as pool:
        assert {pool.submit(redis.client).result() for _ in range(4)} == {redis.client()}
        assert all(pool.map(lambda _: redis.client().ping(), range(20)))


def connection_id(pipe):
    pipe.send(redis.client().client_id())


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(url):
    own = redis.client().client_id()
    receiver, sender = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=connection_id, args=[sender])
    child.start()
    assert receiver.recv() != own
    child.join()
    assert redis.client().client_id() == own


async def ask():
    """Many at once, more than there are connections."""
    client = redis.aclient()
    answers = await asyncio.gather(*(client.ping() for _ in range(2 * redis.MAX_CONNECTIONS)))
    assert all(answers)
    return client


def test_each_event_loop_has_a_client_that_ends_with_it(url):
    clients = [asyncio.run(ask()) for _ in range(3)]
    assert len(set(clients)) == 3
    assert not redis._async_clients
    del clients
    gc.collect()  # a connection that was left open would warn here


async def once():
    return redis.aclient()


def test_loops_that_were_not_ended_as_they_should_are_forgotten(url):
    loop = asyncio.new_event_loop()
    left = loop.run_until_complete(once())
    loop.close()
    assert asyncio.run(once()) is not left
    assert not redis._async_clients


def test_a_server_that_went_away_is_found_again(server):
    async def visit():
        assert await redis.aclient().ping()
        server.stop()
        with pytest.raises(driver.ConnectionError):
            redis.client().ping()
        with pytest.raises(driver.ConnectionError):
            await redis.aclient().ping()
        server.start()
        assert redis.client().ping()
        assert await redis.aclient().ping()

    assert redis.client().ping()
    asyncio.run(visit())


@pytest.mark.server
def test_a_server_that_hangs_is_an_error(server):
    async def visit():
        await redis.aclient().ping()

    server.process.send_signal(signal.SIGSTOP)
    with pytest.raises(driver.TimeoutError):
        redis.client().ping()
    with pytest.raises(driver.TimeoutError):
        asyncio.run(visit())


def test_redis_py_is_imported_when_it_is_needed():
    with configured("redis://nowhere:1/0"), mock.patch.dict(sys.modules, {"redis": None}):
        assert redis.is_configured()
        with pytest.raises(ImportError):
            redis.client()
