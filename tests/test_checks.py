"""The system checks, as ``manage.py check`` runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings
from django.core.checks import run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import override_settings

import chatsession
from chatsession.backends.demo import DemoBackend
from chatsession.checks.settings import EXPECTED, KEYS
from chatsession.testing import FakeBackend

# Django 6.1 asks the database what its fields can do.
pytestmark = pytest.mark.django_db

OURS = "chatsession.middleware.SessionMiddleware"
DJANGOS = "django.contrib.sessions.middleware.SessionMiddleware"
DB, MEMORY = "chatsession.stores.db", "chatsession.stores.memory"
FAKE = {"default": {"BACKEND": FakeBackend(["Hello"])}}


def found(*, deploy=False, **changes):
    """The IDs that ``check`` reports under these settings, ours without the name in front."""
    base = {"SESSION_ENGINE": DB, "CHATSESSION": {"MODELS": FAKE}, "SESSION_COOKIE_SECURE": True}
    with override_settings(**base | changes):
        messages = run_checks(tags=["chatsession"], include_deployment_checks=deploy)
    return [message.id.removeprefix("chatsession.") for message in messages]


def chat(**values):
    return found(CHATSESSION={"MODELS": FAKE, **values})


def middleware(*names):
    rest = [name for name in settings.MIDDLEWARE if name != OURS]
    return [*names, *rest]


def answer(prompt):
    return "Hello"


def broken(**kwargs):
    raise OSError("no such model")


class Broken:
    def __init__(self):
        broken()


class Choosy:
    stream = answer

    def __init__(self, *, model):
        self.model = model


class PickleSerializer:
    pass


class Disguised:
    def dumps(self, value):
        import pickle

        return pickle.dumps(value)


def test_a_site_by_the_book_has_nothing_to_hear():
    assert found() == []
    assert found(deploy=True) == []


def test_errors_reach_the_command_with_their_hints():
    output = StringIO()
    with override_settings(CHATSESSION={"MODLES": {}}), pytest.raises(SystemCheckError) as error:
        call_command("check", stdout=output, stderr=output)
    assert "chatsession.E002" in str(error.value)
    assert "Did you mean 'MODELS'?" in str(error.value)


def test_the_checks_can_be_run_by_their_tag():
    call_command("check", tags=["chatsession"], stdout=StringIO(), stderr=StringIO())


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"COLOUR": "green"}, ["E002"]),
        ({"MAX_SESSIONS": 0}, ["E003"]),
        ({"MAX_SESSIONS": True}, ["E003"]),
        ({"MAX_SESSION_BYTES": "1000"}, ["E003"]),
        ({"MAX_MESSAGE_CHARS": -1}, ["E003"]),
        ({"CLAIM_AT_LOGIN": "no"}, ["E003"]),
        ({"ON_DISCONNECT": "pause"}, ["E003"]),
        ({"DATABASE": "elsewhere"}, ["E003"]),
        ({"DATABASE": "default"}, []),
        ({"OWNER": "tests.test_checks.nobody"}, ["E003"]),
        ({"OWNER": "tests.test_checks.answer"}, []),
        ({"SKIP_HEADERS": {"X-Session": "none", "X-Bot": "*"}}, []),
        ({"SKIP_HEADERS": {"X-Session": None}}, ["E003"]),
        ({"SKIP_HEADERS": {"X-Session": ""}}, ["E003"]),
        ({"SKIP_HEADERS": {"X Session": "none"}}, ["E003"]),
        ({"SKIP_HEADERS": [{"header_name": "X-Session"}]}, ["E003"]),
        ({"SESSIONS_PER_USER": 0}, ["E003"]),
        ({"SESSIONS_PER_USER": None}, []),
        ({"RETENTION": {"deleted_users": "anonymise"}}, []),
        ({"RETENTION": {"days": 90}}, []),
        ({"RETENTION": {"days": None}}, []),
        ({"RETENTION": {"days": "90"}}, ["E003"]),
        ({"RETENTION": {"deleted_users": "forget"}}, ["E003"]),
        ({"RETENTION": {"guests": "erase"}}, ["E003"]),
        ({"RETENTION": "erase"}, ["E003"]),
        ({"ABSOLUTE_AGE": 0}, ["E003"]),
        ({"ABSOLUTE_AGE": None}, []),
        ({"ADOPT": "django.contrib.sessions.backends.cache"}, []),
        ({"ADOPT": "django.contrib.sessions.backends.db"}, ["E003"]),
        ({"ADOPT": "django.contrib.sessions.backends.file"}, ["E003"]),
        ({"ADOPT": "chatsession.stores.db"}, ["E003"]),
        ({"ADOPT": "no.such.engine"}, ["E003"]),
        ({"CLIENT_IP": 5}, ["E003"]),
        ({"CLIENT_IP": answer}, []),
        ({"PERMISSIONS": "anyone"}, ["E003"]),
        ({"PERMISSIONS": {"prompt": "anyone"}}, ["E004"]),
        ({"PERMISSIONS": {"chat": "everyone"}}, ["E005"]),
        ({"PERMISSIONS": {"chat": None}}, ["E005"]),
        ({"PERMISSIONS": {"chat": "auth.view_user"}}, []),
    ],
)
def test_a_setting_that_cannot_be_used_is_an_error(values, expected):
    assert chat(**values) == expected


def test_every_setting_has_its_check():
    assert set(KEYS) - set(EXPECTED) == set()


def test_chatsession_must_be_a_dictionary():
    assert found(CHATSESSION=[]) == ["E001"]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("tests.test_checks.answer", ["E010"]),
        ({}, ["E010"]),
        ({"BACKEND": answer, "OPTION": {}}, ["E010"]),
        ({"BACKEND": answer, "OPTIONS": []}, ["E010"]),
        ({"BACKEND": "tests.test_checks.nobody"}, ["E011"]),
        ({"BACKEND": "tests.test_checks.Choosy"}, ["E011"]),
        ({"BACKEND": "tests.test_checks.Broken"}, ["E011"]),
        ({"BACKEND": "tests.test_checks.Choosy", "OPTIONS": {"model": "m"}}, []),
        ({"BACKEND": "tests.test_checks.answer"}, []),
        ({"BACKEND": "chatsession.backends.openai.OpenAIBackend", "OPTIONS": {"model": ""}}, ["E031"]),
    ],
)
def test_a_model_that_cannot_answer_is_an_error(entry, expected):
    assert chat(MODELS={"default": entry}) == expected


def test_there_must_be_a_default_model():
    assert chat(MODELS={"other": FAKE["default"]}) == ["E012"]
    assert chat(MODELS="none") == ["E003"]


def test_the_demo_is_for_development():
    assert chat(MODELS={"default": {"BACKEND": DemoBackend()}}) == ["W027"]
    assert found(CHATSESSION={}, DEBUG=True) == []


def test_an_api_key_is_not_for_everybody_to_spend():
    model = {"BACKEND": "chatsession.backends.openai.OpenAIBackend"}
    models = {"default": model | {"OPTIONS": {"model": "m", "api_key": "k"}}}
    assert chat(MODELS=models) == ["W028"]
    assert chat(MODELS=models, RATE={"guest": "20/m"}) == []
    assert chat(MODELS=models, PERMISSIONS={"chat": "authenticated"}) == []


def test_an_engine_that_is_not_there_is_an_error():
    assert found(SESSION_ENGINE="chatsession.stores.elsewhere") == ["E023"]


def test_the_memory_store_is_for_one_process():
    assert found(SESSION_ENGINE=MEMORY) == ["W026"]
    assert found(SESSION_ENGINE=MEMORY, DEBUG=True) == []


def test_our_store_needs_our_middleware_alone():
    assert found(MIDDLEWARE=middleware(DJANGOS)) == ["E021"]
    assert found(MIDDLEWARE=middleware(OURS, DJANGOS)) == ["E021"]
    assert found(MIDDLEWARE=middleware()) == ["E021"]


def test_there_must_be_a_session_middleware():
    assert found(SESSION_ENGINE="django.contrib.sessions.backends.db", MIDDLEWARE=middleware()) == ["E029"]


def test_the_session_comes_before_the_user():
    assert found(MIDDLEWARE=[*middleware(), OURS]) == ["E022"]


def test_middleware_that_cannot_be_imported_is_left_to_django():
    assert found(MIDDLEWARE=middleware(OURS, "tests.nowhere.Middleware")) == []


def test_other_engines_lack_guarantees():
    django = {"SESSION_ENGINE": "django.contrib.sessions.backends.db"}
    assert found(**django) == ["W024"]
    assert found(**django, MIDDLEWARE=middleware(DJANGOS)) == ["W025"]


@pytest.mark.parametrize("name", ["PickleSerializer", "Disguised"])
def test_pickle_is_refused(name):
    assert found(SESSION_SERIALIZER=f"tests.test_checks.{name}") == ["E020"]


def test_the_deployed_cookie_is_short_lived_secure_and_out_of_scripts_reach():
    assert found(deploy=True, SESSION_EXPIRE_AT_BROWSER_CLOSE=False) == ["W040"]
    assert found(deploy=True, SESSION_COOKIE_SECURE=False) == ["W041"]
    assert found(deploy=True, SESSION_COOKIE_HTTPONLY=False) == ["W042"]
    assert found(SESSION_COOKIE_SECURE=False) == []


def test_django_asks_for_the_flags_itself_where_its_sessions_are_installed():
    installed = [*settings.INSTALLED_APPS, "django.contrib.sessions"]
    assert found(deploy=True, INSTALLED_APPS=installed, SESSION_COOKIE_SECURE=False) == []


def test_ids_are_unique_and_carry_hints():
    sources = "".join(path.read_text() for path in Path(chatsession.__file__).parent.rglob("*.py"))
    ids = re.findall(r'id="(chatsession\.[EW]\d{3})"', sources)
    assert [name for name, times in Counter(ids).items() if times > 1] == []
    assert set(ids) == set(re.findall(r"chatsession\.[EW]\d{3}", sources))


def test_sessions_alone_do_without_users():
    code = """
import django
from django.conf import settings
from django.core.management import call_command
settings.configure(
    DEBUG=True,
    INSTALLED_APPS=["chatsession"],
    MIDDLEWARE=["chatsession.middleware.SessionMiddleware"],
    SESSION_ENGINE="chatsession.stores.memory",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
django.setup()
call_command("check", fail_level="WARNING")
"""
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True)
