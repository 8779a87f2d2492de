"""Whose sessions are examined: the site's own and ours, each visited in process through its middleware."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, NamedTuple

from django.conf import settings
from django.contrib.sessions.middleware import SessionMiddleware as DjangoSessionMiddleware
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connections, router
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.test import RequestFactory, override_settings
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _

from chatsession.middleware import SessionMiddleware
from chatsession.models import Session
from chatsession.stores import db, memory
from chatsession.stores.base import BaseStore

#: The key of every throw-away session.
MARK = "chatsession_doctor"
#: A killed doctor deletes nothing: then expiry does, after so many seconds.
LIFETIME = 600
ALIAS = "chatsession_doctor"

View = Callable[[HttpRequest], HttpResponseBase]


class Begun(NamedTuple):
    """A throw-away session, as the browser and the store know it, and the response that brought it."""

    cookie: str
    key: str
    response: HttpResponseBase


class Patient:
    """Sessions of one kind. Those made here are deleted at the end of the ``with`` block."""

    def __init__(self, name: str, store: Any, middleware: Callable[[View], View]) -> None:
        self.name = name
        self.store = store
        self._middleware = middleware
        self._made: set[str] = set()
        self._cleanup = ExitStack()

    def __enter__(self) -> Patient:
        return self

    def __exit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._cleanup.close()

    def visit(self, view: View, cookie: str = "") -> HttpResponseBase:
        """The response of a view behind the session middleware. Raises what they raise."""
        request = RequestFactory().get("/", secure=True)
        if cookie:
            request.COOKIES[settings.SESSION_COOKIE_NAME] = cookie
        try:
            return self._middleware(view)(request)
        finally:
            self._remember(getattr(request, "session", None))

    def _remember(self, session: Any) -> None:
        key = getattr(session, "session_key", None)
        if key and key not in self._made:
            self._made.add(key)
            self._cleanup.callback(lambda: self.store().delete(key))

    def begin(self) -> Begun:
        """A new throw-away session."""
        keys = []

        def view(request: HttpRequest) -> HttpResponse:
            request.session[MARK] = True
            request.session.set_expiry(LIFETIME)
            request.session.save()
            keys.append(str(request.session.session_key))
            return HttpResponse()

        response = self.visit(view)
        return Begun(cookie_of(response), keys[0], response)

    def write(self, cookie: str, key: str, value: Any) -> None:
        """A visit that stores one value."""

        def view(request: HttpRequest) -> HttpResponse:
            request.session[key] = value
            return HttpResponse()

        self.visit(view, cookie)

    def read(self, cookie: str) -> dict[str, Any]:
        """What a visit with this cookie finds."""
        values: dict[str, Any] = {}

        def view(request: HttpRequest) -> HttpResponse:
            values.update(request.session.items())
            return HttpResponse()

        self.visit(view, cookie)
        return values

    @cached_property
    def keeps_values(self) -> bool:
        """Whether the values stay on the server, rather than in the cookie."""
        cookie = self.begin().cookie
        self.write(cookie, "kept", True)
        return "kept" in self.read(cookie)


def cookie_of(response: HttpResponseBase) -> str:
    """The session cookie's value, "" if there is none."""
    morsel = response.cookies.get(settings.SESSION_COOKIE_NAME)
    return morsel.value if morsel else ""


@contextmanager
def the_site() -> Iterator[Patient]:
    """Engine and session middleware of the settings. Raises ``ImproperlyConfigured`` without them."""
    store, middleware = import_module(settings.SESSION_ENGINE).SessionStore, session_middleware()
    model = Session if issubclass(store, BaseStore) else getattr(store, "get_model_class", lambda: None)()
    with ExitStack() as stack:
        name = settings.SESSION_ENGINE
        if model and not is_migrated(model):
            stack.enter_context(temporary_table(model))
            name = _("%(engine)s, in a temporary SQLite file") % {"engine": name}
        yield stack.enter_context(Patient(name, store, middleware))


def session_middleware() -> Any:
    for path in settings.MIDDLEWARE:
        found: Any = import_string(path)
        if getattr(found, "__name__", "") == "SessionMiddleware" or is_sessions(found):
            return found
    raise ImproperlyConfigured(_("There is no session middleware in MIDDLEWARE."))


def is_sessions(middleware: Any) -> bool:
    return isinstance(middleware, type) and issubclass(middleware, DjangoSessionMiddleware)


def is_ours(patient: Patient) -> bool:
    """Whether there is nothing to compare it with."""
    return isinstance(patient.store, type) and issubclass(patient.store, BaseStore)


def on(store: type[BaseStore], name: str) -> Patient:
    """Our middleware on one of our stores, whatever ``SESSION_ENGINE`` says."""

    def middleware(view: View) -> View:
        made: Any = SessionMiddleware(view)
        made.SessionStore, made.is_ours = store, True
        return made  # type: ignore[no-any-return]

    return Patient(name, store, middleware)


@contextmanager
def in_memory() -> Iterator[Patient]:
    with on(memory.SessionStore, "chatsession.stores.memory") as patient:
        yield patient


@contextmanager
def in_database() -> Iterator[Patient]:
    """In the site's database if it has our table already, else in a temporary one."""
    with ExitStack() as stack:
        name = _("chatsession.stores.db, in the site's database")
        if not is_migrated(Session):
            stack.enter_context(temporary_table(Session))
            name = _("%(engine)s, in a temporary SQLite file") % {"engine": "chatsession.stores.db"}
        yield stack.enter_context(on(db.SessionStore, name))


def is_migrated(model: type[Model]) -> bool:
    rows = db.rows() if model is Session else model._base_manager.using(router.db_for_write(model))
    try:
        list(rows[:1])
    except (DatabaseError, ImproperlyConfigured):
        return False
    return True


class ToTemporary:
    """A database router that sends one model to the temporary database."""

    def __init__(self, model: type[Model]) -> None:
        self.model = model

    def db_for_write(self, model: type[Model], **hints: Any) -> str | None:
        return ALIAS if model is self.model else None

    db_for_read = db_for_write


@contextmanager
def temporary_table(model: type[Model]) -> Iterator[None]:
    """A SQLite file with the model's table, to which the model is routed until the block ends."""
    options = {**getattr(settings, "CHATSESSION", {}), "DATABASE": None}
    route = ToTemporary(model)
    with TemporaryDirectory(prefix="chatsession-doctor-") as folder, override_settings(CHATSESSION=options):
        file = {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(folder) / "db.sqlite3"}
        connections.settings[ALIAS] = connections.configure_settings({"default": file, ALIAS: file})[ALIAS]
        router.routers.insert(0, route)
        try:
            with connections[ALIAS].schema_editor() as editor:
                editor.create_model(model)
            yield
        finally:
            router.routers.remove(route)
            connections[ALIAS].close()
            del connections[ALIAS], connections.settings[ALIAS]
