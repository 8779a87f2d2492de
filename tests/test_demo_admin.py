from __future__ import annotations

from io import StringIO

import pytest
from django.contrib.auth import authenticate, get_user_model
from django.core.management import call_command

from demo_project.management.commands.demo_admin import Command

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_password(monkeypatch):
    monkeypatch.delenv("DEMO_ADMIN_PASSWORD", raising=False)


def printed():
    out = StringIO()
    call_command(Command(), stdout=out)
    return out.getvalue().strip()


def test_a_password_is_made_and_printed_once():
    password = printed()
    assert authenticate(username="admin", password=password).is_superuser
    assert printed() == ""
    assert get_user_model().objects.count() == 1


def test_the_environment_sets_the_password(monkeypatch):
    monkeypatch.setenv("DEMO_ADMIN_PASSWORD", "of my own")
    assert printed() == "of my own"
    assert authenticate(username="admin", password="of my own")


def test_another_password_takes_the_place_of_the_first(monkeypatch):
    first = printed()
    monkeypatch.setenv("DEMO_ADMIN_PASSWORD", "of my own")
    assert printed() == "of my own"
    assert printed() == ""
    assert authenticate(username="admin", password="of my own")
    assert not authenticate(username="admin", password=first)
