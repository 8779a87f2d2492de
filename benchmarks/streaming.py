"""Answers of 1,000 tokens at full speed, side by side: ours, plain Django, Starlette, bare ASGI, ChatStream.

``python -m benchmarks.streaming [clients …]`` (default 1 100 1000), each server a uvicorn process on SQLite
of its own, pinned to one CPU, the client to another; rounds are interleaved, figures are medians. Every
answer is counted to its last token.

tokens/s   of all clients, from the first request to the last byte
CPU        of the server, µs a token, what the request itself costs included
one more   the same of a token more: without what an answer of 10 slow tokens costs
first      ms from the request to the first token, median of the clients, of that slow answer: at full speed
           it is the model that is measured
bytes      on the wire for one answer, times the text

ROUNDS (3), TOKENS (1000) and BENCH_DATABASE (a URL) change it. Starlette and ChatStream are measured where
PEERS, a Python that has them (pip install chatstream==0.3.0 psutil torch uvicorn uvloop httptools), is given.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from tests.processes import free_port, request, wait_for

ROUNDS = int(os.environ.get("ROUNDS", "3"))
TOKENS = int(os.environ.get("TOKENS", "1000"))
PEERS = os.environ.get("PEERS")
#: An answer of more than so many clients has fewer tokens.
MANY, FEW_TOKENS = 500, 300
#: The slow answer: tokens, and seconds before each.
SLOW = (10, 0.05)


class Server:
    """One line of the table: a uvicorn process and how to ask it."""

    def __init__(self, name: str, folder: str, application: str, python: str = sys.executable, **site: str):
        self.name, self.port = name, free_port()
        self.prefix = "/chat/" if "ours" in name else "/"
        self.log = Path(folder, name.replace(" ", "-")).open("w+")  # noqa: SIM115 - the server's, while it lives
        variables = {**os.environ, "PYTHONPATH": os.getcwd(), **site}
        if "BENCH_SITE" in site:
            variables["DJANGO_SETTINGS_MODULE"] = "benchmarks.streaming_site"
            url = f"sqlite:///{folder}/{site['BENCH_SITE']}.sqlite3"
            variables.setdefault("BENCH_DATABASE", url)
            migrate = [python, "-m", "django", "migrate", "--verbosity=0"]
            subprocess.run(migrate, env=variables, check=True)
        options = ["--log-level=error", f"--port={self.port}", "--backlog=4096"]
        if not application.endswith("raw"):
            options.append("--factory")
        command = [python, "-m", "uvicorn", application, *options]
        self.process = subprocess.Popen(command, env=variables, stdout=self.log, stderr=self.log)
        wait_for(self.process, self.port)
        os.sched_setaffinity(self.process.pid, {0})
        self.number = 0
        self.headers = self.visit() if "BENCH_SITE" in site else ""

    def visit(self) -> str:
        """The headers of a visitor."""
        page = request(self.port, "GET", "/chat/" if self.name.startswith("ours") else "/begin")
        cookies = [line.split(";")[0] for line in page.headers.get_all("Set-Cookie")]
        token = dict(cookie.split("=", 1) for cookie in cookies)["csrftoken"]
        return f"Cookie: {'; '.join(cookies)}\r\nX-CSRFToken: {token}\r\n"

    def ask(self, count: int, pause: float) -> bytes:
        """The bytes of a request for so many tokens, each after a pause."""
        self.number += 1
        body: dict[str, Any] = {"count": count, "pause": pause}
        method, path = "POST", "/plain"
        if self.name.startswith("ours"):
            parts = [{"type": "text", "text": f"{count} {pause}"}]
            body = {"id": f"c{self.number}", "message": {"id": "m1", "role": "user", "parts": parts}}
            path = "/chat/api/chat"
        elif self.name == "ChatStream":
            body, path = {"user_input": "tok " * count}, "/chat_stream"
        elif not self.headers:
            method, path = "GET", f"/?count={count}&pause={pause}"
        data = json.dumps(body) if method == "POST" else ""
        return (
            f"{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{self.headers}"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n{data}"
        ).encode()

    def cpu(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()


class Answer(asyncio.Protocol):
    """One request and its answer, to the last byte."""

    def __init__(self, head: bytes) -> None:
        self.head = head
        self.chunks: list[bytes] = []
        self.first = 0.0
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.began = time.monotonic()
        transport.write(self.head)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        if not self.first and b"tok" in data:
            self.first = time.monotonic() - self.began
        self.chunks.append(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.closed.set_result(None)


async def volley(server: Server, clients: int, count: int, pause: float = 0) -> dict[str, float]:
    """So many clients at once; a single one 20 times."""
    cpu, took, answers = server.cpu(), 0.0, []
    for _ in range(20 if clients == 1 else 1):
        requests = [server.ask(count, pause) for _ in range(clients)]
        began = time.monotonic()
        answers += await asyncio.gather(*(answer_to(head, server.port) for head in requests))
        took += time.monotonic() - began
    await asyncio.sleep(1.5)  # what is written behind the last byte is part of the cost
    bodies = [b"".join(answer.chunks) for answer in answers]
    assert all(b"tok" in body for body in bodies)
    if server.name != "ChatStream":  # it sends the whole text with every token
        assert {body.count(b"tok ") for body in bodies} == {count}, bodies[0][:2000]
    return {
        "tokens/s": len(answers) * count / took,
        "CPU": 1e6 * (server.cpu() - cpu) / len(answers),
        "first": 1e3 * median(answer.first for answer in answers),
        "bytes": median(map(len, bodies)) / (4 * count),
    }


def both(server: Server, clients: int, count: int) -> dict[str, float]:
    """The figures of one round."""
    fast = asyncio.run(volley(server, clients, count))
    slow = asyncio.run(volley(server, clients, *SLOW))
    return {
        "tokens/s": fast["tokens/s"],
        "CPU": fast["CPU"] / count,
        "one more": (fast["CPU"] - slow["CPU"]) / (count - SLOW[0]),
        "first": slow["first"],
        "bytes": fast["bytes"],
    }


async def answer_to(head: bytes, port: int) -> Answer:
    loop = asyncio.get_running_loop()
    answer = (await loop.create_connection(lambda: Answer(head), "127.0.0.1", port))[1]
    await answer.closed
    return answer


def measure(servers: list[Server], clients: int) -> None:
    count = TOKENS if clients <= MANY else min(TOKENS, FEW_TOKENS)
    found: dict[str, list[dict[str, float]]] = {server.name: [] for server in servers}
    for server in servers:
        asyncio.run(volley(server, min(clients, 10), 10))
    for turn in range(ROUNDS):
        for server in servers[turn % len(servers) :] + servers[: turn % len(servers)]:
            if server.name == "ChatStream" and clients > MANY:
                continue
            found[server.name].append(both(server, clients, count))
    print(
        f"\n{clients} clients, {count} tokens each  (load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)"
    )
    heads = [f"{head:>17}" for head in ("tokens/s", "CPU µs/token", "one more µs", "first ms")]
    print(f"{'':>13}{''.join(heads)}{'bytes':>7}")
    floor = {key: median(line[key] for line in found["raw ASGI"]) for key in found["raw ASGI"][0]}
    for name, lines in found.items():
        if lines:
            value = {key: median(line[key] for line in lines) for key in floor}
            names = ("tokens/s", "CPU", "one more", "first")
            cells = [f"{value[key]:9.1f} ({value[key] / floor[key]:5.2f})" for key in names]
            print(f"{name:>13}{''.join(f'{cell:>17}' for cell in cells)}{value['bytes']:7.1f}")


def main(clients: list[int]) -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(20_000, limit), limit))
    os.sched_setaffinity(0, {(os.cpu_count() or 1) - 1})
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        peers, site = "benchmarks.streaming_peers", "benchmarks.streaming_site:application"
        lines: list[tuple[str, str, str, dict[str, str]]] = [("raw ASGI", f"{peers}:raw", sys.executable, {})]
        if PEERS:
            lines += [(name, f"{peers}:{name.lower()}", PEERS, {}) for name in ("Starlette", "ChatStream")]
        else:
            print("Starlette and ChatStream are left out: PEERS is not set (see --help)")
        lines += [
            (name, site, sys.executable, {"BENCH_SITE": name.replace(" ", "")})
            for name in ("plain Django", "ours", "ours+handoff")
        ]
        servers = []
        for name, application, python, variables in lines:
            servers.append(Server(name, folder, application, python, **variables))
            stack.callback(servers[-1].stop)
        for number in clients:
            measure(servers, number)


if __name__ == "__main__":
    if sys.argv[1:] in (["-h"], ["--help"]):
        print(__doc__)
    else:
        main([int(argument) for argument in sys.argv[1:]] or [1, 100, 1000])
