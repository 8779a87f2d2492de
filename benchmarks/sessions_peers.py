"""The same views on Starlette, under FastSession and starsessions."""

from __future__ import annotations

import asyncio
from typing import Any

from fastsession import FastSessionMiddleware, MemoryStore
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starsessions import InMemoryStore, SessionAutoloadMiddleware, SessionMiddleware
from starsessions.stores.redis import RedisStore

from benchmarks import sessions_site


def session_of(request: Request) -> Any:
    return request.state.session.get_session() if hasattr(request.state, "session") else request.session


async def untouched(request: Request) -> PlainTextResponse:
    return PlainTextResponse("0")


async def start(request: Request) -> PlainTextResponse:
    session_of(request)["history"] = sessions_site.history(request.path_params["size"])
    return PlainTextResponse("0")


async def read(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(session_of(request)["history"])))


async def write(request: Request) -> PlainTextResponse:
    session = session_of(request)
    length, count = len(session["history"]), session.get("count", 0)
    session["count"] = count + 1
    return PlainTextResponse(f"{length} {count}")


async def add(request: Request) -> PlainTextResponse:
    session, number = session_of(request), request.path_params["number"]
    assert "history" in session
    await asyncio.sleep(sessions_site.THINKING)
    session[f"own {number}"] = number
    return PlainTextResponse("0")


async def kept(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(sum(key.startswith("own ") for key in session_of(request))))


def app(*middleware: Middleware) -> Starlette:
    routes = [
        Route("/async/untouched", untouched),
        Route("/async/start/{size:int}", start),
        Route("/async/read", read),
        Route("/async/write", write),
        Route("/async/add/{number:int}", add),
        Route("/async/kept", kept),
    ]
    return Starlette(routes=routes, middleware=middleware)


def apps() -> dict[str, Starlette]:
    fast_session = Middleware(FastSessionMiddleware, secret_key="x" * 50, store=MemoryStore())
    stores = {
        "InMemory": InMemoryStore(),
        "Redis": RedisStore(connection=Redis.from_url(sessions_site.REDIS)),
    }
    starsessions = {
        f"starsessions {name}": app(
            Middleware(SessionMiddleware, store=store, cookie_https_only=False, lifetime=3600),
            Middleware(SessionAutoloadMiddleware),
        )
        for name, store in stores.items()
    }
    return {"Starlette": app(), "FastSession MemoryStore": app(fast_session)} | starsessions
