from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

from django.test import override_settings

from chatsession.stores.memory import SWEEP, SessionStore


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
