"""Streams end with their session, and with nothing less."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from datetime import timedelta
from importlib import import_module
from unittest import mock
from weakref import WeakSet

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from django.http import StreamingHttpResponse
from django.test import RequestFactory, TestCase, TransactionTestCase, override_settings
from django.utils import timezone

from chatsession.middleware import SessionMiddleware
from chatsession.stores import attendance
from chatsession.testing import session_cookie

pytestmark = pytest.mark.server

Store = import_module(settings.SESSION_ENGINE).SessionStore
PATIENCE = 10  # seconds


def later(seconds):
    return mock.patch.object(timezone, "now", return_value=timezone.now() + timedelta(seconds=seconds))


class Streaming:
    """A visitor with a session reads a stream of a view that has used it."""

    def setUp(self):
        # Streams that other tests have left to the garbage collector are not looked at.
        self.enterContext(mock.patch.object(attendance, "_open", WeakSet()))
        self.session = Store()
        self.session["a"] = 1
        self.session.save()

    def request(self):
        request = RequestFactory().get("/")
        request.COOKIES["sessionid"] = session_cookie(self.session.session_key)
        return request

    def opened(self, body):
        def view(request):
            assert request.session["a"] == 1
            return StreamingHttpResponse(body(request.session))

        response = SessionMiddleware(view)(self.request())
        self.addCleanup(response.close)
        return response

    async def aopened(self, body):
        async def view(request):
            assert await request.session.aget("a") == 1
            return StreamingHttpResponse(body(request.session))

        return await SessionMiddleware(view)(self.request())

    def remove_elsewhere(self):
        """What another process does: nobody in this one is told."""
        session = Store(self.session.session_key)
        session.delete()

    def look(self):
        attendance.look([cut for cut in attendance._open if cut.is_visible])

    def info(self):
        return Store.info(self.session.handle)


def endless(session):
    while True:
        yield b"x"


class AsyncStreamTests(Streaming, TransactionTestCase):
    async def reading(self):
        """A task that reads from a model that has fallen silent after its first word."""
        self.seen, first = [], asyncio.Event()

        async def silent(session):
            try:
                yield b"x"
                first.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.seen.append("cancelled")
                raise

        async def read():
            async for chunk in response:
                self.seen.append(chunk)

        response = await self.aopened(silent)
        task = asyncio.create_task(read())
        await first.wait()
        return task

    async def assertEnds(self, task):
        async with asyncio.timeout(PATIENCE):
            await task
        assert self.seen == [b"x", "cancelled"]
        assert not attendance._open

    async def test_revoking_ends_it_at_once(self):
        task = await self.reading()
        assert await Store.arevoke(self.session.handle)
        await self.assertEnds(task)

    async def test_flushing_in_another_request_ends_it_at_once(self):
        task = await self.reading()
        await Store(self.session.session_key).aflush()
        await self.assertEnds(task)

    async def test_what_another_process_ends_is_found(self):
        with mock.patch.object(attendance, "INTERVAL", 0.01):
            task = await self.reading()
            await sync_to_async(self.remove_elsewhere)()
            await self.assertEnds(task)

    async def test_the_absolute_age_ends_it(self):
        with override_settings(CHATSESSION={"ABSOLUTE_AGE": 100}):
            task = await self.reading()
            with later(101):
                await sync_to_async(self.look)()
            await self.assertEnds(task)

    async def test_a_login_does_not_end_it(self):
        task = await self.reading()
        other = Store(self.session.session_key)
        await other.acycle_key()
        await other.aset("_auth_user_id", "7")
        await other.asave()
        await sync_to_async(self.look)()
        assert not task.done()
        await Store.arevoke(self.session.handle)
        await self.assertEnds(task)

    async def test_another_session_is_not_touched(self):
        task = await self.reading()
        other = Store()
        await other.aset("a", 1)
        await other.asave()
        await Store.arevoke(other.handle)
        await sync_to_async(self.look)()
        assert not task.done()
        await Store.arevoke(self.session.handle)
        await self.assertEnds(task)

    async def test_a_timeout_of_the_view_is_the_views(self):
        async def impatient(session):
            yield b"x"
            async with asyncio.timeout(0):
                await asyncio.Event().wait()

        with self.assertRaises(TimeoutError):
            async for _ in await self.aopened(impatient):
                pass


class SyncStreamTests(Streaming, TransactionTestCase):
    def test_it_ends_with_its_next_chunk(self):
        chunks = iter(self.opened(endless))
        assert next(chunks) == b"x"
        Store.revoke(self.session.handle)
        assert list(chunks) == []

    def test_the_views_own_finally_runs(self):
        closed = []

        def body(session):
            try:
                yield from endless(session)
            finally:
                closed.append(True)

        chunks = iter(self.opened(body))
        next(chunks)
        Store.revoke(self.session.handle)
        assert (list(chunks), closed) == ([], [True])

    def test_the_stream_that_flushes_goes_on(self):
        def saying_goodbye(session):
            session.flush()
            yield b"bye"

        assert list(self.opened(saying_goodbye)) == [b"bye"]

    def test_flushing_a_session_that_was_not_loaded_ends_it_too(self):
        chunks = iter(self.opened(endless))
        Store(self.session.session_key).flush()
        assert list(chunks) == []

    def test_a_login_beyond_the_limit_ends_the_oldest_ones_stream(self):
        self.session["_auth_user_id"] = "7"
        self.session.save()
        chunks = iter(self.opened(endless))
        with override_settings(CHATSESSION={"SESSIONS_PER_USER": 1}):
            newer = Store()
            newer["_auth_user_id"] = "7"
            newer.save()
        assert list(chunks) == []

    def test_an_open_stream_counts_as_use(self):
        response = self.opened(endless)
        before = self.info()
        with later(59):
            self.look()
        assert self.info() == before
        with later(61):
            self.look()
        assert (self.info().last_seen_at - before.last_seen_at).total_seconds() > 60
        assert (self.info().expires_at - before.expires_at).total_seconds() > 60
        response.close()

    def test_it_does_not_move_a_fixed_end(self):
        self.opened(endless)
        end = timezone.now() + timedelta(hours=1)
        other = Store(self.session.session_key)
        other.set_expiry(end)
        other.save()
        with later(61):
            self.look()
        assert self.info().expires_at == end

    def test_what_has_ended_is_forgotten(self):
        response = self.opened(endless)
        assert len(attendance._open) == 1
        response.close()
        assert not attendance._open

    def test_what_nobody_closes_is_forgotten(self):
        async def never_read(session):
            yield b"x"

        async_to_sync(self.aopened)(never_read)
        forgotten, deadline = threading.Event(), time.monotonic() + PATIENCE
        while attendance._open and time.monotonic() < deadline:
            gc.collect()
            forgotten.wait(0.01)  # a look at the store may be under way, which holds it
        assert not attendance._open

    def test_the_watch_ends_with_the_last_stream(self):
        with mock.patch.object(attendance, "INTERVAL", 0.01):
            response = self.opened(endless)
            watcher = attendance._watcher
            response.close()
            watcher.join(PATIENCE)
        assert not watcher.is_alive()

    def test_a_store_that_is_away_ends_nothing(self):
        asked = threading.Event()

        def away(handles):
            asked.set()
            raise ConnectionError

        chunks = iter(self.opened(endless))
        with (
            mock.patch.object(Store, "attend", away),
            mock.patch.object(attendance, "INTERVAL", 0.01),
            self.assertLogs("chatsession.sessions", "ERROR"),
        ):
            attendance.leave(attendance.join(self.session))
            assert asked.wait(PATIENCE)
        assert next(chunks) == b"x"


class InATransactionTests(Streaming, TestCase):
    """In a site's own ``TestCase`` no other thread can see the record."""

    def test_the_store_is_not_asked(self):
        self.opened(endless)
        visible = [cut for cut in attendance._open if cut.is_visible]
        is_in_database = settings.SESSION_ENGINE == "chatsession.stores.db"
        assert len(visible) == int(not is_in_database)
