"""What the Redis store does beyond the contract of all stores."""

from __future__ import annotations

import asyncio
import json
import random
from datetime import timedelta
from unittest import mock

from django.test import SimpleTestCase
from django.utils import timezone

from chatsession import redis
from chatsession.signing import hash_key
from chatsession.stores.base import Cause
from chatsession.stores.redis import GRACE, SessionStore
from tests.redis_server import OnRedis, needed
from tests.servers import environment
from tests.writers import TwoProcesses

KINDS = ("session", "handle", "guest", "user", "seen", "expires")


def saved(**values):
    session = SessionStore()
    session.update(values)
    session.save()
    return session


def keys():
    """The names of all that the store has, without what they have in common."""
    names = {name.decode().removeprefix(redis.key("")) for name in redis.client().scan_iter(redis.key("*"))}
    return {name for name in names if name.partition(":")[0] in KINDS}


def name_of(session):
    return redis.key("session", hash_key(session.session_key))


class ConcurrencyTests(OnRedis, TwoProcesses, SimpleTestCase):
    store = SessionStore

    def environment(self):
        return environment("sqlite:///:memory:", TEST_STORE="redis", TEST_REDIS=needed())


class KeyTests(OnRedis, SimpleTestCase):
    def test_a_session_is_a_hash_that_leads_to_no_key(self):
        session = saved(a=1, _auth_user_id="7", _chatsession_guest="g")
        found = redis.client().hgetall(name_of(session))
        facts = json.loads(found[b"facts"])
        assert (found[b"v:a"], facts["user"], facts["guest"]) == (b"1", "7", "g")
        everything = repr([found, keys()])
        assert session.handle in everything
        assert session.session_key not in everything

    def test_whatever_ends_a_session_leaves_nothing(self):
        for end in (
            lambda session: session.flush(),
            lambda session: SessionStore.revoke(session.handle),
            lambda session: session._expire(hash_key(session.session_key), timezone.now() + timedelta(400)),
            lambda session: (session.set_expiry(-1), session.save(), SessionStore.clear_expired()),
        ):
            session = saved(_auth_user_id="7", _chatsession_guest="g")
            session.cycle_key()
            assert len(keys()) == 6
            end(session)
            assert keys() == set()

    def test_a_guest_and_a_user_who_are_not_it_any_more_are_not_found_by_it(self):
        session = saved(_auth_user_id="7", _chatsession_guest="g")
        session["_auth_user_id"], session["_chatsession_guest"] = "8", "h"
        session.save()
        assert {"user:8", "guest:h"} < keys()
        assert not {"user:7", "guest:g"} & keys()

    def test_all_of_it_expires_when_the_record_has_been_expired_for_a_while(self):
        session = saved(_auth_user_id="7", _chatsession_guest="g")
        own = keys() - {"seen", "expires"}
        end = SessionStore.info(session.handle).expires_at.timestamp() + GRACE
        assert {int(redis.client().pexpiretime(redis.key(name)) / 1000) for name in own} == {int(end)}

    def test_what_is_stored_as_long_expired_can_still_say_so(self):
        for end in (timezone.now() - timedelta(days=30), timezone.now().replace(year=1903)):
            session = saved(a=1)
            session.set_expiry(end)
            session.save()
            assert SessionStore(session.session_key).cause is Cause.EXPIRED


class IndexTests(OnRedis, SimpleTestCase):
    def test_what_went_away_behind_its_back_is_taken_out_of_the_indexes(self):
        gone, left = saved(_auth_user_id="7"), saved(_auth_user_id="7")
        redis.client().delete(name_of(gone))
        assert [info.handle for info in SessionStore.list(user_id="7")] == [left.handle]
        assert [info.handle for info in SessionStore.list()] == [left.handle]
        for index in ("seen", "expires", "user:7"):
            assert redis.client().zrange(redis.key(index), 0, -1) == [left.handle.encode()]
        assert (SessionStore.count(), SessionStore.count(user_id="7")) == (1, 1)

    def test_a_session_of_somebody_else_is_taken_out_of_a_users(self):
        session = saved(_auth_user_id="7")
        redis.client().zadd(redis.key("user", "8"), {session.handle: 1})
        assert SessionStore.list(user_id="8") == []
        assert "user:8" not in keys()

    def test_a_write_puts_back_what_is_missing(self):
        session = saved(_auth_user_id="7", _chatsession_guest="g")
        redis.client().delete(*(redis.key(name) for name in keys() if not name.startswith("session:")))
        assert SessionStore.list() == []
        session["a"] = 1
        session.save()
        assert [info.handle for info in SessionStore.list(user_id="7")] == [session.handle]
        assert SessionStore.guests_among({"g"}) == {"g"}

    def test_what_has_expired_makes_room_at_the_next_new_ones(self):
        for _ in range(25):
            session = saved(a=1)
            redis.client().delete(name_of(session), redis.key("handle", session.handle))
            redis.client().zadd(redis.key("expires"), {session.handle: 1})
        for _ in range(3):
            saved(a=1)
        assert redis.client().zcard(redis.key("seen")) == redis.client().zcard(redis.key("expires")) == 3

    def test_logins_of_one_user_do_not_gather(self):
        for _ in range(100):
            redis.client().delete(name_of(saved(_auth_user_id="7")))
        assert redis.client().zcard(redis.key("user", "7")) < 20

    def test_no_user_is_not_everybody(self):
        saved(a=1)
        assert SessionStore.list(user_id="") == []


class ScriptTests(OnRedis, SimpleTestCase):
    def test_a_server_that_has_forgotten_the_script_gets_it_again(self):
        session = saved(a=1)
        redis.client().script_flush()
        session["a"] = 2
        session.save()
        redis.client().script_flush()
        asyncio.run(session.aset("a", 3))
        asyncio.run(session.asave())
        assert dict(SessionStore(session.session_key)) == {"a": 3}

    def test_a_writer_that_was_overtaken_gets_what_is_there_now(self):
        key = saved(a=1, b=1).session_key
        mine, other = SessionStore(key), SessionStore(key)
        assert mine["a"] == other["a"] == 1
        other["b"] = 2
        other.save()
        mine["a"] = 2
        mine.save()
        assert dict(mine) == {"a": 2, "b": 2}

    def test_only_what_was_changed_travels(self):
        session = saved(big="x" * 100_000, n=1)
        before = received()
        session["n"] = 2
        session.save()
        assert received() - before < 2000

    def test_any_keys_and_bytes_come_back(self):
        values = {"": 0, "日本語\n": "\x00", "\ud800": 1, "v:a": 2, "handle": 3}
        assert dict(SessionStore(saved(**values).session_key)) == values


def received():
    """Bytes the server has read."""
    return redis.client().info("stats")["total_net_input_bytes"]


class AsyncTests(OnRedis, SimpleTestCase):
    async def test_nothing_needs_a_thread(self):
        refuse = AssertionError("a thread hop")
        with (
            mock.patch("chatsession.stores.steps.sync_to_async", side_effect=refuse),
            mock.patch("chatsession.stores.redis.client", side_effect=refuse),
        ):
            session = SessionStore()
            await session.aset("a", 1)
            await session.asave()
            await session.acycle_key()
            await session.amutate("a", lambda a: a + 1)
            again = SessionStore(session.session_key)
            assert await again.aget("a") == 2
            await again.acommit()
            await again.aflush()

    async def test_a_request_that_is_cancelled_leaves_its_answer_to_nobody(self):
        keys = [await self.stored(number) for number in range(20)]

        async def read(number):
            return number, await SessionStore(keys[number]).aget("n")

        for _ in range(10):
            tasks = [asyncio.create_task(read(number % 20)) for number in range(100)]
            for task in random.sample(tasks, 50):
                await asyncio.sleep(random.random() / 1000)
                task.cancel()
            for answer in await asyncio.gather(*tasks, return_exceptions=True):
                assert isinstance(answer, asyncio.CancelledError) or answer[0] == answer[1]

    async def stored(self, number):
        session = SessionStore()
        await session.aset("n", number)
        await session.asave()
        return session.session_key
