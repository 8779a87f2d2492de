from __future__ import annotations

import asyncio
import os
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import override_settings

from chatsession.middleware import SessionMiddleware
from chatsession.stores.memory import SWEEP, SessionStore

LONG = "TEST_SLOW" in os.environ


def saved(**values):
    session = SessionStore()
    session.update(values)
    session.save()
    return session


def lives(session):
    return session.exists(session.session_key)


def test_the_least_recently_used_session_makes_room():
    with override_settings(CHATSESSION={"MAX_SESSIONS": 3}):
        first, second, third = saved(n=1), saved(n=2), saved(n=3)
        assert SessionStore(first.session_key)["n"] == 1
        fourth = saved(n=4)
        assert SessionStore.count() == 3
    assert [lives(session) for session in (first, second, third, fourth)] == [True, False, True, True]


def test_new_sessions_sweep_out_expired_ones_wherever_they_are():
    sessions = [saved(n=n) for n in range(3 * SWEEP)]
    for session in sessions[::2]:
        session.set_expiry(-1)
        session.save()
    for _ in range(4):
        saved()
    assert len(SessionStore._records) == len(sessions) / 2 + 4


def test_what_the_sweep_remembers_stays_bounded():
    session = saved()
    for _ in range(100):
        session.cycle_key()
        saved().flush()
    assert len(SessionStore._sweep) < 30


def test_threads_that_alternate_at_any_moment_lose_nothing():
    session = saved(n=0)

    def write(number):
        for _ in range(20):
            own = SessionStore(session.session_key)
            own[f"own {number}"] = number
            own.save()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(write, range(40))) == [None] * 40
    finally:
        sys.setswitchinterval(interval)
    assert len(dict(SessionStore(session.session_key))) == 41


def test_a_record_shares_no_object_with_a_request():
    value = {"list": [1]}
    session = saved(value=value)
    value["list"].append(2)
    assert SessionStore(session.session_key)["value"] == {"list": [1]}


def test_it_needs_no_thread_in_async(monkeypatch):
    async def visit():
        session = SessionStore()
        await session.aset("a", 1)
        await session.asave()
        await session.acycle_key()
        return await SessionStore(session.session_key).aget("a")

    def refuse(*args, **kwargs):
        raise AssertionError("a thread hop")

    monkeypatch.setattr("chatsession.stores.steps.sync_to_async", refuse)
    assert asyncio.run(visit()) == 1


def visit(count, **values):
    """Requests without a cookie: each reads its session, and stores the values if there are any."""

    def view(request):
        assert "history" not in request.session
        if values:
            request.session.update(values)
        return HttpResponse()

    middleware = SessionMiddleware(view)
    for _ in range(count):
        middleware(HttpRequest())


@pytest.mark.matrix
@override_settings(
    SESSION_ENGINE="chatsession.stores.memory", CHATSESSION={"MAX_SESSIONS": 100_000 if LONG else 1000}
)
def test_however_many_come_it_stays_within_its_bounds():
    """50,000 visits and 5,000 new sessions (1,000,000 and 200,000 with TEST_SLOW)."""
    visit(1_000_000 if LONG else 50_000)
    assert SessionStore.count() == 0
    visit(200_000 if LONG else 5000, n=1)
    bound = 100_000 if LONG else 1000
    assert SessionStore.count() == bound
    assert {len(SessionStore._records), len(SessionStore._hashes)} == {bound}
    assert len(SessionStore._sweep) < 2 * bound


@pytest.mark.matrix
def test_an_empty_session_takes_little_memory():
    """At most 3 kB each of 10,000."""
    with override_settings(CHATSESSION={"MAX_SESSIONS": 10_000}):
        SessionStore().create()
        tracemalloc.start()
        try:
            for _ in range(9999):
                SessionStore().create()
            taken, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert SessionStore.count() == 10_000
    assert taken < 10_000 * 3000
