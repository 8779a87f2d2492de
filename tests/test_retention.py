from __future__ import annotations

import threading

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import Client, TestCase, TransactionTestCase, override_settings

from chatsession.models import Conversation, Message
from chatsession.sessions import sessions_of
from chatsession.testing import send

ANONYMISE = {"RETENTION": {"deleted_users": "anonymise"}}


class DeletedUserTests(TestCase):
    def setUp(self):
        self.hanako, self.taro = (self.chatting(name) for name in ("hanako", "taro"))

    def chatting(self, name):
        user = User.objects.create_user(name)
        client = Client()
        client.force_login(user)
        assert send(client, f"/echo I am {name}").text == f"I am {name}"
        return user

    def texts(self):
        return {message.parts[0]["text"] for message in Message.objects.filter(role="assistant")}

    def test_the_conversations_are_erased(self):
        self.hanako.delete()
        assert self.texts() == {"I am taro"}
        assert [c.owner for c in Conversation.objects.all()] == [f"user:{self.taro.pk}"]

    def test_the_sessions_end(self):
        hanako = User(pk=self.hanako.pk)
        self.hanako.delete()
        assert sessions_of(hanako) == []
        assert len(sessions_of(self.taro)) == 1

    def test_of_many_at_once(self):
        User.objects.all().delete()
        assert not Conversation.objects.exists()

    @override_settings(CHATSESSION=ANONYMISE)
    def test_they_stay_and_lead_to_nobody(self):
        pk = self.hanako.pk
        self.hanako.delete()
        assert self.texts() == {"I am hanako", "I am taro"}
        kept = Conversation.objects.exclude(owner=f"user:{self.taro.pk}").get()
        assert kept.owner.startswith("deleted:")
        assert not kept.messages.exclude(session_handle="").exists()
        again = Client()
        again.force_login(User.objects.create_user("heir", pk=pk))
        assert again.get("/chat/api/conversations").json()["conversations"] == []

    def test_a_deletion_that_fails_erases_nothing(self):
        try:
            with transaction.atomic():
                self.hanako.delete()
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        assert self.texts() == {"I am hanako", "I am taro"}

    @override_settings(SESSION_ENGINE="django.contrib.sessions.backends.cache")
    def test_on_sessions_that_are_not_ours(self):
        self.hanako.delete()
        assert self.texts() == {"I am taro"}


class LiveRunTests(TransactionTestCase):
    def test_an_answer_that_is_being_written_ends_and_does_not_come_back(self):
        begun, ended, go_on = threading.Event(), threading.Event(), threading.Event()

        class Endless:
            def stream(self, prompt):
                try:
                    yield "one"
                    begun.set()
                    while not go_on.wait(0.05):
                        yield " more"
                finally:
                    ended.set()

        user = User.objects.create_user("hanako")
        self.client.force_login(user)
        body = {"id": "c", "message": {"id": "m", "role": "user", "parts": [{"type": "text", "text": "Hi"}]}}
        with override_settings(CHATSESSION={"MODELS": {"default": {"BACKEND": Endless()}}}):
            response = self.client.post("/chat/api/chat", body, content_type="application/json")
            assert begun.wait(10)
            user.delete()
            try:
                assert ended.wait(10)
            finally:
                go_on.set()
            response.close()
        assert not Message.objects.exists()


class UnmigratedTests(TransactionTestCase):
    @override_settings(SESSION_ENGINE="chatsession.stores.memory")
    def test_a_site_that_has_made_no_tables_deletes_its_users(self):
        user = User.objects.create_user("hanako")
        with connection.schema_editor() as editor:
            editor.alter_db_table(Conversation, Conversation._meta.db_table, "elsewhere")
        try:
            user.delete()
        finally:
            with connection.schema_editor() as editor:
                editor.alter_db_table(Conversation, "elsewhere", Conversation._meta.db_table)
        assert not User.objects.exists()
