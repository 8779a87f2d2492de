from __future__ import annotations

import asyncio
import gc
from importlib import import_module
from io import BytesIO
from unittest import mock

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connection
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.test import RequestFactory, TransactionTestCase

from chatsession import signals, streaming
from chatsession.exceptions import ResponseStarted
from chatsession.middleware import SessionMiddleware
from chatsession.testing import session_cookie

Store = import_module(settings.SESSION_ENGINE).SessionStore


class StreamCase(TransactionTestCase):
    """A visitor with a stored session meets a view that writes to it while streaming."""

    def setUp(self):
        self.session = Store()
        self.session["sent"] = 0
        self.session.save()
        commits = mock.patch.object(streaming, "commit", side_effect=streaming.commit)
        acommits = mock.patch.object(streaming, "acommit", side_effect=streaming.acommit)
        self.commits, self.acommits = commits.start(), acommits.start()
        self.addCleanup(mock.patch.stopall)

    def request(self, *, known=True):
        request = RequestFactory().get("/")
        if known:
            request.COOKIES["sessionid"] = session_cookie(self.session.session_key)
        return request

    def respond(self, body, **visitor):
        def view(request):
            return StreamingHttpResponse(body(request.session))

        return SessionMiddleware(view)(self.request(**visitor))

    async def arespond(self, body, **visitor):
        async def view(request):
            await request.session.aget("sent")
            return StreamingHttpResponse(body(request.session))

        return await SessionMiddleware(view)(self.request(**visitor))

    async def assertCommitted(self, **expected):
        await settled()
        assert self.commits.call_count + self.acommits.call_count == 1
        stored = Store(self.session.session_key)
        assert dict(await stored.aitems()) == expected


async def settled():
    """Until every task has ended, the loop's own that close abandoned generators included."""
    for _ in range(20):
        await asyncio.sleep(0)
        await asyncio.gather(*streaming._detached, return_exceptions=True)


def body(session):
    try:
        for n in (1, 2):
            session["sent"] = n
            yield b"x"
    finally:
        session["end"] = True


async def abody(session):
    try:
        for n in (1, 2):
            await session.aset("sent", n)
            yield b"x"
    finally:
        session["end"] = True


async def silent(session):
    """A model that says one word and then nothing for ever."""
    try:
        await session.aset("sent", 1)
        yield b"x"
        await asyncio.Event().wait()
    finally:
        session["end"] = True


async def consume(response, *, started=None):
    async for _ in response:
        if started:
            started.set()


async def consuming(response):
    """A task that has got its first chunk and waits for the next."""
    started = asyncio.Event()
    task = asyncio.create_task(consume(response, started=started))
    await started.wait()
    return task


class AsyncEndingTests(StreamCase):
    async def test_the_normal_end(self):
        response = await self.arespond(abody)
        await consume(response)
        await sync_to_async(response.close)()
        await self.assertCommitted(sent=2, end=True)

    async def test_cancelled_in_an_await_of_the_view(self):
        task = await consuming(await self.arespond(silent))
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task
        await self.assertCommitted(sent=1, end=True)

    async def test_cancelled_again_during_the_commit(self):
        committing, go_on = asyncio.Event(), asyncio.Event()

        async def slow(session):
            committing.set()
            await go_on.wait()
            await acommit(session)

        acommit, self.acommits.side_effect = self.acommits.side_effect, slow
        task = await consuming(await self.arespond(silent))
        task.cancel()
        await committing.wait()
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task
        go_on.set()
        await self.assertCommitted(sent=1, end=True)

    async def test_closed_while_the_server_is_blocked_in_send(self):
        response = await self.arespond(silent)
        chunks = aiter(response)
        await anext(chunks)
        await chunks.aclose()
        await sync_to_async(response.close)()
        await self.assertCommitted(sent=1, end=True)

    async def test_left_to_the_garbage_collector(self):
        response = await self.arespond(silent)
        chunks = aiter(response)
        await anext(chunks)
        del response, chunks
        gc.collect()
        await self.assertCommitted(sent=1, end=True)

    async def test_never_iterated(self):
        async def view(request):
            response = StreamingHttpResponse(abody(request.session))
            response._resource_closers.append(lambda: request.session.update({"sent": 9}))
            return response

        response = await SessionMiddleware(view)(self.request())
        await sync_to_async(response.close)()
        await self.assertCommitted(sent=9)

    async def test_an_exception_in_mid_stream(self):
        async def failing(session):
            session["sent"] = 5
            yield b"x"
            raise ZeroDivisionError

        response = await self.arespond(failing)
        with self.assertRaises(ZeroDivisionError):
            await consume(response)
        await self.assertCommitted(sent=5)

    async def test_a_sync_body(self):
        response = await self.arespond(body)
        with pytest.warns(Warning, match="synchronous iterators"):
            await consume(response)
        await self.assertCommitted(sent=2, end=True)

    async def test_the_async_client_that_stops_reading(self):
        await self.async_client.get("/session/write?sent=0")
        response = await self.async_client.get("/session/stream?chunks=9")
        async for _ in response.streaming_content:
            break
        response.close()
        await settled()
        stored = (await self.async_client.get("/session/dump")).json()
        assert (stored["stream"], stored["sent"]) == ("closed", 0)


class SyncEndingTests(StreamCase):
    async def assertCommitted(self, **expected):
        await super().assertCommitted(**expected)
        assert self.commits.called

    @sync_to_async
    def wsgi(self, response, *, chunks):
        """What a WSGI server does that sends so many chunks."""
        iterator = iter(response)
        for _ in range(chunks):
            next(iterator, None)
        response.close()

    async def test_the_normal_end(self):
        await self.wsgi(await sync_to_async(self.respond)(body), chunks=9)
        await self.assertCommitted(sent=2, end=True)

    async def test_close_in_mid_stream(self):
        await self.wsgi(await sync_to_async(self.respond)(body), chunks=1)
        await self.assertCommitted(sent=1, end=True)

    async def test_an_exception_in_mid_stream(self):
        def failing(session):
            session["sent"] = 5
            yield b"x"
            raise ZeroDivisionError

        with self.assertRaises(ZeroDivisionError):
            await self.wsgi(await sync_to_async(self.respond)(failing), chunks=2)
        await self.assertCommitted(sent=5)

    async def test_a_file_is_committed_by_its_closer_and_not_wrapped(self):
        class Pages(BytesIO):
            def close(pages):
                pages.session["sent"] = 7
                super().close()

        pages = Pages(b"pages")

        def view(request):
            pages.session = request.session
            return FileResponse(pages)

        response = await sync_to_async(SessionMiddleware(view))(self.request())
        assert response.file_to_stream is pages
        await self.wsgi(response, chunks=9)
        await self.assertCommitted(sent=7)

    async def test_an_async_body(self):
        response = await sync_to_async(self.respond)(abody)
        with pytest.warns(Warning, match="asynchronous iterators"):
            await self.wsgi(response, chunks=9)
        await StreamCase.assertCommitted(self, sent=2, end=True)

    async def test_never_iterated(self):
        def view(request):
            response = StreamingHttpResponse([b"x"])
            response._resource_closers.append(lambda: request.session.update({"sent": 8}))
            return response

        response = await sync_to_async(SessionMiddleware(view))(self.request())
        await sync_to_async(response.close)()
        await self.assertCommitted(sent=8)


class AfterTheHeadersTests(StreamCase):
    """What can still be done, and what raises where it is done."""

    def sent(self, body, **visitor):
        response = self.respond(body, **visitor)
        chunks = list(response)
        response.close()
        return response, chunks

    def test_a_first_write_raises_at_that_write(self):
        def late(session):
            try:
                session["a"] = 1
            except ResponseStarted:
                yield b"refused"
            assert dict(session) == {}

        response, chunks = self.sent(late, known=False)
        assert (chunks, response.cookies) == ([b"refused"], {})
        assert Store.count() == 1

    async def test_a_first_write_raises_in_async_too(self):
        async def late(session):
            for write in (session.aset("a", 1), session.aupdate({"a": 1}), session.amutate("a", len, "")):
                with self.assertRaises(ResponseStarted):
                    await write
            for operation in (session.asave(), session.acreate(), session.acycle_key()):
                with self.assertRaises(ResponseStarted):
                    await operation
            yield b"refused"

        response = await self.arespond(late, known=False)
        assert [chunk async for chunk in response] == [b"refused"]

    def test_a_new_key_is_refused(self):
        def cycling(session):
            with self.assertRaises(ResponseStarted):
                session.cycle_key()
            yield b"refused"

        assert self.sent(cycling)[1] == [b"refused"]
        assert Store(self.session.session_key)["sent"] == 0

    def test_flush_deletes_at_once_and_nothing_comes_back(self):
        def flushing(session):
            session["sent"] = 5
            session.flush()
            assert not session.exists(self.session.session_key)
            with self.assertRaises(ResponseStarted):
                session["sent"] = 6
            yield b"x"

        self.sent(flushing)
        assert Store.count() == 0

    def test_the_cookie_is_decided_before_the_first_byte(self):
        def view(request):
            request.session["a"] = 1
            return StreamingHttpResponse(body(request.session))

        response = SessionMiddleware(view)(self.request(known=False))
        assert response["Cache-Control"] == "private, no-store, no-transform"
        key = response.cookies["sessionid"].value
        assert dict(Store(key)) == {"a": 1}
        list(response)
        assert dict(Store(key)) == {"a": 1, "sent": 2, "end": True}

    def test_a_stream_without_a_session_is_left_alone(self):
        chunks = iter([b"x"])
        response = self.respond(lambda session: chunks, known=False)
        assert response._iterator is chunks

    def test_an_untouched_session_is_not_looked_up(self):
        with mock.patch.object(Store, "_run", side_effect=AssertionError("looked up")):
            assert self.sent(lambda session: [b"x"])[1] == [b"x"]

    def test_a_stream_of_a_failed_response_may_read(self):
        def view(request):
            return StreamingHttpResponse((str(value) for value in request.session.values()), status=500)

        assert list(SessionMiddleware(view)(self.request())) == [b"0"]


class WhatCannotBeStoredTests(StreamCase):
    """It goes to the log and to a signal, never to the visitor."""

    def setUp(self):
        super().setUp()
        self.failures = []
        signals.session_commit_failed.connect(self.hear)
        self.addCleanup(signals.session_commit_failed.disconnect, self.hear)

    def hear(self, session, error, **kwargs):
        self.failures.append(type(error).__name__)

    def assertLost(self, body, error):
        with self.assertLogs("chatsession.sessions", "ERROR") as logs:
            assert b"".join(self.respond(body)) == b"xx"
        assert self.failures == [error]
        assert self.session.session_key not in str(logs.output)

    def test_a_session_deleted_meanwhile_is_not_resurrected(self):
        def ended(session):
            yield from body(session)
            Store(self.session.session_key).delete()

        self.assertLost(ended, "UpdateError")
        assert Store.count() == 0

    def test_a_stream_begun_before_the_login_cannot_write_after_it(self):
        def raced(session):
            yield from body(session)
            other = Store(self.session.session_key)
            other.cycle_key()
            other["_auth_user_id"] = "1"
            other.save()
            self.logged_in = other.session_key

        self.assertLost(raced, "UpdateError")
        assert dict(Store(self.logged_in)) == {"sent": 0, "_auth_user_id": "1"}

    def test_a_value_that_cannot_be_encoded(self):
        def careless(session):
            yield from body(session)
            session["bad"] = object()

        self.assertLost(careless, "ValueNotSerializable")
        assert dict(Store(self.session.session_key)) == {"sent": 0}

    async def test_in_async_too(self):
        async def ended(session):
            session["sent"] = 1
            yield b"x"
            await Store(self.session.session_key).adelete()

        response = await self.arespond(ended)
        with self.assertLogs("chatsession.sessions", "ERROR"):
            assert [chunk async for chunk in response] == [b"x"]
        assert self.failures == ["UpdateError"]


class AtomicRequestsTests(StreamCase):
    def setUp(self):
        super().setUp()
        connection.settings_dict["ATOMIC_REQUESTS"] = True
        self.addCleanup(connection.settings_dict.__setitem__, "ATOMIC_REQUESTS", False)

    def test_a_stream_is_committed_outside_of_the_views_transaction(self):
        self.client.get("/session/write?a=1")
        assert b"".join(self.client.get("/session/stream?chunks=3")) == b"xxx"
        assert self.client.get("/session/dump").json() == {"a": "1", "stream": "closed", "sent": 2}


class OutsideOfTests(StreamCase):
    def test_a_response_that_is_no_stream_commits_once(self):
        def view(request):
            request.session["sent"] = 1
            return HttpResponse()

        SessionMiddleware(view)(self.request()).close()
        assert not self.commits.called
        assert Store(self.session.session_key)["sent"] == 1
