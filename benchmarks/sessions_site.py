"""The site of ``sessions.py``: Django's sessions and ours on the same views and the same databases."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.db import OperationalError, connections
from django.http import HttpRequest, HttpResponse
from django.urls import path

from chatsession.redis import client
from demo_project import database_url

REDIS = os.environ.get("BENCH_REDIS", "redis://127.0.0.1:6379/13")
POSTGRESQL = os.environ.get("BENCH_POSTGRESQL", "postgres://postgres@127.0.0.1:5432/postgres")
#: Bytes of JSON that the history has.
SIZES = {"0.2k": 200, "10k": 10_000, "100k": 100_000}
#: Seconds between read and write of those who write at once.
THINKING = 0.02


class Router:
    """All models live in one database, the one of the line that is measured."""

    alias = "default"

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return Router.alias

    db_for_write = db_for_read


def configure(folder: str) -> None:
    sqlite = {"ENGINE": "django.db.backends.sqlite3"}
    postgresql = database_url.parse(POSTGRESQL) | {"NAME": f"chatsession_bench_{os.getpid()}"}
    settings.configure(
        SECRET_KEY="a key of the benchmark that signs nothing of value",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        USE_TZ=True,
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "chatsession",
        ],
        DATABASES={
            "default": sqlite | {"NAME": f"{folder}/default.sqlite3"},
            "persistent": sqlite | {"NAME": f"{folder}/persistent.sqlite3", "CONN_MAX_AGE": None},
            "postgresql": postgresql | {"CONN_MAX_AGE": None},
            # Under ASGI a connection ends with the request's thread, unless it comes from a pool.
            "pool": postgresql | {"OPTIONS": {"pool": True}},
        },
        DATABASE_ROUTERS=[f"{__name__}.Router"],
        CACHES={"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS}},
        CHATSESSION={"REDIS_URL": REDIS},
    )


@contextmanager
def databases() -> Iterator[list[str]]:
    """The aliases that can be used, with tables; afterwards nothing is left on the server."""
    admin = connections["postgresql"]
    name = admin.ops.quote_name(admin.settings_dict["NAME"])
    aliases = ["default", "persistent"]
    try:
        with admin._nodb_cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name}")
        aliases += ["postgresql", "pool"]
    except OperationalError as error:
        print(f"left out: PostgreSQL ({str(error).splitlines()[0]})")
    try:
        for Router.alias in aliases[:3]:
            call_command("migrate", database=Router.alias, verbosity=0)
        yield aliases
    finally:
        connections.close_all()
        if "pool" in aliases:
            connections["pool"].close_pool()
            with admin._nodb_cursor() as cursor:
                cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


@cache
def history(size: int) -> list[dict[str, str]]:
    """A chat of so many bytes of JSON. The words follow Zipf's law, so that it packs as text does."""
    choice = random.Random(1)
    words = ["".join(choice.choices("etaoinshrdlu", k=choice.randint(2, 9))) for _ in range(2000)]
    weights = [1 / rank for rank in range(1, 2001)]
    messages: list[dict[str, str]] = []
    while (missing := size - len(json.dumps(messages)) - 40) > 0:
        text = " ".join(choice.choices(words, weights, k=80))[:missing]
        messages.append({"role": "user" if len(messages) % 2 else "assistant", "text": text})
    return messages


def untouched(request: HttpRequest) -> HttpResponse:
    return HttpResponse("0")


def start(request: HttpRequest, size: int) -> HttpResponse:
    request.session["history"] = history(size)
    return HttpResponse("0")


def read(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(len(request.session["history"])))


def write(request: HttpRequest) -> HttpResponse:
    """Answers what the last one has written, so that the next one finds out whether this was kept."""
    length, count = len(request.session["history"]), request.session.get("count", 0)
    request.session["count"] = count + 1
    return HttpResponse(f"{length} {count}")


def add(request: HttpRequest, number: int) -> HttpResponse:
    assert "history" in request.session
    time.sleep(THINKING)
    request.session[f"own {number}"] = number
    return HttpResponse("0")


def kept(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(sum(key.startswith("own ") for key in request.session.keys())))  # noqa: SIM118


async def async_untouched(request: HttpRequest) -> HttpResponse:
    return HttpResponse("0")


async def async_start(request: HttpRequest, size: int) -> HttpResponse:
    await request.session.aset("history", history(size))
    return HttpResponse("0")


async def async_read(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(len(await request.session.aget("history"))))


async def async_write(request: HttpRequest) -> HttpResponse:
    length, count = len(await request.session.aget("history")), await request.session.aget("count", 0)
    await request.session.aset("count", count + 1)
    return HttpResponse(f"{length} {count}")


async def async_add(request: HttpRequest, number: int) -> HttpResponse:
    assert await request.session.ahas_key("history")
    await asyncio.sleep(THINKING)
    await request.session.aset(f"own {number}", number)
    return HttpResponse("0")


async def async_kept(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(sum(key.startswith("own ") for key in await request.session.akeys())))


# The least that any store has to do, without a session: the same row or value by its key, and back.


def _select(request: HttpRequest) -> bytes:
    if Router.alias == "redis":
        found: Any = client().get(request.COOKIES["bare"])
        return bytes(found)
    with connections[Router.alias].cursor() as cursor:
        cursor.execute("SELECT data FROM chatsession_session WHERE key_hash = %s", [request.COOKIES["bare"]])
        return bytes(cursor.fetchone()[0])


def _update(request: HttpRequest, data: bytes) -> None:
    if Router.alias == "redis":
        client().set(request.COOKIES["bare"], data, keepttl=True)
        return
    with connections[Router.alias].cursor() as cursor:
        cursor.execute(
            "UPDATE chatsession_session SET data = %s WHERE key_hash = %s",
            [data, request.COOKIES["bare"]],
        )
        assert cursor.rowcount == 1


def bare_read(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(len(json.loads(_select(request)))))


def bare_write(request: HttpRequest) -> HttpResponse:
    data = _select(request)
    data = data[:-1] if data.endswith(b" ") else data + b" "  # SQLite does not write what is so already
    _update(request, data)
    return HttpResponse(f"{len(json.loads(data))} -")


urlpatterns = [
    path("sync/untouched", untouched),
    path("sync/start/<int:size>", start),
    path("sync/read", read),
    path("sync/write", write),
    path("sync/add/<int:number>", add),
    path("sync/kept", kept),
    path("async/untouched", async_untouched),
    path("async/start/<int:size>", async_start),
    path("async/read", async_read),
    path("async/write", async_write),
    path("async/add/<int:number>", async_add),
    path("async/kept", async_kept),
    path("bare/read", bare_read),
    path("bare/write", bare_write),
]
