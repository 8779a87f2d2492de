"""A storm of faults over a real server: ``python -m tests.faults --kills 50 --server gunicorn``.

Visitors chat, leave, come back, stop, send twice; at random moments a worker is killed with -9. When it is
over, nothing may be lost, stuck, garbled or doubled. It prints its figures; the exit status tells.

--server uvicorn|gunicorn, --database sqlite|postgres (TEST_POSTGRES: a server where databases may be made),
--conversations, --kills, --pace (mean seconds between two kills), --lease (seconds), --seed
--redis (how often a Redis of the site is killed, empty when it comes back; 0: the site has none)
--sessions db|redis (in that Redis, which then comes back as it was)
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from redis import Redis

from tests.redis_server import Server

POSTGRES = os.environ.get("TEST_POSTGRES", "postgres://postgres@127.0.0.1:5432")
#: Seconds that everything may take to come to its end.
QUIET = 30


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--server", default="uvicorn", choices=["uvicorn", "gunicorn"])
    parser.add_argument("--database", default="sqlite", choices=["sqlite", "postgres"])
    parser.add_argument("--sessions", default="db", choices=["db", "redis"])
    for name, default in {"conversations": 50, "kills": 50, "seed": 1, "redis": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    for name, default in {"pace": 3.0, "lease": 5.0}.items():
        parser.add_argument(f"--{name}", type=float, default=default)
    return parser.parse_args()


@contextmanager
def database(kind, folder):
    """The URL of a new database."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/db.sqlite3"
        return
    import psycopg

    name = f"chatsession_faults_{os.getpid()}"
    with psycopg.connect(f"{POSTGRES}/postgres", autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
        try:
            yield f"{POSTGRES}/{name}"
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def blow(storm, process, redis, arguments):
    """The storm itself, and the quiet behind it; answers how long that took to be quiet."""
    from tests.faults.visitors import Visitor

    visitors = [Visitor(storm) for _ in range(arguments.conversations)]
    living = asyncio.gather(*(visitor.live() for visitor in visitors))
    watching = asyncio.create_task(watch(storm))
    await asyncio.gather(kill_workers(storm, process, arguments), kill_redis(storm, redis, arguments))
    storm.over.set()
    began = time.monotonic()
    try:
        async with asyncio.timeout(QUIET + 60):
            await living
            storm.figures["seconds until all were answered"] = round(time.monotonic() - began, 1)
            await asyncio.gather(*(visitor.quiet() for visitor in visitors))
            while redis and taken(redis):
                await asyncio.sleep(0.1)
    except TimeoutError:
        storm.faults.append("some never came to their end")
    storm.figures["seconds until quiet"] = took = round(time.monotonic() - began, 1)
    if took > QUIET + arguments.lease:
        storm.faults.append(f"it took {took} s to be quiet")
    watching.cancel()


async def kill_workers(storm, process, arguments):
    from tests.faults import hosts

    while storm.figures["kills"] < arguments.kills:
        await asyncio.sleep(storm.dice.uniform(0, 2 * arguments.pace))
        if workers := hosts.workers(process):
            hosts.kill(storm.dice.choice(workers))
            storm.figures["kills"] += 1


async def kill_redis(storm, redis, arguments):
    while storm.figures["kills of Redis"] < arguments.redis:
        await storm.pause(2 * arguments.pace)
        redis.stop()
        storm.figures["kills of Redis"] += 1
        await storm.pause(3)
        await asyncio.to_thread(redis.start)


def taken(redis):
    """How many seats the processes hold between them."""
    with Redis.from_url(redis.url) as connection:
        return connection.zcard("chatsession:seats:order")


async def watch(storm):
    """Never two active runs in a conversation."""
    while True:
        for conversation in await asyncio.to_thread(crowded):
            storm.figures["two runs at once"] += 1
            storm.faults.append(f"two runs at once in conversation {conversation}")
        await asyncio.sleep(0.5)


def crowded():
    from django.db import connection
    from django.db.models import Count

    from chatsession.conversations.turns import ACTIVE
    from chatsession.models import Message

    try:
        active = Message.objects.filter(status__in=ACTIVE).values("conversation").annotate(n=Count("pk"))
        return list(active.filter(n__gt=1).values_list("conversation", flat=True))
    finally:
        connection.close()


def main():
    arguments = options()
    with (
        tempfile.TemporaryDirectory(prefix="chatsession-faults-") as folder,
        database(arguments.database, folder) as url,
    ):
        return storm_over(url, arguments, Path(folder) / "server.log")


def storm_over(url, arguments, log):
    os.environ |= {"DJANGO_SETTINGS_MODULE": "tests.faults.settings", "TEST_DATABASE_URL": url}
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connections

    from tests.faults import hosts
    from tests.faults.verdict import judge
    from tests.faults.visitors import Storm

    call_command("migrate", verbosity=0)
    connections.close_all()
    with redis_of(arguments) as redis, hosts.serve(arguments.server, url, arguments.lease, log) as served:
        process, port = served
        refusals = (409, 429, 503) if arguments.sessions == "redis" else (409, 429)
        storm = Storm(port, random.Random(arguments.seed), refusals)
        asyncio.run(blow(storm, process, redis, arguments))
    judge(storm)
    connections.close_all()
    return report(storm, arguments, log.read_text())


@contextmanager
def redis_of(arguments):
    """The site's Redis, if it is to have one."""
    if not arguments.redis:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="chatsession-redis-") as folder:
        keeping = ["--appendonly", "yes", "--appendfsync", "always", "--dir", folder]
        redis = Server(*(keeping if arguments.sessions == "redis" else []))
        os.environ |= {"TEST_FAULTS_REDIS": redis.url, "TEST_FAULTS_SESSIONS": arguments.sessions}
        try:
            yield redis
        finally:
            redis.stop()


def report(storm, arguments, log):
    storm.figures["errors in the server's log"] = log.count("Traceback")
    print(", ".join(f"{name} {value}" for name, value in vars(arguments).items()))
    for name in sorted(storm.figures):
        print(f"  {storm.figures[name]:>8}  {name}")
    for fault in storm.faults[:20]:
        print(f"FAULT  {fault}")
    if storm.faults:
        print(log[-6000:])
    print(f"{len(storm.faults)} faults")
    return int(bool(storm.faults))


if __name__ == "__main__":
    sys.exit(main())
