"""The doctor on every engine of Django's, as real visits find it, and on our own."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import tempfile
from contextlib import closing
from io import StringIO
from pathlib import Path
from sqlite3 import connect
from unittest import mock

import pytest
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.middleware import SessionMiddleware as DjangosMiddleware
from django.core.management import CommandError, call_command
from django.core.management.commands import startproject
from django.db import connections
from django.test import TransactionTestCase, override_settings
from django.utils import translation
from django.utils.cache import patch_cache_control

from chatsession.doctor import examinations
from chatsession.doctor.patients import ALIAS, in_database, on
from chatsession.management.commands.chatsession_doctor import padded
from chatsession.models import Session
from chatsession.stores import memory
from demo_project.start import ROOT

pytestmark = pytest.mark.matrix

DJANGOS = "django.contrib.sessions.middleware.SessionMiddleware"
OURS = "chatsession.middleware.SessionMiddleware"
ROW = re.compile(r"  (good|BAD|-) +(50 requests at once|IDs at rest|[\w-]+(?:: Cookie)?)  +(.+)")
ALL_GOOD = dict.fromkeys(
    ["50 requests at once", "IDs at rest", "Cookie", "Vary: Cookie", "Cache-Control", "Streaming", "Pickle"],
    "good",
)
DJANGOS_DB = ALL_GOOD | dict.fromkeys(
    ["50 requests at once", "IDs at rest", "Cookie", "Cache-Control", "Streaming"], "BAD"
)


def sections(said):
    """What was printed: title -> name -> verdict."""
    return {
        part.splitlines()[0]: {name: verdict for verdict, name, text in ROW.findall(part)}
        for part in said.strip().split("\n\n")
    }


def text_of(said, name):
    """The first text beside a name: the site's own."""
    return next(text for verdict, found, text in ROW.findall(said) if found == name)


class Site:
    """A new project with one line more in its INSTALLED_APPS."""

    def __init__(self, folder):
        self.folder = folder
        call_command(startproject.Command(), "mysite", folder)
        with (folder / "mysite" / "settings.py").open("a") as file:
            file.write("\nimport os\nINSTALLED_APPS += ['chatsession']\n")
            file.write("SESSION_ENGINE = 'django.contrib.sessions.backends.' + os.environ['ENGINE']\n")

    def manage(self, *arguments, engine="db"):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "ENGINE": engine}
        environment["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True)

    def rows(self):
        with closing(connect(self.folder / "db.sqlite3")) as database:
            return database.execute("SELECT count(*) FROM django_session").fetchone()[0]


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def test_before_anything_is_migrated(site):
    done = site.manage("chatsession_doctor")
    assert done.returncode == 1
    assert "The doctor found 5 problems." in done.stderr
    ours = ALL_GOOD | {"Cookie": "BAD"}  # SESSION_COOKIE_SECURE is the site's
    assert sections(done.stdout) == {
        "This site: django.contrib.sessions.backends.db, in a temporary SQLite file": DJANGOS_DB,
        "In its place: chatsession.stores.memory": ours,
        "In its place: chatsession.stores.db, in a temporary SQLite file": ours,
    }


@pytest.mark.parametrize(("engine", "pickle"), [("db", "good"), ("cached_db", "BAD")])
def test_in_the_sites_database_no_session_is_left(site, engine, pickle):
    site.manage("migrate", "--verbosity=0", "sessions")
    said = site.manage("chatsession_doctor", engine=engine).stdout
    title = f"This site: django.contrib.sessions.backends.{engine}"
    assert sections(said)[title] == DJANGOS_DB | {"Pickle": pickle}
    assert re.fullmatch(r"Your site lost \d+ of 50 session writes\..*", text_of(said, "50 requests at once"))
    assert site.rows() == 0


class DoctorTests(TransactionTestCase):
    def doctor(self, engine, middleware=DJANGOS, **changes):
        """What it prints, and the error with which it ends."""
        out, error = StringIO(), ""
        settings = {"SESSION_ENGINE": engine, "MIDDLEWARE": [middleware], "SESSION_COOKIE_SECURE": True}
        with override_settings(**settings | changes):
            try:
                call_command("chatsession_doctor", stdout=out, no_color=True)
            except CommandError as raised:
                error = str(raised)
        return out.getvalue(), error

    def of_site(self, engine, **changes):
        said, _error = self.doctor(engine, **changes)
        return sections(said)[f"This site: {engine}"]

    def test_the_cache(self):
        found = self.of_site("django.contrib.sessions.backends.cache")
        assert found == DJANGOS_DB | {"Cookie": "good", "Pickle": "BAD"}

    def test_files(self):
        with tempfile.TemporaryDirectory() as folder:
            found = self.of_site("django.contrib.sessions.backends.file", SESSION_FILE_PATH=folder)
            assert found == DJANGOS_DB | {"Cookie": "good"}
            assert list(Path(folder).iterdir()) == []

    def test_cookies_cannot_be_raced(self):
        said, _error = self.doctor("django.contrib.sessions.backends.signed_cookies")
        found = sections(said)["This site: django.contrib.sessions.backends.signed_cookies"]
        assert [name for name, verdict in found.items() if verdict == "-"] == [
            "50 requests at once",
            "IDs at rest",
        ]
        assert "Cannot be raced" in said

    def test_ours_alone_is_not_compared_with_itself(self):
        for engine in ("chatsession.stores.db", "chatsession.stores.memory"):
            said, error = self.doctor(engine, OURS)
            assert sections(said) == {f"This site: {engine}": ALL_GOOD}
            assert not error

    def test_nothing_is_left_of_it(self):
        before = set(Path(tempfile.gettempdir()).glob("chatsession-doctor-*"))
        self.doctor("django.contrib.sessions.backends.cache")
        assert (Session.objects.count(), memory.SessionStore.count()) == (0, 0)
        assert set(Path(tempfile.gettempdir()).glob("chatsession-doctor-*")) == before
        assert ALIAS not in connections

    def test_nothing_is_left_after_ctrl_c(self):
        def interrupt(patient):
            patient.begin()
            raise KeyboardInterrupt

        with (
            mock.patch.dict(examinations.EXAMINATIONS, {"Pickle": interrupt}),
            pytest.raises(KeyboardInterrupt),
        ):
            self.doctor("chatsession.stores.db", OURS)
        assert Session.objects.count() == 0

    def test_a_killed_one_leaves_sessions_that_end_soon(self):
        with in_database() as patient:
            patient.begin()
            lifetime = Session.objects.get().expires_at - Session.objects.get().created_at
        assert lifetime.total_seconds() == pytest.approx(600, abs=1)

    def test_cookie_flags(self):
        said, error = self.doctor(
            "chatsession.stores.memory",
            OURS,
            SESSION_COOKIE_SECURE=False,
            SESSION_COOKIE_HTTPONLY=False,
            SESSION_COOKIE_SAMESITE=None,
        )
        assert text_of(said, "Cookie").startswith("Lacks Secure, HttpOnly, SameSite: see SESSION_COOKIE_SEC")
        assert error == "The doctor found 1 problem."

    def test_a_middleware_that_forgets_vary(self):
        said, _error = self.doctor("chatsession.stores.memory", "tests.test_doctor.Forgetful")
        assert sections(said)["This site: chatsession.stores.memory"]["Vary: Cookie"] == "BAD"

    def test_a_serializer_that_pickles(self):
        found = self.of_site(
            "chatsession.stores.memory", middleware=OURS, SESSION_SERIALIZER="tests.test_doctor.Pickles"
        )
        assert found == ALL_GOOD | {"Pickle": "BAD"}

    def test_an_engine_that_fails_is_a_finding(self):
        found = self.of_site(
            "chatsession.stores.memory", middleware=OURS, CHATSESSION={"MAX_SESSION_BYTES": 1}
        )
        assert set(found.values()) == {"BAD"}

    def test_an_engine_nobody_knows(self):
        said, _error = self.doctor("tests.test_doctor")
        assert sections(said)["This site: tests.test_doctor"]["IDs at rest"] == "-"
        assert "not known" in text_of(said, "IDs at rest")
        assert SessionStore.stored == {}

    def test_a_site_without_sessions_is_told_so(self):
        said, error = self.doctor("chatsession.stores.db", "django.middleware.common.CommonMiddleware")
        assert (said, error) == ("", "There is no session middleware in MIDDLEWARE.")

    def test_in_japanese_the_columns_stand_one_below_the_other(self):
        with translation.override("ja"):
            said, error = self.doctor("chatsession.stores.memory", OURS, SESSION_COOKIE_SECURE=False)
        rows = [line for line in said.splitlines() if line.startswith("  ")]
        assert len(rows) == 7
        assert "セッション" in said
        assert "1" in error and "The doctor" not in error
        assert padded("良", 4) == "良  "


class TruthTests(TransactionTestCase):
    """The figures are measured: a store that loses is seen to lose."""

    def test_writes_that_raise_are_counted_and_named(self):
        class Failing(memory.SessionStore):
            def commit(self):
                if any(key.startswith("writer") for key in self.keys()):
                    raise OSError
                return super().commit()

        with on(Failing, "failing") as patient:
            is_well, text = examinations.race(patient)
        assert not is_well
        assert text == "Your site lost 50 of 50 session writes. 50 requests raised OSError."


class Forgetful(DjangosMiddleware):
    def process_response(self, request, response):
        response = super().process_response(request, response)
        patch_cache_control(response, private=True)
        del response["Vary"]
        return response


class Pickles:
    def dumps(self, value):
        return pickle.dumps(value)

    def loads(self, data):
        return pickle.loads(data)


class SessionStore(SessionBase):
    """An engine of the site's own, of which nothing is known."""

    stored: dict[str, dict] = {}

    def load(self):
        return dict(self.stored.get(self.session_key, {}))

    def create(self):
        self._session_key = self._get_new_session_key()
        self.save()

    def save(self, must_create=False):
        if self.session_key is None:
            return self.create()
        self.stored[self.session_key] = dict(self._get_session())

    def exists(self, session_key):
        return session_key in self.stored

    def delete(self, session_key=None):
        self.stored.pop(session_key, None)
