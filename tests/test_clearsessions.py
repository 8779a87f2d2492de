from __future__ import annotations

from datetime import timedelta
from io import StringIO
from unittest import mock

import pytest
from django.core.management import CommandError, call_command
from django.test import TestCase, override_settings
from django.utils import timezone

from chatsession.conversations import guests, history
from chatsession.conversations.history import create_conversation, new_id
from chatsession.models import Conversation
from chatsession.stores import db, memory

Store = db.SessionStore


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

    def test_conversations_of_guests_go_with_their_session(self):
        here, gone, expired = self.guest(), self.guest(), self.guest(age=-60)
        Store(gone[0].session_key).flush()
        self.mine = create_conversation("user:1").public_id
        with override_settings(SESSION_ENGINE="chatsession.stores.db"), mock.patch.object(guests, "BATCH", 2):
            call_command("clearsessions")
            assert self.conversations() == {self.mine, here[1], gone[1], expired[1]}
            self.let_pass(hours=2)
            call_command("clearsessions")
        assert self.conversations() == {self.mine, here[1]}

    def test_where_nobody_knows_the_sessions_disuse_counts(self):
        self.guest()
        for engine in ("chatsession.stores.memory", "django.contrib.sessions.backends.file"):
            with override_settings(SESSION_ENGINE=engine, SESSION_COOKIE_AGE=3600):
                conversation = self.guest()[1]
                call_command("clearsessions", stderr=StringIO())
                assert conversation in self.conversations()
                self.let_pass(hours=2)
                call_command("clearsessions", stderr=StringIO())
                assert self.conversations() == set()

    def test_what_nobody_wrote_in_for_long_goes_where_a_site_wants_so(self):
        for owner in (None, lambda request: "team"):
            old = [create_conversation(name).public_id for name in ("user:1", "team", "deleted:1")]
            self.let_pass(hours=24 * 8)
            new = create_conversation("user:1").public_id
            for retention, kept in (({}, {*old, new}), ({"days": 9}, {*old, new}), ({"days": 7}, {new})):
                with (
                    override_settings(CHATSESSION={"RETENTION": retention, "OWNER": owner}),
                    mock.patch.object(history, "BATCH", 2),
                ):
                    call_command("clearsessions")
                assert self.conversations() == kept
            Conversation.objects.all().delete()

    def test_owners_of_the_sites_own_are_left_alone(self):
        conversation = self.guest()[1]
        self.let_pass(hours=2000)
        Store.clear_expired()
        with override_settings(CHATSESSION={"OWNER": lambda request: "guest:5"}):
            call_command("clearsessions", stderr=StringIO())
        assert self.conversations() == {conversation}

    def guest(self, age=3600 * 24):
        """A session, and the ID of the conversation its guest has begun."""
        session = Store()
        session["_chatsession_guest"] = guest = new_id()
        session.set_expiry(age)
        session.save()
        return session, create_conversation(f"guest:{guest}").public_id

    def let_pass(self, *, hours):
        Conversation.objects.update(updated_at=timezone.now() - timedelta(hours=hours))

    def conversations(self):
        return set(Conversation.objects.values_list("public_id", flat=True))

    def test_an_engine_that_cannot(self):
        with override_settings(SESSION_ENGINE="tests.test_clearsessions"), pytest.raises(CommandError):
            call_command("clearsessions")


class SessionStore:
    @classmethod
    def clear_expired(cls):
        raise NotImplementedError
