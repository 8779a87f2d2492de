"""Streams that cost nothing to hold: ``application = StreamHandoff(get_asgi_application())``.

Django keeps an OS thread and its whole request for every open ASGI stream: 1,000 of them are 1,000 threads.
Under this wrapper a chat view only leaves its stream here; Django ends the request with an empty body, its
thread and its middleware are done, and the wrapper sends the rest. Without it everything works, only heavier.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    Message = dict[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    Application = Callable[[Message, Receive, Send], Awaitable[None]]

#: Requests inside Django at once. 1,000 in one burst would be 1,000 threads and database connections.
CONCURRENCY = 50
#: Where the scope has the ``Handoff``.
KEY = "chatsession.handoff"


class Handoff:
    """One request's way through Django, and what its view leaves to be streamed afterwards."""

    def __init__(self, receive: Receive, send: Send, places: asyncio.Semaphore) -> None:
        #: Set by a view whose response may turn out to be a stream of ours.
        self.is_expected = False
        #: Set where the body of that very response is sent, and not of one that replaced it.
        self.body: AsyncGenerator[bytes] | None = None
        #: Whether the client has left: some servers tell it once.
        self.is_gone = False
        self._receive, self._send, self._places = receive, send, places
        self._has_place = False
        self._start: Message | None = None

    @property
    def has_begun(self) -> bool:
        """Whether the start of an expected stream is held: who reads its body now is the server."""
        return self._start is not None

    async def receive(self) -> Message:
        """What Django gets of the request. Once it is whole it needs a place: a slow client takes none."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.is_gone = True
        elif not message.get("more_body"):
            await self._places.acquire()
            self._has_place = True
        return message

    async def send(self, message: Message) -> None:
        """What Django sends; the start of an expected stream waits until it is known what follows."""
        if self.is_expected and message["type"] == "http.response.start":
            self._start = message
        elif self.body is None:
            self.leave()
            await self._send_start()
            await self._send(message)

    def leave(self) -> None:
        """Make place for another request: this one has its answer."""
        if self._has_place:
            self._has_place = False
            self._places.release()

    async def stream(self, body: AsyncGenerator[bytes]) -> None:
        """Send the whole response."""
        async with aclosing(body):
            await self._send_start()
            async for chunk in body:
                await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        await self._send({"type": "http.response.body", "body": b""})

    async def _send_start(self) -> None:
        start, self._start = self._start, None
        if start is not None:
            await self._send(start)


class StreamHandoff:
    """Wraps Django's ASGI application, and nothing else: it answers the lifespan protocol itself.

    At the server's shutdown this process gives its answers up, so that others go on with them at once.
    """

    def __init__(self, application: Application, concurrency: int = CONCURRENCY) -> None:
        """``concurrency``: most requests inside Django at once, from their last byte to the first of their
        response, each with a thread and perhaps a database connection of its own; the next ones wait."""
        self.application = application
        self.places = asyncio.Semaphore(concurrency)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await live(receive, send)
        elif scope["type"] != "http":
            await self.application(scope, receive, send)
        else:
            handoff = Handoff(receive, send, self.places)
            try:
                await self.application({**scope, KEY: handoff}, handoff.receive, handoff.send)
            finally:
                handoff.leave()
            if handoff.body is not None and not handoff.is_gone:
                await until_gone(handoff.stream(handoff.body), receive)


async def until_gone(stream: Awaitable[None], receive: Receive) -> None:
    """Run ``stream`` to its end, or until the client has left: then its time is over."""
    try:
        async with asyncio.timeout(None) as limit:
            watch = asyncio.create_task(gone(receive, limit))
            try:
                await stream
            finally:
                watch.cancel()
    except TimeoutError:
        if not limit.expired():
            raise


async def gone(receive: Receive, limit: asyncio.Timeout) -> None:
    """Reach the ``limit`` when the client has left; of its request nothing is left to be read."""
    with suppress(Exception):
        while (await receive())["type"] != "http.disconnect":
            pass
    with suppress(RuntimeError):  # the stream has ended, and the server does not let this be cancelled
        limit.reschedule(0)


async def live(receive: Receive, send: Send) -> None:
    """The lifespan protocol."""
    message: Message = {}
    while message.get("type") != "lifespan.shutdown":
        message = await receive()
        if message["type"] == "lifespan.shutdown":
            # Not at the top: this module is imported before Django is set up.
            from chatsession.runs.engine import engine

            await asyncio.to_thread(engine.leave)
            engine.reset()  # for a process that lives on
        await send({"type": f"{message['type']}.complete"})
