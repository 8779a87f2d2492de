"""The hand-off: Django's request is over before the answer is, and the client sees no difference."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from contextlib import aclosing, asynccontextmanager
from importlib import import_module
from unittest import mock

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpResponse
from django.test import AsyncClient, TransactionTestCase, override_settings
from django.utils.decorators import sync_and_async_middleware

from chatsession import signing
from chatsession.asgi import KEY, StreamHandoff
from chatsession.models import Message, Worker
from chatsession.runs.engine import engine
from chatsession.runs.follow import Lost
from chatsession.views import limits

Store = import_module(settings.SESSION_ENGINE).SessionStore
PATIENCE = 10  # seconds
BODY = {"id": "c", "message": {"id": "m", "role": "user", "parts": [{"type": "text", "text": "Hello"}]}}
GZIP = ["django.middleware.gzip.GZipMiddleware"]


@sync_and_async_middleware
def replacing(get_response):
    """A site's middleware that answers something else instead."""

    async def middleware(request):
        response = await get_response(request)
        return HttpResponse("something else") if request.path == "/chat/api/chat" else response

    return middleware


@sync_and_async_middleware
def joining(get_response):
    """A site's middleware that puts a streamed body together."""

    async def middleware(request):
        response = await get_response(request)
        if request.path != "/chat/api/chat":
            return response
        return HttpResponse(b"".join([chunk async for chunk in response]))

    return middleware


class Django:
    """The real handler; tells when it is through with a request."""

    def __init__(self):
        self.handler = ASGIHandler()
        self.through = asyncio.Event()

    async def __call__(self, scope, receive, send):
        await self.handler(scope, receive, send)
        self.through.set()


class StreamHandoffTests(TransactionTestCase):
    def setUp(self):
        engine.reset()  # a lease that is not in this test's database is none
        gc.collect()  # gives the places back of streams that other tests have not read
        limits._streams.clear()
        self.go_on = threading.Event()
        self.addCleanup(self.wait_for_the_engine)
        self.addCleanup(self.go_on.set)
        self.enterContext(override_settings(CHATSESSION={"MODELS": {"default": {"BACKEND": self.answer}}}))

    def wait_for_the_engine(self):
        """PostgreSQL cannot empty tables that a run is being written to."""
        for run in list(engine.live.values()):
            run.ended.wait(PATIENCE)

    def answer(self, prompt):
        yield "first"
        self.go_on.wait(PATIENCE)
        yield " second"

    async def visit(self):
        """A visitor's cookies, as they come with the page."""
        client = AsyncClient()
        await client.get("/chat/")
        key = client.cookies["sessionid"].value
        self.session_key = signing.unsign(key).session_key
        return f"sessionid={key}; csrftoken={client.cookies['csrftoken'].value}", client

    @asynccontextmanager
    async def posted(self, body=BODY):
        """(the wrapped Django, the wire) of one POST by a visitor."""
        cookies, client = await self.visit()
        django, token = Django(), client.cookies["csrftoken"].value
        headers = {"cookie": cookies, "x-csrftoken": token, "content-type": "application/json"}
        headers |= {"host": "test", "accept-encoding": "gzip"}
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "path": "/chat/api/chat",
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
        wire = ApplicationCommunicator(StreamHandoff(django), scope)
        await wire.send_input({"type": "http.request", "body": json.dumps(body).encode()})
        try:
            yield django, wire
        finally:
            self.go_on.set()
            wire.stop(exceptions=False)

    async def read(self, wire, until=None):
        """The body, to its end or until it has some text."""
        body, more = b"", True
        while more and (until is None or until not in body):
            message = await wire.receive_output(PATIENCE)
            assert message["type"] == "http.response.body"
            body, more = body + message["body"], message.get("more_body", False)
        return body

    async def test_django_is_through_while_the_answer_is_being_written(self):
        async with self.posted() as (django, wire):
            start = await wire.receive_output(PATIENCE)
            seen = await self.read(wire, until=b"first")
            assert django.through.is_set()

            self.go_on.set()
            seen += await self.read(wire)

        assert start["status"] == 200
        assert b" second" in seen
        assert seen.endswith(b"data: [DONE]\n\n")

    async def test_the_response_is_the_same_without_it(self):
        self.go_on.set()
        async with self.posted() as (_, wire):
            start = await wire.receive_output(PATIENCE)
            handed = kinds_of(await self.read(wire))
        _, client = await self.visit()
        token = client.cookies["csrftoken"].value
        plain = await client.post(
            "/chat/api/chat", BODY, content_type="application/json", headers={"X-CSRFToken": token}
        )
        async with aclosing(aiter(plain.streaming_content)) as chunks:
            assert kinds_of(b"".join([chunk async for chunk in chunks])) == handed
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        assert headers.keys() == plain.headers.keys()
        assert headers["Content-Encoding"] == "identity"
        assert headers["Cache-Control"] == plain.headers["Cache-Control"]

    async def test_under_gzip(self):
        with override_settings(MIDDLEWARE=[*GZIP, *settings.MIDDLEWARE]):
            async with self.posted() as (_, wire):
                await wire.receive_output(PATIENCE)
                await self.read(wire, until=b"first")

    async def test_under_djangos_own_session_middleware(self):
        own = "chatsession.middleware.SessionMiddleware"
        djangos = "django.contrib.sessions.middleware.SessionMiddleware"
        middleware = [djangos if name == own else name for name in settings.MIDDLEWARE]
        engine_name = "django.contrib.sessions.backends.signed_cookies"
        with (
            override_settings(MIDDLEWARE=middleware, SESSION_ENGINE=engine_name),
            mock.patch.object(signing, "unsign"),
        ):
            async with self.posted() as (_, wire):
                await wire.receive_output(PATIENCE)
                await self.read(wire, until=b"first")

    async def test_a_response_that_took_its_place_is_sent_as_it_is(self):
        with override_settings(MIDDLEWARE=[f"{__name__}.replacing", *settings.MIDDLEWARE]):
            async with self.posted() as (_, wire):
                assert (await wire.receive_output(PATIENCE))["status"] == 200
                assert await self.read(wire) == b"something else"
                await wire.wait(PATIENCE)
        assert not limits._streams

    async def test_an_error_is_sent_as_it_is(self):
        async with self.posted({"id": "c"}) as (_, wire):
            assert (await wire.receive_output(PATIENCE))["status"] == 400
            assert json.loads(await self.read(wire))["error"]["param"] == "message"

    async def test_a_reader_that_leaves_is_forgotten_and_the_answer_goes_on(self):
        async with self.posted() as (_, wire):
            await wire.receive_output(PATIENCE)
            await self.read(wire, until=b"first")
            run = next(iter(engine.live.values()))
            await wire.send_input({"type": "http.disconnect"})
            await wire.wait(PATIENCE)

            assert not limits._streams
            assert not run._wakers
            self.go_on.set()
            assert await sync_to_async(run.ended.wait)(PATIENCE)
        message = await Message.objects.aget(role="assistant")
        assert (message.status, message.parts[0]["text"]) == ("complete", "first second")

    async def test_it_ends_with_its_session(self):
        async with self.posted() as (_, wire):
            await wire.receive_output(PATIENCE)
            await self.read(wire, until=b"first")
            record = (await Store(self.session_key).aload()).record

            assert await Store.arevoke(record.handle)

            assert b"[DONE]" not in await self.read(wire)

    async def test_an_answer_that_is_lost_breaks_the_connection(self):
        async with self.posted() as (_, wire):
            await wire.receive_output(PATIENCE)
            await self.read(wire, until=b"first")

            next(iter(engine.live.values())).lose()

            with pytest.raises(Lost):
                await wire.wait(PATIENCE)

    async def test_django_is_given_so_many_requests_at_once(self):
        inside, go_on = [], asyncio.Event()

        async def django(scope, receive, send):
            await receive()
            inside.append(scope["path"])
            if scope["path"] == "/answered":
                await send({"type": "http.response.start", "status": 200})
            await go_on.wait()

        async def uploading():
            await go_on.wait()
            return {"type": "http.request"}

        application = StreamHandoff(django, concurrency=1)

        def request(path, receive):
            return asyncio.create_task(application({"type": "http", "path": path}, receive, mock.AsyncMock()))

        whole = mock.AsyncMock(return_value={"type": "http.request"})
        tasks = [request("/slow", uploading), *(request(path, whole) for path in ("/answered", "/1", "/2"))]
        for _ in range(5):
            await asyncio.sleep(0)
        assert inside == ["/answered", "/1"]  # who uploads or has the answer holds no place
        go_on.set()
        await asyncio.gather(*tasks)
        assert inside[2:] == ["/2", "/slow"]

    async def test_a_middleware_that_reads_the_stream_gets_it_all(self):
        self.go_on.set()
        with override_settings(MIDDLEWARE=[*settings.MIDDLEWARE, f"{__name__}.joining"]):
            async with self.posted() as (_, wire):
                start = await wire.receive_output(PATIENCE)
                body = await self.read(wire)
        assert dict(start["headers"])[b"Content-Length"] == str(len(body)).encode()
        assert b" second" in body

    async def test_a_client_that_leaves_at_the_hand_off_is_not_streamed_to(self):
        messages, sent = iter([{"type": "http.request"}, {"type": "http.disconnect"}]), mock.AsyncMock()

        async def receive():
            """As hypercorn and daphne do: what is told once is not told again."""
            return next(messages, None) or await asyncio.Event().wait()

        async def endless():
            await asyncio.Event().wait()
            yield b""

        async def django(scope, receive, send):
            await receive()
            scope[KEY].is_expected = True
            await send({"type": "http.response.start", "status": 200})
            scope[KEY].body = endless()
            await receive()

        async with asyncio.timeout(PATIENCE):
            await StreamHandoff(django)({"type": "http"}, receive, sent)
        sent.assert_not_awaited()

    async def test_the_servers_shutdown_gives_the_lease_up(self):
        async with self.posted() as (_, wire):
            await wire.receive_output(PATIENCE)
            await self.read(wire, until=b"first")
            assert await Worker.objects.filter(token=engine.lease).aexists()
            server = ApplicationCommunicator(StreamHandoff(Django()), {"type": "lifespan"})
            for name in ("startup", "shutdown"):
                await server.send_input({"type": f"lifespan.{name}"})
                assert await server.receive_output(PATIENCE) == {"type": f"lifespan.{name}.complete"}
            await server.wait(PATIENCE)

            assert not await Worker.objects.filter(token=engine.lease).aexists()
        engine.reset()  # it writes no more


def kinds_of(stream):
    """What kinds of frames a stream has, with the text of its deltas."""
    frames = [
        line.removeprefix("data: ") for line in stream.decode().splitlines() if line.startswith("data: {")
    ]
    parsed = [json.loads(frame) for frame in frames]
    text = "".join(frame.get("delta", "") for frame in parsed)
    return list(dict.fromkeys(frame["type"] for frame in parsed)), text
