"""Django's own tests of sessions, from its sdist, against one of our stores.

``python -m tests.django_sessions_tests fetch`` brings the sdist of the installed Django into ``.cache/``;
``python -m tests.django_sessions_tests chatsession.stores.db`` runs them in a process of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import unittest
from importlib import import_module
from pathlib import Path

import django

CACHE = Path(__file__).resolve().parent.parent / ".cache"
SDIST_TESTS = CACHE / f"django-{django.get_version()}" / "tests"
FETCH = f"{Path(sys.executable).name} -m tests.django_sessions_tests fetch"

#: Assertions about Django's row format, which is not ours.
EXCLUDED = {
    "test_session_str": "str(row) is the session key; our rows know its hash only",
    "test_session_get_decoded": "decodes a row by Django's model, found by the clear key",
    "test_sessionmanager_save": "writes a row by Django's model manager, under the clear key",
}


def fetch() -> None:
    if SDIST_TESTS.is_dir():
        return
    wanted = ["--no-deps", "--no-binary", ":all:", "--dest", str(CACHE), f"django=={django.get_version()}"]
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", *wanted], check=True)
    with tarfile.open(CACHE / f"django-{django.get_version()}.tar.gz") as sdist:
        members = [member for member in sdist if "/tests/sessions_tests/" in member.name]
        sdist.extractall(CACHE, members=members, filter="data")


def configure(engine: str) -> None:
    from django.conf import settings

    settings.configure(
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "chatsession",
            "sessions_tests",
        ],
        SECRET_KEY="a test key that signs nothing of value",
        SESSION_ENGINE=engine,
        CHATSESSION={"REDIS_URL": os.environ.get("TEST_REDIS")},
        USE_TZ=False,
    )
    sys.path.insert(0, str(SDIST_TESTS))
    django.setup()


class Rows:
    """What Django's tests ask of its model, answered by the store."""

    def __init__(self, store: type) -> None:
        self.store = store
        self.objects = self

    def count(self) -> int:
        from chatsession import redis
        from chatsession.models import Session

        if self.store.per_process:
            return len(self.store._records)
        if redis.is_configured():
            return len(list(redis.client().scan_iter(redis.key("session", "*"))))
        return Session.objects.count()

    async def acount(self) -> int:
        from asgiref.sync import sync_to_async

        return await sync_to_async(self.count)()

    def get(self, session_key: str) -> Rows:
        self.found = self.store(session_key)
        return self

    def get_decoded(self) -> dict:
        return dict(self.found.load())


def empty(store: type) -> None:
    from chatsession import redis
    from tests import redis_server

    if store.per_process:
        store.reset()
    elif redis.is_configured():
        redis_server.clean(os.environ["TEST_REDIS"])


def cases(engine: str) -> list[type[unittest.TestCase]]:
    """Django's classes bound to our store and middleware, each store test with USE_TZ off and on."""
    from django.test import RequestFactory, override_settings
    from sessions_tests import tests as upstream

    from chatsession.middleware import SessionMiddleware

    store = import_module(engine).SessionStore
    rows = Rows(store)

    class InProcess(RequestFactory):
        """Bare keys are taken from the test clients only: look like one."""

        def request(self, **environ):
            request = super().request(**environ)
            request._dont_enforce_csrf_checks = True
            return request

    class StoreTests(upstream.DatabaseSessionTests):
        backend, session_engine, model = store, engine, rows

        def setUp(self):
            empty(store)
            super().setUp()

    @override_settings(USE_TZ=True)
    class StoreTestsWithTimeZone(StoreTests):
        pass

    upstream.SessionMiddlewareTests.request_factory = InProcess()
    upstream.SessionMiddleware = SessionMiddleware
    upstream.DatabaseSession, upstream.Session = store, rows
    return [StoreTests, StoreTestsWithTimeZone, upstream.SessionMiddlewareTests]


def run(engine: str) -> int:
    configure(engine)
    from django.test.runner import DiscoverRunner

    runner = DiscoverRunner(verbosity=0)
    loader = unittest.defaultTestLoader
    suite = unittest.TestSuite(
        case(name) for case in cases(engine) for name in loader.getTestCaseNames(case) if name not in EXCLUDED
    )
    runner.setup_test_environment()
    databases = runner.setup_databases()
    result = unittest.TextTestRunner(verbosity=0).run(suite)
    runner.teardown_databases(databases)
    return int(not result.wasSuccessful() or result.testsRun < 140)


if __name__ == "__main__":
    sys.exit(fetch() if sys.argv[1] == "fetch" else run(sys.argv[1]))
