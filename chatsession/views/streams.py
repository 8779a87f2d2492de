"""A followed answer as a streaming response, on whatever server this request came by."""

from __future__ import annotations

from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import StreamingHttpResponse

from chatsession import asgi, connections, rendering
from chatsession.protocols import ui_stream
from chatsession.runs.follow import afollow, follow
from chatsession.stores import attendance

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator

    from django.http import HttpRequest

    from chatsession.models import Message
    from chatsession.runs.follow import Source
    from chatsession.runs.log import Event
    from chatsession.stores.attendance import Cut
    from chatsession.views.limits import OpenStream


class Encoder:
    """Batches of events to bytes; adds the rendered blocks where the page asked for them."""

    def __init__(self, head: ui_stream.Head, *, render: bool) -> None:
        self.head = head
        self.render = render
        self.text = ""
        self.start = 0
        self.blocks = 0

    def encode(self, batch: list[Event]) -> bytes:
        """The frames of one batch, each rendered block behind the event that settles it."""
        if not self.render or not batch:
            return ui_stream.encode(self.head, batch)
        return b"".join(
            frame
            for event in batch
            for frame in (ui_stream.encode(self.head, [event]), *self._rendered(event))
        )

    def _rendered(self, event: Event) -> Iterator[bytes]:
        if event.part.get("type") == "text":
            self.text += event.text
            yield from self._settled(final=event.kind == "part-end")

    def _settled(self, *, final: bool) -> Iterator[bytes]:
        blocks, self.start = rendering.settled(self.text, self.start, final=final)
        for html in blocks:
            # "end": the code points of this part's text that need no raw tail any more.
            yield ui_stream.transient("block", {"i": self.blocks, "html": html, "end": self.start})
            self.blocks += 1
        if final:
            self.text, self.start = "", 0


def stream(
    request: HttpRequest,
    message: Message,
    parent_id: str,
    source: Source,
    position: int,
    place: OpenStream,
) -> StreamingHttpResponse:
    """The response that follows ``source`` from ``position``; closed, it gives its ``place`` back.

    Rendered blocks are made from the whole text, so a page that wants them is sent it from the start.

    Django buffers the wrong kind of iterator whole (measured: the first byte after the last token), so the
    kind is the request's: async under ASGI, sync under WSGI.
    """
    head = ui_stream.Head(
        run_id=message.run_id or "",
        message_id=message.public_id,
        parent_id=parent_id,
        model=message.model,
        request_id=message.request_id,
    )
    render = request.headers.get("X-Chat-Render") == "html"
    encoder = Encoder(head, render=render)
    position = 0 if render else position
    connections.release()
    session = getattr(request, "session", None)
    if isinstance(request, ASGIRequest):
        handoff = request.scope.get(asgi.KEY)
        body: Any = abody(encoder, source, position, place, session, handoff)
    else:
        handoff, body = None, sbody(encoder, source, position, place, session)
    response = StreamingHttpResponse(body, content_type=ui_stream.CONTENT_TYPE, headers=ui_stream.HEADERS)
    if handoff is None:
        # For a body that nobody begins to read; Django 5.2 does not close a response whose client left (the
        # bodies see to that themselves).
        response._resource_closers.append(place.close)  # type: ignore[attr-defined]
    else:
        handoff.is_expected = True
    return response


def sbody(
    encoder: Encoder, source: Source, position: int, place: OpenStream, session: Any
) -> Iterator[bytes]:
    """The bytes of the answer as they come; they end with the session, the run goes on."""
    connections.release()  # the middleware may have opened one again, to store the session
    cut = getattr(session, "cut", None)
    with closing(place), closing(follow(source, position, cut)) as batches:
        for batch in batches:
            yield encoder.encode(batch)


async def abody(
    encoder: Encoder,
    source: Source,
    position: int,
    place: OpenStream,
    session: Any,
    handoff: asgi.Handoff | None,
) -> AsyncIterator[bytes]:
    """See ``sbody()``. Where there is somebody to hand the stream off to, nothing is left here."""
    cut = getattr(session, "cut", None)
    if handoff is not None and handoff.has_begun:
        # Django's part of the response ends now, and its stream with it: this one is another.
        handoff.body = frames(encoder, source, position, place, cut and attendance.join(session))
        return
    await sync_to_async(connections.release)()
    async with aclosing(frames(encoder, source, position, place, cut)) as body:
        async for chunk in body:
            yield chunk


async def frames(
    encoder: Encoder, source: Source, position: int, place: OpenStream, cut: Cut | None
) -> AsyncGenerator[bytes]:
    """The bytes on an event loop."""
    with closing(place):
        async with aclosing(afollow(source, position, cut)) as batches:
            async for batch in batches:
                if encoder.render and batch:
                    # Markdown takes milliseconds a block: not on the server's loop.
                    yield await sync_to_async(encoder.encode, thread_sensitive=False)(batch)
                else:
                    yield encoder.encode(batch)
