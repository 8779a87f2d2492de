"""What is measured. Every finding comes from visits made here and now, none from a name or a version."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any, NamedTuple

from django.conf import settings
from django.core.cache import caches
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import override_settings
from django.utils.cache import has_vary_header
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from chatsession import connections
from chatsession.doctor.patients import MARK, Patient, cookie_of
from chatsession.models import Session
from chatsession.stores import db, memory

WRITERS = 50
#: What a view does between reading the session (as every check of a login does) and writing, in seconds.
WORK = 0.02
PATIENCE = 60


class Finding(NamedTuple):
    """``is_well`` is None where there is nothing to measure."""

    name: str | Promise
    is_well: bool | None
    text: str


def race(patient: Patient) -> tuple[bool | None, str]:
    """As many requests at once on one session as a busy page sends, each with a value of its own."""
    if not patient.keeps_values:
        return None, _("Cannot be raced: the values are in the cookie, and the last response replaces all.")
    cookie, start = patient.begin().cookie, Barrier(WRITERS)

    def write(number: int) -> str:
        def view(request: HttpRequest) -> HttpResponse:
            request.session.get(MARK)
            time.sleep(WORK)
            request.session[f"writer {number}"] = number
            return HttpResponse()

        try:
            start.wait(PATIENCE)
            patient.visit(view, cookie)
        except Exception as error:
            return type(error).__name__
        finally:
            connections.release()
            caches.close_all()
        return ""

    with ThreadPoolExecutor(WRITERS) as pool:
        errors = Counter(filter(None, pool.map(write, range(WRITERS))))
    kept = sum(key.startswith("writer ") for key in patient.read(cookie))
    return kept == WRITERS, " ".join([outcome(WRITERS - kept), *map(raised, errors, errors.values())])


def outcome(lost: int) -> str:
    if not lost:
        return _("All %(all)d session writes were kept.") % {"all": WRITERS}
    return _("Your site lost %(lost)d of %(all)d session writes.") % {"lost": lost, "all": WRITERS}


def raised(error: str, times: int) -> str:
    text = ngettext("%(n)d request raised %(error)s.", "%(n)d requests raised %(error)s.", times)
    return text % {"n": times, "error": error}


def at_rest(patient: Patient) -> tuple[bool | None, str]:
    """A thief of the store presents all that stands there as a cookie."""
    if not patient.keeps_values:
        return None, _("Nothing is stored on the server.")
    begun = patient.begin()
    stored = set(texts_at_rest(patient.store(begun.key)))
    if not stored:
        return None, _("It is not known where this engine stores them.")
    if any(MARK in patient.read(text) for text in stored):
        return False, _("In clear: whoever reads the store, or a backup of it, can take over every session.")
    return True, _("Only what opens no session.")


def texts_at_rest(session: Any) -> Iterator[str]:
    """The texts by which the store finds this session, and those beside them."""
    if isinstance(session, memory.SessionStore):
        yield from list(session._records)
        return
    model = Session if isinstance(session, db.SessionStore) else own_model(session)
    if model is Session:
        session.get(MARK)
        yield from texts_of_row(db.rows().filter(pk=session.handle))
    elif model:
        yield from texts_of_row(model._base_manager.filter(pk=session.session_key))
    if hasattr(session, "cache_key") and session._cache.get(session.cache_key) is not None:
        yield session.cache_key.removeprefix(session.cache_key_prefix)
    if hasattr(session, "_key_to_file") and Path(session._key_to_file()).exists():
        yield Path(session._key_to_file()).name.removeprefix(session.file_prefix)


def own_model(session: Any) -> Any:
    return session.get_model_class() if hasattr(session, "get_model_class") else None


def texts_of_row(rows: Any) -> Iterator[str]:
    return (str(value) for row in rows.values() for value in row.values() if value)


def flags(patient: Patient) -> tuple[bool, str]:
    """The attributes of the cookie as it is sent."""
    morsel = patient.begin().response.cookies[settings.SESSION_COOKIE_NAME]
    lacking = [name for name in ("Secure", "HttpOnly", "SameSite") if not morsel[name.lower()]]
    if not lacking:
        return True, _("Secure, HttpOnly and SameSite are set.")
    names = ", ".join(f"SESSION_COOKIE_{name.upper()}" for name in lacking)
    return False, _("Lacks %(flags)s: see %(settings)s.") % {"flags": ", ".join(lacking), "settings": names}


def untouched(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


def responses(patient: Patient) -> Iterator[Any]:
    """Those that carry the cookie: of a first write, and of a visit that only renews it."""
    begun = patient.begin()
    yield begun.response
    with override_settings(SESSION_SAVE_EVERY_REQUEST=True):
        renewing = patient.visit(untouched, begun.cookie)
    if cookie_of(renewing):
        yield renewing


def vary(patient: Patient) -> tuple[bool, str]:
    """CVE-2026-35192: a cached page that hands out a visitor's session."""
    if all(has_vary_header(response, "Cookie") for response in responses(patient)):
        return True, _("Every response with the cookie varies by it.")
    return False, _("A response with the cookie lacks it: a cache may give one visitor's session to others.")


def privacy(patient: Patient) -> tuple[bool, str]:
    """CVE-2026-48588: a cache that keeps the Set-Cookie."""
    words = [response.get("Cache-Control", "") for response in responses(patient)]
    if all("private" in text or "no-store" in text for text in words):
        return True, _("No cache may keep a response with the cookie.")
    return False, _("Nothing forbids caches to keep a response with the cookie.")


def stream(patient: Patient) -> tuple[bool, str]:
    """A write in the generator of a StreamingHttpResponse, as a chat makes it."""

    def view(request: HttpRequest) -> StreamingHttpResponse:
        request.session.get(MARK)

        def body() -> Iterator[str]:
            yield "a word"
            request.session["streamed"] = True

        return StreamingHttpResponse(body())

    begun = patient.begin()
    response: Any = patient.visit(view, begun.cookie)
    b"".join(response)
    response.close()
    if "streamed" in patient.read(cookie_of(response) or begun.cookie):
        return True, _("What a streamed response writes is kept.")
    return False, _("What a streamed response writes is lost.")


class Canary:
    """Whoever unpickles it calls ``sing()``."""

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return sing, ()


songs: list[str] = []


def sing() -> None:
    songs.append("heard")


def pickle(patient: Patient) -> tuple[bool, str]:
    """Whether a stored value that is code when unpickled runs when the session, or its cache, is read."""
    songs.clear()
    cookie = patient.begin().cookie
    try:
        patient.write(cookie, "canary", Canary())
        patient.read(cookie)
    except Exception:  # noqa: S110  # whatever the serializer raises: it has refused
        pass
    if cache := getattr(patient.store(), "_cache", None):
        read_from(cache)
    if songs:
        return False, _("A stored value ran code when it was read: so can whoever writes to the store.")
    return True, _("No stored value can run code.")


def read_from(cache: Any) -> None:
    try:
        cache.set(MARK, Canary(), PATIENCE)
        cache.get(MARK)
    except TypeError:  # a cache that does without pickle
        return
    finally:
        cache.delete(MARK)


EXAMINATIONS: dict[str | Promise, Callable[[Patient], tuple[bool | None, str]]] = {
    gettext_lazy("50 requests at once"): race,
    gettext_lazy("IDs at rest"): at_rest,
    gettext_lazy("Cookie"): flags,
    "Vary: Cookie": vary,
    "Cache-Control": privacy,
    gettext_lazy("Streaming"): stream,
    "Pickle": pickle,
}


def examine(patient: Patient) -> Iterator[Finding]:
    """One finding after the other. One that cannot be made is a finding too."""
    for name, examination in EXAMINATIONS.items():
        try:
            is_well, text = examination(patient)
        except Exception as error:
            is_well, text = False, _("Failed: %(error)s") % {"error": f"{type(error).__name__}: {error}"}
        yield Finding(name, is_well, text)
