"""What a session costs, beside its peers: ``python -m benchmarks.sessions [requests] [writers] [memory]``.

requests  a request that leaves the session alone, reads its history, or reads it and writes a small key;
          handlers are called in this process, without a server; net of the same request without middleware
writers   50 requests at once, each adds a key to one session: how many keys are there afterwards?
memory    the memory store with a million visits, and what a session takes of it

On one CPU, in ROUNDS; in each all cells are measured in random order, REPEATS requests each, of which the
fastest counts: others may be using the machine. The figures are medians over the rounds.

BENCH_POSTGRESQL and BENCH_REDIS are the URLs of the servers; what does not answer is left out. LINES (a
regular expression) chooses lines, SIZES (0.2k,10k,100k) the sizes of the history.
"""

from __future__ import annotations

import asyncio
import importlib
import io
import os
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from statistics import median
from typing import Any

import django
from django.test.utils import override_settings

from benchmarks import sessions_memory, sessions_site
from benchmarks.sessions_site import SIZES, Router

ROUNDS = int(os.environ.get("ROUNDS", "30"))
REPEATS = int(os.environ.get("REPEATS", "10"))
WANTED = [size for size in SIZES if size in os.environ.get("SIZES", ",".join(SIZES)).split(",")]
WRITERS = 50
INSTALL = "pip install --group bench"
CASES = [("untouched", "0.2k"), *((case, size) for size in WANTED for case in ("read", "write"))]
DJANGO, OURS = "django.contrib.sessions", "chatsession"
#: Ours, its peer, and the most of the peer's net cost it may take at 10 and 100 kB.
TARGETS = [
    ("chatsession db, SQLite", "Django db, SQLite", 0.6, 0.3),
    ("chatsession db, SQLite persistent", "Django db, SQLite persistent", 0.6, 0.3),
    ("chatsession db, PostgreSQL", "Django db, PostgreSQL", 0.6, 0.3),
    ("chatsession redis", "Django cache, Redis", 1.0, 0.6),
]

Answer = tuple[str, str]


@dataclass
class Line:
    """One application, and how it is asked."""

    name: str
    mode: str
    floor: str
    get: Callable[[str, str], Any]
    alias: str = "default"
    cookies: dict[str, str] = field(default_factory=dict)
    #: What ``write`` has to answer next.
    counts: dict[str, int] = field(default_factory=dict)
    #: Medians of the rounds by case and size, in seconds.
    seconds: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        return "bare" if self.name.startswith("bare") else self.mode


def wsgi(handler: Any) -> Callable[[str, str], Answer]:
    def get(path: str, cookie: str) -> Answer:
        environ = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": f"/{path}",
            "SERVER_NAME": "test",
            "SERVER_PORT": "80",
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_USER_AGENT": "Mozilla/5.0 (X11; Linux x86_64)",
            "HTTP_COOKIE": cookie,
            "wsgi.input": io.BytesIO(),
            "wsgi.url_scheme": "http",
        }
        sent: list[Any] = []
        response = handler(environ, lambda *head: sent.extend(head))
        body = b"".join(response).decode()
        response.close()
        assert sent[0] == "200 OK", (sent, body)
        return body, next((value for name, value in sent[1] if name == "Set-Cookie"), "")

    return get


def asgi(handler: Any) -> Callable[[str, str], Any]:
    async def get(path: str, cookie: str) -> Answer:
        headers = [(b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64)"), (b"cookie", cookie.encode())]
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": f"/{path}",
            "query_string": b"",
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("test", 80),
        }
        incoming, sent = [{"type": "http.request", "body": b""}], []

        async def receive() -> Any:
            return incoming.pop() if incoming else await asyncio.Future()

        async def send(message: Any) -> None:
            sent.append(message)

        await handler(scope, receive, send)
        body = b"".join(message.get("body", b"") for message in sent).decode()
        assert sent[0]["status"] == 200, (sent, body)
        found = {name.lower(): value.decode() for name, value in sent[0]["headers"]}
        return body, found.get(b"set-cookie", "")

    return get


#: The databases by name, with the alias that a request uses under WSGI and under ASGI.
DATABASES = {
    "SQLite": ("default", "default"),
    "SQLite persistent": ("persistent", None),
    "PostgreSQL": ("postgresql", "pool"),
}


def lines(aliases: list[str]) -> Iterator[Line]:
    from django.core.handlers.asgi import ASGIHandler
    from django.core.handlers.wsgi import WSGIHandler

    def site(
        name: str, engine: str, middleware: str = "", databases: Any = ("default",) * 2
    ) -> Iterator[Line]:
        chosen = [f"{middleware}.middleware.SessionMiddleware"] if middleware else []
        with override_settings(MIDDLEWARE=chosen, SESSION_ENGINE=engine):
            yield Line(name, "sync", "no middleware", wsgi(WSGIHandler()), databases[0])
            if databases[1]:
                yield Line(name, "async", "no middleware", asgi(ASGIHandler()), databases[1])

    yield from site("no middleware", "")
    for name, used in DATABASES.items():
        if used[0] in aliases:
            yield from site(f"Django db, {name}", f"{DJANGO}.backends.db", DJANGO, used)
            yield from site(f"chatsession db, {name}", f"{OURS}.stores.db", OURS, used)
            yield from site(f"bare SQL, {name}", "", "", (used[0], None))
    if with_redis := redis_answers():
        yield from site("Django cache, Redis", f"{DJANGO}.backends.cache", DJANGO)
    with missing(f"{OURS}.stores.redis"):
        importlib.import_module(f"{OURS}.stores.redis")
        if with_redis:
            yield from site("chatsession redis", f"{OURS}.stores.redis", OURS)
            yield from site("bare GET, Redis", "", "", ("redis", None))
    yield from site("chatsession memory", f"{OURS}.stores.memory", OURS)
    with missing(f"FastSession and starsessions: {INSTALL}"):
        for name, app in importlib.import_module("benchmarks.sessions_peers").apps().items():
            if with_redis or "Redis" not in name:
                yield Line(name, "async", "Starlette", asgi(app))


@contextmanager
def missing(what: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        print(f"left out ({error}): {what}")


def redis_answers() -> bool:
    with missing(INSTALL):
        from redis import Redis, RedisError

        try:
            return bool(Redis.from_url(sessions_site.REDIS).ping())
        except RedisError as error:
            print(f"left out: Redis ({error})")
    return False


class Bench:
    """All lines, their sessions, and one event loop for those that need it."""

    def __init__(self, runner: asyncio.Runner, aliases: list[str]) -> None:
        self.runner = runner
        self.lines = [line for line in lines(aliases) if re.search(os.environ.get("LINES", ""), line.name)]
        self.length = {size: len(sessions_site.history(SIZES[size])) for size in SIZES}

    def ask(self, line: Line, path: str, cookie: str = "") -> Answer:
        Router.alias = line.alias
        answer = line.get(f"{line.folder}/{path}", cookie)
        return answer if isinstance(answer, tuple) else self.runner.run(answer)

    def start(self, line: Line, size: str) -> None:
        if line.folder == "bare":
            line.cookies[size] = f"bare={bare_row(line.alias, SIZES[size])}"
        else:
            cookie = SimpleCookie(self.ask(line, f"start/{SIZES[size]}")[1])
            line.cookies[size] = "; ".join(f"{name}={morsel.value}" for name, morsel in cookie.items())
        line.counts[size] = 0

    def cases(self, line: Line) -> list[tuple[str, str]]:
        if line.name == line.floor:
            return CASES[:1]
        return CASES[1:] if line.folder == "bare" else CASES

    def check(self, line: Line, case: str, size: str, body: str) -> None:
        expected = "0" if case == "untouched" else str(self.length[size])
        if case == "write":
            expected += " -" if line.folder == "bare" else f" {line.counts[size]}"
            line.counts[size] += 1
        assert body == expected, (line.name, line.mode, case, size, body)

    def measure(self, line: Line, case: str, size: str) -> None:
        path, cookie, found = f"{line.folder}/{case}", line.cookies.get(size, ""), []
        Router.alias = line.alias

        async def several() -> None:
            for _ in range(REPEATS):
                began = time.perf_counter()
                body, _cookie = await line.get(path, cookie)
                found.append(time.perf_counter() - began)
                self.check(line, case, size, body)

        if line.mode == "async":
            self.runner.run(several())
        else:
            for _ in range(REPEATS):
                began = time.perf_counter()
                body, _cookie = line.get(path, cookie)
                found.append(time.perf_counter() - began)
                self.check(line, case, size, body)
        line.seconds.setdefault((case, size), []).append(min(found))

    def run(self) -> None:
        for line in self.lines:
            if line.name != line.floor:
                for size in dict.fromkeys(size for _, size in CASES):
                    self.start(line, size)
        cells = [(line, *cell) for line in self.lines for cell in self.cases(line)]
        for line, case, size in cells:
            self.measure(line, case, size)  # warm
        for line in self.lines:
            line.seconds.clear()
        for _ in range(ROUNDS):
            random.shuffle(cells)
            for line, case, size in cells:
                self.measure(line, case, size)

    # What comes out

    def net(self, line: Line, cell: tuple[str, str]) -> float:
        floor = next(other for other in self.lines if (other.name, other.mode) == (line.floor, line.mode))
        return median(line.seconds[cell]) - (0 if line is floor else median(floor.seconds[CASES[0]]))

    def report(self) -> None:
        for mode in ("sync", "async"):
            chosen = [line for line in self.lines if line.mode == mode]
            print(f"\n{mode}: net cost in µs (no middleware, Starlette: the request itself)\n")
            print("| | " + " | ".join(" ".join(cell) for cell in CASES) + " |")
            print("|---|" + "---:|" * len(CASES))
            for line in chosen:
                shown = [
                    f"{1e6 * self.net(line, cell):,.0f}" if cell in line.seconds else "" for cell in CASES
                ]
                print(f"| {line.name} | " + " | ".join(shown) + " |")
        print("\nratios of net cost\n")
        for mode in ("sync", "async"):
            for ours, peer, *limits in TARGETS:
                self.compare(mode, ours, peer, *limits)

    def compare(self, mode: str, ours: str, peer: str, at_10k: float, at_100k: float) -> None:
        found = {line.name: line for line in self.lines if line.mode == mode}
        if ours not in found or peer not in found:
            return
        for cell in CASES:
            ratio = self.net(found[ours], cell) / self.net(found[peer], cell)
            target = {"10k": at_10k, "100k": at_100k}.get(cell[1])
            if cell[0] == "untouched":
                target = 0.1 if mode == "async" else None
            verdict = "" if target is None else f"target {target}: {'met' if ratio <= target else 'MISSED'}"
            print(f"{mode:5} {ours:34} {' '.join(cell):15} {ratio:6.2f}  {verdict}")


def bare_row(alias: str, size: int) -> str:
    """A row as our store has them, or a value in Redis, for a query that knows of no session."""
    import json

    from django.utils import timezone

    from chatsession.models import Session
    from chatsession.redis import client

    now, data = timezone.now(), json.dumps(sessions_site.history(size)).encode()
    key = f"bare{size}"
    if alias == "redis":
        client().set(key, data, ex=3600)
        return key
    Session.objects.using(alias).create(
        key_hash=key, data=data, created_at=now, last_seen_at=now, expires_at=now
    )
    return key


def requests(runner: asyncio.Runner, aliases: list[str]) -> None:
    bench = Bench(runner, aliases)
    bench.run()
    bench.report()


def writers(runner: asyncio.Runner, aliases: list[str]) -> None:
    bench = Bench(runner, aliases)
    print(f"\n{WRITERS} requests at once to one session: keys kept, and requests that failed\n")
    for line in bench.lines:
        if line.name == line.floor or line.folder == "bare":
            continue
        bench.start(line, "0.2k")
        failed = at_once(line, runner)
        count = bench.ask(line, "kept", line.cookies["0.2k"])[0]
        print(f"{line.mode:5} {line.name:34} {count:>3} of {WRITERS}, {failed} failed")


def at_once(line: Line, runner: asyncio.Runner) -> int:
    paths, cookie = [f"{line.mode}/add/{number}" for number in range(WRITERS)], line.cookies["0.2k"]

    async def gathered() -> list[Any]:
        return await asyncio.gather(*(line.get(path, cookie) for path in paths), return_exceptions=True)

    def threaded(path: str) -> Any:
        from django.db import connections

        try:
            return line.get(path, cookie)
        except AssertionError as error:
            return error
        finally:
            connections.close_all()

    if line.mode == "async":
        results = runner.run(gathered())
    else:
        with ThreadPoolExecutor(WRITERS) as pool:
            results = [*pool.map(threaded, paths)]
    return sum(isinstance(result, BaseException) for result in results)


def main(names: list[str]) -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        sessions_site.configure(folder)
        django.setup()
        print(f"load of this machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        with sessions_site.databases() as aliases:
            for name in names or ["requests", "writers", "memory"]:
                {"requests": requests, "writers": writers, "memory": sessions_memory.main}[name](
                    runner, aliases
                )


if __name__ == "__main__":
    main(sys.argv[1:])
