"""A server on loopback that speaks chat completions as badly as it is told to."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

#: Steps of an answer that are not bytes.
SILENCE, DROP = object(), object()

# No length and no chunks: the end of the connection is the end of the body, so a cut looks like an end.
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
CHUNKED = STREAM.replace(b"Connection: close", b"Transfer-Encoding: chunked")
DONE = b"data: [DONE]\n\n"


def event(**values):
    return (
        b"data: "
        + json.dumps({"object": "chat.completion.chunk", **values}, ensure_ascii=False).encode()
        + b"\n\n"
    )


def delta(finish=None, **delta):
    return event(choices=[{"index": 0, "delta": delta, "finish_reason": finish}])


def text(content):
    return delta(content=content)


FINISH = delta(finish="stop")
ROLE = delta(role="assistant", content="")
USAGE = event(choices=[], usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5})


def chunked(data):
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def refusal(status, *, message="No.", code=None, headers=""):
    body = json.dumps({"error": {"message": message, "code": code}}).encode()
    head = f"HTTP/1.1 {status} No\r\nContent-Type: application/json\r\nConnection: close\r\n{headers}"
    return [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body]


class Hostile:
    """Answers the n-th request by the n-th script, and goes on with the last one."""

    def __init__(self, *scripts):
        self.scripts = scripts
        self.bodies = []
        self.heads = []
        self.left = asyncio.Event()
        self.serving = []

    async def serve(self, reader, writer):
        self.serving.append(asyncio.current_task())
        try:
            await self._answer(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def _answer(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(
            int(line[15:]) for line in head.lower().splitlines() if line.startswith("content-length:")
        )
        self.heads.append(head)
        self.bodies.append(json.loads(await reader.readexactly(length)))
        for step in self.scripts[min(len(self.bodies), len(self.scripts)) - 1]:
            await self._take(step, reader, writer)

    async def _take(self, step, reader, writer):
        if step is SILENCE:
            await reader.read()
            self.left.set()
        elif step is DROP:
            writer.transport.abort()
        elif not writer.is_closing():
            writer.write(step)
            await writer.drain()
            # So that the next write is a segment of its own.
            await asyncio.sleep(0.005)


@asynccontextmanager
async def hostile(*scripts):
    """Yields (server, base URL)."""
    fake = Hostile(*scripts)
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    async with server:
        yield fake, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        if fake.serving:
            await asyncio.wait(fake.serving, timeout=5)
