"""Many streams in one uvicorn process, on SQLite.

``python -m benchmarks.streams [paced] [idle] [dead] [runs]``:

paced   1,000 open streams at 5 tokens/s for a minute: are any dropped, how far apart are the frames?
idle    1,000 open streams whose model has said one word and thinks: what does each hold?
dead    1,000 readers that vanish in mid-answer, three times over: do memory and threads come back? (Fewer,
        where opening them takes longer than SECONDS.)
runs    500 answers asked for at once: do all complete, does a lock error surface?

The client is this process, raw sockets on asyncio. STREAMS, SECONDS and PACE change the numbers;
with HANDOFF=1 the streams are handed off to ``chatsession.asgi.StreamHandoff``.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from statistics import quantiles

from tests.processes import free_port, request, wait_for
from tests.servers import COMMANDS, environment, migrate

STREAMS = int(os.environ.get("STREAMS", "1000"))
SECONDS = int(os.environ.get("SECONDS", "60"))
PACE = float(os.environ.get("PACE", "5"))
TOKEN = re.compile(rb"(\d+):(\d+\.\d+) ")
RESET = struct.pack("ii", 1, 0)


class Server:
    """uvicorn in a process of its own, and what the kernel says of it."""

    def __init__(self, folder: str) -> None:
        self.url = f"sqlite:///{folder}/db.sqlite3"
        self.log = Path(folder, "log").open("w+")  # noqa: SIM115 - the server's, while it lives
        self.port = free_port()

    def __enter__(self) -> Server:
        site = {"DJANGO_SETTINGS_MODULE": "benchmarks.streams_site"}
        site["TEST_HANDOFF"] = os.environ.get("HANDOFF", "")
        migrate(self.url, **site)
        command = [sys.executable, "-m", *(part.format(port=self.port) for part in COMMANDS["uvicorn"])]
        variables = environment(self.url, **site)
        self.process = subprocess.Popen(command, env=variables, stdout=self.log, stderr=self.log)
        wait_for(self.process, self.port)
        return self

    def __exit__(self, *error: object) -> None:
        self.process.terminate()
        self.process.wait(30)
        self.log.seek(0)
        errors = Counter(line.strip() for line in self.log if re.match(r"[\w.]+(Error|Exception)\b", line))
        print(f"  errors in the server's log: {dict(errors) or 'none'}")
        if keep := os.environ.get("LOG"):
            shutil.copy(self.log.name, keep)

    def size(self) -> tuple[int, int]:
        """kB of memory, and threads."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = dict(re.findall(r"^(VmRSS|Threads):\s+(\d+)", status, re.M))
        return int(found["VmRSS"]), int(found["Threads"])

    def state(self) -> str:
        memory, threads = self.size()
        return f"{memory / 1024:.0f} MB, {threads} threads"

    def cpu(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Stream(asyncio.Protocol):
    """One POST and its answer: the bytes, and when each of its tokens came."""

    def __init__(self, head: bytes) -> None:
        self.head = head
        self.status = b""
        self.tail = b""
        self.tokens: list[tuple[int, float, float]] = []
        self.finished = False
        self.frames: list[float] = []
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        transport.write(self.head)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        self.status = self.status or data[9:12]
        data = self.tail + data
        cut = data.rfind(b"\n\n") + 2 if b"\n\n" in data else 0
        data, self.tail = data[:cut], data[cut:]
        found = TOKEN.findall(data)
        if found:
            self.frames.append(now)
        self.tokens += [(int(number), float(written), now) for number, written in found]
        self.finished = self.finished or b'"type":"finish"' in data
        if b"data: [DONE]" in data:
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(error)

    def vanish(self) -> None:
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.transport.abort()


class Visitor:
    """One guest, who may read any number of answers."""

    def __init__(self, server: Server) -> None:
        self.port, self.number = server.port, 0
        page = request(self.port, "GET", "/chat/")
        cookies = [line.split(";")[0] for line in page.headers.get_all("Set-Cookie")]
        token = dict(cookie.split("=", 1) for cookie in cookies)["csrftoken"]
        self.headers = f"Cookie: {'; '.join(cookies)}\r\nX-CSRFToken: {token}\r\n"

    async def ask(self, count: int, pace: float) -> Stream:
        self.number += 1
        text = f"{count} {pace}"
        message = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": text}]}
        body = json.dumps({"id": f"c{self.number}", "message": message})
        head = (
            f"POST /chat/api/chat HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
            f"{self.headers}Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(lambda: Stream(head), "127.0.0.1", self.port))[1]


def percentiles(values: list[float]) -> str:
    cuts = quantiles(values, n=1000)
    return f"p50 {cuts[499] * 1000:.0f}  p99 {cuts[989] * 1000:.0f}  max {max(values) * 1000:.0f} ms"


async def open_streams(visitor: Visitor, number: int, count: int, pace: float) -> list[Stream]:
    """Open them one after the other, as visitors come, and wait until all are being read."""
    streams = []
    for _ in range(number):
        streams.append(await visitor.ask(count, pace))
        await asyncio.sleep(0.005)
    while not all(stream.tokens or stream.closed.done() for stream in streams):
        await asyncio.sleep(0.1)
    return streams


async def paced(server: Server) -> None:
    visitor, count = Visitor(server), int(SECONDS * PACE)
    print(f"{STREAMS} streams of {count} tokens at {PACE:g}/s; idle: {server.state()}")
    began, cpu = time.monotonic(), server.cpu()
    streams = await open_streams(visitor, STREAMS, count, PACE)
    print(f"  all open after {time.monotonic() - began:.1f} s: {server.state()}")
    opened = time.monotonic()
    await asyncio.wait([stream.closed for stream in streams])
    whole = [s for s in streams if s.finished and [token[0] for token in s.tokens] == list(range(count))]
    tokens = sum(len(stream.tokens) for stream in streams)
    print(f"  {len(whole)} of {len(streams)} whole; {Counter(s.status.decode() for s in streams)}")
    report("all the time", streams, began)
    report("once all were open", streams, opened)
    print(f"  CPU {1e6 * (server.cpu() - cpu) / tokens:.0f} µs/token; end: {server.state()}")


def report(when: str, streams: list[Stream], since: float) -> None:
    frames = [b - a for s in streams for a, b in pairwise(s.frames) if a >= since]
    written = [b[1] - a[1] for s in streams for a, b in pairwise(s.tokens) if a[1] >= since]
    latency = [came - written for s in streams for _, written, came in s.tokens if written >= since]
    print(f"  {when}:")
    print(f"    between two frames      {percentiles(frames)}")
    print(f"    between two tokens      {percentiles(written)}  (the model's own)")
    print(f"    from model to client    {percentiles(latency)}")


async def idle(server: Server) -> None:
    visitor = Visitor(server)
    for stream in await open_streams(visitor, 20, 1, PACE):  # what is loaded at the first use
        await stream.closed
    memory, threads = server.size()
    print(f"{STREAMS} streams whose model thinks; idle: {server.state()}")
    began = time.monotonic()
    streams = await open_streams(visitor, STREAMS, 2, 0.001)
    took = time.monotonic() - began
    await asyncio.sleep(5)
    more, many = server.size()
    print(f"  {sum(not stream.closed.done() for stream in streams)} open after {took:.1f} s")
    print(f"  {(more - memory) / STREAMS:.1f} kB each, threads {threads} -> {many}")
    for stream in streams:
        stream.vanish()


async def dead(server: Server) -> None:
    visitor = Visitor(server)
    print(f"{STREAMS} readers vanish, their answers take {SECONDS} s; idle: {server.state()}")
    for turn in range(1, 4):
        streams = await open_streams(visitor, STREAMS, int(SECONDS * PACE), PACE)
        before = server.state()
        vanished = [stream.vanish() for stream in streams if not stream.closed.done()]
        await asyncio.sleep(3)
        between = server.state()
        await asyncio.sleep(SECONDS)
        print(f"  {turn}. {len(vanished)} open: {before}; gone: {between}; answers done: {server.state()}")


async def runs(server: Server) -> None:
    visitor, number = Visitor(server), STREAMS // 2
    print(f"{number} answers of 20 tokens at once")
    began = time.monotonic()
    streams = await asyncio.gather(*(visitor.ask(20, 5) for _ in range(number)))
    await asyncio.wait([stream.closed for stream in streams])
    whole = [s for s in streams if s.finished and len(s.tokens) == 20]
    print(f"  {len(whole)} whole; {Counter(s.status.decode() for s in streams)}")
    print(f"  after {time.monotonic() - began:.1f} s; stored: {stored(server)}; {server.state()}")


def stored(server: Server) -> dict[str, int]:
    import sqlite3

    with sqlite3.connect(server.url.removeprefix("sqlite:///")) as database:
        query = "SELECT status, count(*) FROM chatsession_message WHERE role = 'assistant' GROUP BY status"
        return dict(database.execute(query).fetchall())


def main(names: list[str]) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (20_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    for name in names or ["paced", "idle", "dead", "runs"]:
        print(f"\n{name}  (load of this machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)")
        with tempfile.TemporaryDirectory() as folder, Server(folder) as server:
            asyncio.run({"paced": paced, "idle": idle, "dead": dead, "runs": runs}[name](server))


if __name__ == "__main__":
    main(sys.argv[1:])
