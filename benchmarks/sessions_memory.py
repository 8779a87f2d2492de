"""The memory store with many visitors, for ``sessions.py``: is it bounded, and what does a session take?"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.test.utils import override_settings

VISITS, SESSIONS, MEASURED = 1_000_000, 200_000, 100_000
ENGINE = "chatsession.stores.memory"


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def visit(view: Any, count: int) -> float:
    """So many requests without a cookie. Seconds for each."""
    from chatsession.middleware import SessionMiddleware

    middleware = SessionMiddleware(view)
    began = time.perf_counter()
    for number in range(count):
        request = HttpRequest()
        request.META |= {"REMOTE_ADDR": "127.0.0.1", "HTTP_USER_AGENT": f"Mozilla/5.0 (X11; Linux) {number}"}
        middleware(request)
    return (time.perf_counter() - began) / count


def reading(request: HttpRequest) -> HttpResponse:
    assert request.session.get("history") is None
    return HttpResponse("0")


def storing(request: HttpRequest) -> HttpResponse:
    request.session["a"] = 1
    return HttpResponse("0")


def creating(request: HttpRequest) -> HttpResponse:
    request.session.create()
    return HttpResponse("0")


def main(*_: Any) -> None:
    from chatsession.conf import conf
    from chatsession.stores.memory import SessionStore

    with override_settings(SESSION_ENGINE=ENGINE):
        SessionStore.reset()
        print(f"\nmemory store, at most {conf.MAX_SESSIONS:,} sessions\n")
        before = resident()
        visit(creating, MEASURED)
        grown = (resident() - before) / SessionStore.count()
        print(f"{SessionStore.count():,} empty sessions: {grown:,.0f} bytes each")
        for view, count, what in (
            (reading, VISITS, "visits without a cookie"),
            (storing, SESSIONS, "new sessions"),
        ):
            SessionStore.reset()
            seconds = visit(view, count)
            print(f"{count:,} {what}: {SessionStore.count():,} kept, {1e6 * seconds:.0f} µs each")
        SessionStore.reset()
