from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.test import TestCase, override_settings

from chatsession.stores import db, memory


def saved(store, age):
    session = store()
    session.set_expiry(age)
    session.save()
    return session


class ClearSessionsTests(TestCase):
    def test_only_what_has_expired_goes(self):
        valid, expired = saved(db.SessionStore, 60), saved(db.SessionStore, -60)
        with override_settings(SESSION_ENGINE="chatsession.stores.db"):
            call_command("clearsessions")
        assert (valid.exists(valid.session_key), expired.exists(expired.session_key)) == (True, False)

    def test_it_says_that_it_sees_one_process_only(self):
        expired, said = saved(memory.SessionStore, -60), StringIO()
        with override_settings(SESSION_ENGINE="chatsession.stores.memory"):
            call_command("clearsessions", stderr=said)
        assert "belong to the server's process" in said.getvalue()
        assert not expired.exists(expired.session_key)

    def test_an_engine_that_cannot(self):
        with override_settings(SESSION_ENGINE="tests.test_clearsessions"), pytest.raises(CommandError):
            call_command("clearsessions")


class SessionStore:
    @classmethod
    def clear_expired(cls):
        raise NotImplementedError
