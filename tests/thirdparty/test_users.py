"""Login, sessions, screens and chat with the site's user model, whatever its key."""

from __future__ import annotations

import uuid

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.test import Client, TestCase

from chatsession.models import Conversation
from chatsession.sessions import revoke_all, sessions_of
from chatsession.testing import send

User = get_user_model()


def create(name, **values):
    if User.__name__ == "NamedUser":
        values["id"] = f'{name}/日本 & "co":%'
    return User.objects.create_user(name, **values)


class UserTests(TestCase):
    def setUp(self):
        self.hanako, self.taro = create("hanako"), create("taro", is_staff=True, is_superuser=True)

    def logged_in(self, user):
        client = Client()
        client.force_login(user)
        return client

    def test_the_sessions_of_a_user(self):
        client = self.logged_in(self.hanako)
        self.logged_in(self.taro)
        [found] = sessions_of(self.hanako)
        assert found.user_id == str(self.hanako.pk)
        assert revoke_all(self.hanako) == 1
        assert client.get("/session/dump").json() == {}
        assert len(sessions_of(self.taro)) == 1

    def test_the_page_of_ones_own(self):
        client, other = self.logged_in(self.hanako), self.logged_in(self.hanako)
        assert client.get("/chat/sessions/").content.count(b'<li class="session"') == 2
        client.post("/chat/sessions/", {"end": "others"})
        assert other.get("/session/dump").json() == {}

    def test_the_admin_names_the_user(self):
        self.logged_in(self.hanako)
        boss = self.logged_in(self.taro)
        page = boss.get("/admin/chatsession/activesession/").content.decode()
        assert "hanako" in page
        assert "1 session" in boss.get("/admin/chatsession/activesession/?q=hanako").content.decode()

    def test_the_command(self):
        self.logged_in(self.hanako)
        call_command("sessions", "revoke", all_of="hanako", verbosity=0)
        assert sessions_of(self.hanako) == []

    def test_a_chat_belongs_to_the_user_and_moves_there_at_login(self):
        client = Client()
        client.get("/chat/")
        assert send(client, "/echo Hello").text == "Hello"
        client.force_login(self.hanako)
        client.get("/chat/")
        assert send(client, "/echo Again").text == "Again"
        assert {c.owner for c in Conversation.objects.all()} == {f"user:{self.hanako.pk}"}
        stranger = self.logged_in(self.taro)
        assert stranger.get("/chat/api/conversations").json()["conversations"] == []

    def test_the_key_is_what_it_is_meant_to_be(self):
        kinds = {"User": int, "UuidUser": uuid.UUID, "NamedUser": str}
        assert type(self.hanako.pk) is kinds[User.__name__]
