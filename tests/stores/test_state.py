"""Any sequence of what requests do to one session, held against a model of two dictionaries."""

from __future__ import annotations

import os
from copy import deepcopy

import pytest
from asgiref.sync import async_to_sync
from django.contrib.sessions.backends.base import UpdateError
from django.test import SimpleTestCase, TransactionTestCase
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from chatsession.stores import db, memory, redis
from tests.redis_server import OnRedis

pytestmark = pytest.mark.server

LONG = "TEST_SLOW" in os.environ
PROFILE = settings(
    stateful_step_count=40,
    deadline=None,
    derandomize=not LONG,
    suppress_health_check=list(HealthCheck),
)
KEYS = st.sampled_from(["a", "b", "_auth_user_id", "_auth_user_hash"])
VALUES = st.one_of(
    st.none(), st.integers(), st.sampled_from(["", "x", "日本"]), st.lists(st.integers(), max_size=2)
)
REQUESTS = st.integers(0, 2)


def is_auth(key):
    return key.startswith("_auth_")


class Request:
    """One session object, beside what it has seen and what it has changed since."""

    def __init__(self, session, seen, generation):
        self.session = session
        self.seen = dict(seen)
        self.mine = dict(seen)
        self.generation = generation
        self.cleared = False


class SessionMachine(RuleBasedStateMachine):
    """Three requests work on one record. ``stored`` is what it must hold, None if it is gone."""

    store = memory.SessionStore

    def call(self, session, method, *arguments):
        return getattr(session, method)(*arguments)

    @initialize(values=st.dictionaries(KEYS, VALUES))
    def begin(self, values):
        session = self.store()
        session.update(deepcopy(values))
        self.call(session, "save")
        self.key, self.stored, self.generation = session.session_key, dict(values), 0
        self.requests = [self.opened() for _ in range(3)]

    def opened(self):
        session = self.store(self.key)
        self.call(session, "has_key", "")
        return Request(session, self.stored or {}, self.generation)

    @rule(at=REQUESTS)
    def arrive(self, at):
        self.requests[at] = self.opened()
        assert dict(self.requests[at].session) == (self.stored or {})

    @rule(at=REQUESTS, key=KEYS, value=VALUES)
    def write(self, at, key, value):
        request = self.requests[at]
        request.session[key], request.mine[key] = deepcopy(value), value

    @rule(at=REQUESTS, key=KEYS)
    def remove(self, at, key):
        request = self.requests[at]
        request.session.pop(key, None)
        request.mine.pop(key, None)

    @rule(at=REQUESTS, key=KEYS)
    def append(self, at, key):
        request = self.requests[at]
        if isinstance(request.mine.get(key), list):
            request.mine[key] = [*request.mine[key], 1]
            request.session[key].append(1)

    @rule(at=REQUESTS)
    def clear(self, at):
        request = self.requests[at]
        request.session.clear()
        request.seen, request.mine, request.cleared = {}, {}, True

    @precondition(lambda self: self.stored is not None)
    @rule(at=REQUESTS)
    def save(self, at):
        request = self.requests[at]
        if request.session.session_key != self.key:
            return
        put, drop = self.changes(request)
        refused = not request.cleared and request.generation != self.generation
        try:
            self.call(request.session, "save")
        except UpdateError:
            assert refused
            assert put
            self.requests[at] = self.opened()
            return
        assert not (refused and put)
        if not refused:
            self.merge(request, put, drop)
        self.requests[at] = self.opened()

    def changes(self, request):
        put = {key: value for key, value in request.mine.items() if request.seen.get(key, ...) != value}
        drop = request.seen.keys() - request.mine.keys()
        if any(map(is_auth, (*put, *drop))):
            put |= {key: value for key, value in request.mine.items() if is_auth(key)}
            drop |= {key for key in self.stored if is_auth(key)} - put.keys()
        return put, drop

    def merge(self, request, put, drop):
        if request.cleared:
            self.stored, self.generation = {}, self.generation + 1
        self.stored = {key: value for key, value in self.stored.items() if key not in drop} | put

    @precondition(lambda self: self.stored is not None)
    @rule(at=REQUESTS, value=st.integers())
    def mutate(self, at, value):
        self.requests[at] = request = self.opened()
        result = self.call(request.session, "mutate", "a", lambda old: [old, value])
        assert result == [self.stored.get("a"), value]
        self.stored["a"] = result
        self.requests[at] = self.opened()

    @precondition(lambda self: self.stored is not None)
    @rule(at=REQUESTS)
    def cycle_key(self, at):
        self.requests[at] = request = self.opened()
        old = self.key
        self.call(request.session, "cycle_key")
        self.key = request.session.session_key
        assert not self.store(old).exists(old)

    @precondition(lambda self: self.stored is not None)
    @rule(at=REQUESTS)
    def flush(self, at):
        self.requests[at] = request = self.opened()
        self.call(request.session, "flush")
        request.seen, request.mine = {}, {}
        self.stored = None

    @precondition(lambda self: self.stored is None)
    @rule(at=REQUESTS, value=VALUES)
    def nothing_comes_back(self, at, value):
        request = self.requests[at]
        if request.session.session_key != self.key or request.cleared:
            return
        request.session["late"] = value
        try:
            self.call(request.session, "save")
        except UpdateError:
            self.requests[at] = self.opened()
        else:
            raise AssertionError("a deleted session was written")

    @precondition(lambda self: self.stored is None)
    @rule(values=st.dictionaries(KEYS, VALUES))
    def begin_anew(self, values):
        self.begin(values)

    def teardown(self):
        if hasattr(self, "key"):
            assert dict(self.store(self.key)) == (self.stored or {})


class AsyncSessionMachine(SessionMachine):
    """The same by the async methods."""

    def call(self, session, method, *arguments):
        return async_to_sync(getattr(session, f"a{method}"))(*arguments)


class MemoryTests(SimpleTestCase):
    store = memory.SessionStore
    examples = 100

    def test_the_sync_methods(self):
        self.hold(SessionMachine)

    def test_the_async_methods(self):
        self.hold(AsyncSessionMachine)

    def hold(self, machine):
        profile = settings(PROFILE, max_examples=self.examples * (10 if LONG else 1))
        run_state_machine_as_test(type(machine.__name__, (machine,), {"store": self.store}), settings=profile)


class DatabaseTests(MemoryTests, TransactionTestCase):
    store = db.SessionStore
    examples = 5


class RedisTests(OnRedis, MemoryTests):
    store = redis.SessionStore
    examples = 20
