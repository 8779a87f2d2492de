"""The peers of ``streaming.py``, an ASGI application each: they say "tok " as often and as fast as asked."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qs

HEADERS = [(b"content-type", b"text/event-stream")]
FRAME = b'data: {"delta": "tok "}\n\n'


async def tokens(count, pause):
    """A model; without a ``pause`` (seconds) the loop is still given a chance after every token."""
    for _ in range(count):
        await asyncio.sleep(pause)
        yield FRAME


async def raw(scope, receive, send):
    """Bare ASGI, one frame and one send a token."""
    query = parse_qs(scope["query_string"])
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    async for frame in tokens(int(query[b"count"][0]), float(query[b"pause"][0])):
        await send({"type": "http.response.body", "body": frame, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def starlette():
    from starlette.applications import Starlette
    from starlette.responses import StreamingResponse
    from starlette.routing import Route

    async def stream(request):
        query = request.query_params
        body = tokens(int(query["count"]), float(query["pause"]))
        return StreamingResponse(body, media_type="text/event-stream")

    return Starlette(routes=[Route("/", stream)])


def chatstream():
    """ChatStream 0.3.0 as its makers show it, with its mock model at full speed and its limits lifted."""
    from chatstream import ChatPromptTogetherRedPajamaINCITEChat, ChatStream
    from fastapi import FastAPI

    app = FastAPI()
    chat = ChatStream(
        num_of_concurrent_executions=2000,
        max_queue_size=2000,
        use_mock_response=True,
        mock_params={"type": "echo", "initial_wait_sec": 0, "time_per_token_sec": 0},
        chat_prompt_clazz=ChatPromptTogetherRedPajamaINCITEChat,
    )
    chat.append_apis(app, {"all": True})
    chat.append_middlewares(app)

    @app.on_event("startup")
    async def startup():
        await chat.start_queue_worker()

    return app
