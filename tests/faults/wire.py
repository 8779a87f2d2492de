"""Requests as a client under attack sees them: whatever breaks is ``Broken``."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

PATIENCE = 30  # seconds without a byte


class Broken(Exception):
    """The connection was refused, or ended before the response was whole."""


class Response:
    def __init__(self, reader, status, headers):
        self.reader, self.status, self.headers = reader, status, headers

    def all(self, name):
        return [value for key, value in self.headers if key == name]

    async def pieces(self):
        """The body as it comes."""
        if "chunked" in self.all("transfer-encoding"):
            while size := int(await line(self.reader), 16):
                yield await patiently(self.reader.readexactly(size))
                await line(self.reader)
            return
        for length in self.all("content-length"):
            yield await patiently(self.reader.readexactly(int(length)))

    async def read(self):
        return b"".join([piece async for piece in self.pieces()])

    async def events(self):
        """(event ID, frame) of a stream; heartbeats and ``[DONE]`` left out."""
        rest = b""
        async for piece in self.pieces():
            *blocks, rest = (rest + piece).split(b"\n\n")
            for block in blocks:
                fields = dict(entry.split(": ", 1) for entry in block.decode().split("\n"))
                if fields.get("data", "[DONE]") != "[DONE]":
                    yield fields.get("id"), json.loads(fields["data"])


async def patiently(awaitable):
    return await asyncio.wait_for(awaitable, PATIENCE)


async def line(reader):
    found = await patiently(reader.readline())
    if not found.endswith(b"\r\n"):
        raise Broken
    return found.strip().decode()


@asynccontextmanager
async def request(port, method, path, headers=None, body=None):
    """A ``Response`` whose body is still to be read."""
    writer = None
    try:
        reader, writer = await patiently(asyncio.open_connection("127.0.0.1", port))
        content = b"" if body is None else json.dumps(body).encode()
        fields = {"Host": f"127.0.0.1:{port}", "Connection": "close", "Content-Length": len(content)}
        fields |= {"Content-Type": "application/json"} | (headers or {})
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + content)
        await writer.drain()
        status = int((await line(reader)).split()[1])
        received = []
        while field := await line(reader):
            name, _, value = field.partition(":")
            received.append((name.lower(), value.strip()))
        yield Response(reader, status, received)
    except (OSError, TimeoutError, EOFError, ValueError, IndexError) as error:
        raise Broken(repr(error)) from error
    finally:
        if writer is not None:
            writer.close()
