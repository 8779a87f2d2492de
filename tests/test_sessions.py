"""``chatsession.sessions`` and ``manage.py sessions``, on both stores."""

from __future__ import annotations

from io import StringIO

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.test import TestCase, override_settings

from chatsession.sessions import arevoke, arevoke_all, asessions_of, revoke, revoke_all, sessions_of
from chatsession.stores import db, memory


def command(*arguments):
    output = StringIO()
    call_command("sessions", *arguments, stdout=output, stderr=StringIO())
    return output.getvalue()


@override_settings(SESSION_ENGINE="chatsession.stores.db")
class SessionsTests(TestCase):
    store = db.SessionStore

    def setUp(self):
        self.kei, self.mio = (get_user_model().objects.create_user(name) for name in ("kei", "mio"))
        self.first, self.second, self.mios = map(self.logged_in, (self.kei, self.kei, self.mio))

    def logged_in(self, user):
        session = self.store()
        session["_auth_user_id"] = str(user.pk)
        session.save()
        return session.handle

    def handles(self):
        return {info.handle for info in self.store.list()}

    def test_a_users_sessions(self):
        assert [info.handle for info in sessions_of(self.kei)] == [self.second, self.first]

    def test_revoking_one(self):
        assert (revoke(self.first), revoke(self.first)) == (True, False)
        assert self.handles() == {self.second, self.mios}

    def test_revoking_all_others(self):
        assert revoke_all(self.kei, but=self.first) == 1
        assert self.handles() == {self.first, self.mios}

    def test_revoking_all(self):
        assert revoke_all(self.kei) == 2
        assert self.handles() == {self.mios}

    async def test_in_async(self):
        assert [info.handle for info in await asessions_of(self.mio)] == [self.mios]
        assert await arevoke(self.mios)
        assert await arevoke_all(self.kei, but=self.first) == 1
        assert await sync_to_async(self.handles)() == {self.first}

    def test_the_command_lists(self):
        lines = command().splitlines()
        assert [line.split()[0] for line in lines] == [self.mios, self.second, self.first]
        assert lines[0].split()[1] == str(self.mio.pk)
        assert len(command("list", "--limit", "1").splitlines()) == 1

    def test_the_command_knows_users_by_name_and_key(self):
        for user in ("kei", str(self.kei.pk)):
            found = [line.split()[0] for line in command("--user", user).splitlines()]
            assert found == [self.second, self.first]
        assert command("--user", "nobody") == ""

    def test_the_command_ends_sessions(self):
        assert command("revoke", self.first, "unknown") == "1 session was ended.\n"
        assert self.handles() == {self.second, self.mios}

    def test_the_command_ends_all_of_a_user(self):
        assert command("revoke", "--all-of", "kei") == "2 sessions were ended.\n"
        assert self.handles() == {self.mios}

    def test_the_command_ends_nothing_unasked(self):
        with pytest.raises(CommandError):
            command("revoke")


@override_settings(SESSION_ENGINE="chatsession.stores.memory")
class MemorySessionsTests(SessionsTests):
    store = memory.SessionStore

    def test_the_command_says_that_it_sees_one_process_only(self):
        said = StringIO()
        call_command("sessions", stdout=StringIO(), stderr=said)
        assert "belong to the server's process" in said.getvalue()


@override_settings(SESSION_ENGINE="django.contrib.sessions.backends.cache")
def test_an_engine_that_is_not_ours():
    with pytest.raises(ImproperlyConfigured):
        revoke("x")
    with pytest.raises(CommandError):
        command()
