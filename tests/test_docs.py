"""The documentation names everything there is, and its code runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from django.core.management import find_commands
from django.dispatch import Signal
from django.urls import URLPattern

import chatsession.testing
from chatsession import exceptions, signals, urls
from chatsession.backends.base import Prompt
from chatsession.checks.settings import KEYS
from chatsession.stores.base import Cause
from demo_project import settings as demo
from demo_project import start

DOCS = start.ROOT / "docs"
README, JAPANESE = start.ROOT / "README.md", start.ROOT / "README.ja.md"
PAGES = [README, JAPANESE, *sorted(DOCS.glob("*.md"))]
SOURCES = [path.read_text() for path in (start.ROOT / "chatsession").rglob("*.py")]


def text(name):
    return (DOCS / name).read_text()


def blocks(page, language="python"):
    """The code of a page, as if it stood at the left edge."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", page, re.M | re.S)
    return [re.sub(rf"^{indent}", "", code, flags=re.M) for indent, code in found]


def block(page, mark):
    [code] = [code for code in blocks(page) if mark in code]
    return code


def missing(names, page):
    return [name for name in names if f"`{name}`" not in page]


def test_every_setting_has_its_row():
    rows = re.findall(r"^\| `(\w+)` \|", text("settings.md").split("## Django's")[0], re.M)
    assert set(KEYS) - set(rows) == set()


def test_the_example_holds_every_setting():
    values = {}
    exec(blocks(text("settings.md"))[0], values)
    assert KEYS - values["CHATSESSION"].keys() == set()


def test_every_check_is_listed_and_no_other():
    ids = {found for source in SOURCES for found in re.findall(r'id="(chatsession\.[EW]\d{3})"', source)}
    assert set(re.findall(r"`(chatsession\.[EW]\d{3})`", text("checks.md"))) == ids


def test_every_signal_is_described():
    names = [name for name, value in vars(signals).items() if isinstance(value, Signal)]
    assert missing(names, text("sessions.md") + text("architecture.md")) == []


def test_every_cause_is_described():
    assert missing([*Cause, *Cause.__members__], text("sessions.md")) == []


def test_every_path_is_described():
    routes = [str(entry.pattern) for entry in urls.urlpatterns if isinstance(entry, URLPattern)]
    paths = ["chat/" + route.replace("<str:public_id>", "<id>") for route in routes]
    assert missing(paths, text("api.md")) == []


def test_every_error_code_is_described():
    errors = [
        value
        for value in vars(exceptions).values()
        if isinstance(value, type) and issubclass(value, exceptions.ChatError)
    ]
    codes = {error.code for error in errors} - {"error"}
    raised = re.compile(rf"(?:{'|'.join(error.__name__ for error in errors)})\(.*code=\"(\w+)\"")
    codes |= {code for source in SOURCES for code in raised.findall(source)}
    assert {"unknown_model", "id_taken"} <= codes
    assert missing(sorted(codes), text("api.md")) == []


def test_everything_in_a_prompt_is_described():
    assert missing([field.name for field in fields(Prompt)], text("backends.md")) == []


def test_every_name_for_tests_is_described():
    names = {name for name, value in vars(chatsession.testing).items() if hasattr(value, "__qualname__")}
    described = set(re.findall(r"`(\w+)(?:\([^`]*\))?`", text("testing.md")))
    assert names - described == set()


def test_every_command_is_described():
    pages = "".join(page.read_text() for page in PAGES)
    commands = find_commands(str(Path(chatsession.__file__).parent / "management"))
    assert missing([f"python manage.py {name}" for name in commands], pages) == []


@pytest.mark.parametrize("page", [README, JAPANESE], ids=["en", "ja"])
def test_every_variable_of_the_demo_has_its_row(page):
    names = re.findall(r"^([A-Z_]+(?:, [A-Z_]+)*)  ", f"{demo.__doc__}\n{start.__doc__}", re.M)
    variables = {name for group in names for name in group.split(", ")}
    assert {"DEMO_STORE", "HOST", "PORT"} <= variables
    assert missing(sorted(variables), page.read_text()) == []


@pytest.mark.parametrize("of", [r"^#+(?= )", r"\]\(.*?\)", r"^ *\|.*?\|", r"^ *(?:\d\.|-) "])
def test_the_japanese_readme_has_the_same_parts(of):
    def parts(page):
        outside = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
        return [part.replace("、", ", ") for part in re.findall(of, outside, re.M)]

    english, japanese = parts(README), parts(JAPANESE)
    assert len(english) == len(japanese)
    if "|" not in of:
        assert english == japanese


def test_the_japanese_readme_has_the_same_code():
    def code(page):
        lines = re.findall(r"^ *```\w*\n.*?```", page.read_text(), re.M | re.S)
        return [re.sub(r" +#.*", "", found) for found in lines]

    assert code(README) == code(JAPANESE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_link_is_dead(page):
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


# The code runs


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A new project after the README's steps 2 and 3."""
    folder = tmp_path_factory.mktemp("site")
    run(folder, "-m", "django", "startproject", "mysite", ".")
    for name, mark in (("settings.py", "SESSION_ENGINE"), ("urls.py", "urlpatterns")):
        with (folder / "mysite" / name).open("a") as file:
            file.write("\n" + block(README.read_text(), mark))
    return folder


def run(folder, *arguments):
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    environment |= {"PYTHONPATH": str(start.ROOT), "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


SETUP = """
import django
from django.conf import settings
from django.core.management import call_command
from django.test import Client
from django.test.utils import setup_test_environment

settings.DATABASES["default"]["NAME"] = ":memory:"
django.setup()
from chatsession.testing import send

setup_test_environment()
call_command("check", fail_level="WARNING")
call_command("migrate", verbosity=0, run_syncdb=True)
"""


def test_the_eight_lines_of_settings_give_a_chat(site):
    assert len(block(README.read_text(), "SESSION_ENGINE").splitlines()) == 8
    code = """
answer = send(Client(), "/echo Hello, you!")
assert answer.text == "Hello, you!", answer
assert "SESSION" not in answer.text
"""
    run(site, "-c", "import os; os.environ['DJANGO_SETTINGS_MODULE'] = 'mysite.settings'" + SETUP + code)


def test_the_functions_classes_and_receivers_run(site):
    backends, architecture = text("backends.md"), text("architecture.md")
    code = [
        block(architecture, "message_saved"),
        block(backends, "class Library"),
        block(backends, "def answer"),
    ]
    assert block(backends, "def answer") in blocks(README.read_text())
    (site / "mysite" / "models.py").write_text("\n".join(code))
    (site / "mysite" / "library.py").write_text(
        "from mysite.settings import *\n"
        'INSTALLED_APPS += ["mysite"]\n'
        'DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"\n'
        + block(backends, '"mysite.models.answer"}}}')
        + 'CHATSESSION["MODELS"]["library"] = '
        + re.search(r'`(\{"BACKEND": "mysite.models.Library".*?)`', backends)[1]
    )
    turns = """
from mysite.models import Line

guest = Client()
assert send(guest, "Hello").text == "You said: Hello"
assert send(guest, "A poem?", model="library").text == "Look into Poetry."
lines = Line.objects.order_by("message")
assert [line.text for line in lines] == ["Hello", "You said: Hello", "A poem?", "Look into Poetry."]
assert len({line.owner for line in lines}) == 1
"""
    run(site, "-c", "import os; os.environ['DJANGO_SETTINGS_MODULE'] = 'mysite.library'" + SETUP + turns)


def test_mutate_is_used_as_shown():
    from chatsession.stores.memory import SessionStore

    names = {}
    exec(block(text("sessions.md"), "mutate"), names)
    request = type("Request", (), {"session": SessionStore()})
    names["add"](request, "tea")
    names["add"](request, "milk")
    assert request.session["cart"] == ["tea", "milk"]
