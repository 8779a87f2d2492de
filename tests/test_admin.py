"""The sessions in Django's admin, over every store."""

from __future__ import annotations

import os
import re
import uuid
from unittest import mock

from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client, TestCase, override_settings
from django.urls import reverse

from chatsession import signals
from chatsession.admin import SessionAdmin, user_names
from chatsession.signing import hash_key
from chatsession.stores.configured import configured_store

LIST = "/admin/chatsession/activesession/"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
SAFARI = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1 Version/26.0 Safari/605.1"


def visitor(user=None, *, user_agent=FIREFOX, ip="203.0.113.77"):
    """A client that has a session with the site."""
    client = Client(headers={"user-agent": user_agent}, REMOTE_ADDR=ip)
    client.get("/chat/")
    if user:
        client.force_login(user)
    return client


def handle_of(client):
    session = client.session
    assert session.cause == "success"
    return session.handle


class Screen:
    """What the screen does, whatever the store."""

    @classmethod
    def setUpTestData(cls):
        cls.admin = User.objects.create_superuser("boss")
        cls.hanako = User.objects.create_user("hanako")

    def setUp(self):
        configured_store().clear_expired()
        self.client = visitor(self.admin, user_agent=SAFARI, ip="2001:db8:1:2::3")

    def listed(self, **query):
        response = self.client.get(LIST, query)
        assert response.status_code == 200
        return re.sub(r"\s+", " ", response.content.decode())

    def test_a_session_is_shown_with_user_device_and_network(self):
        handle = handle_of(visitor(self.hanako))
        page = self.listed()
        assert handle[:8] in page
        assert "hanako" in page
        assert "Firefox · Linux" in page
        assert "203.0.113.0" in page
        assert "203.0.113.77" not in page
        assert "Safari · macOS" in page
        assert "2001:db8:1::" in page

    def test_guests_are_listed(self):
        visitor()
        assert "Guest" in self.listed()

    def test_the_own_session_is_marked(self):
        visitor(self.hanako)
        assert self.listed().count("(this session)") == 1
        assert f"{handle_of(self.client)[:8]} (this session)" in self.listed()

    def test_ids_and_hashes_are_on_no_page(self):
        client = visitor(self.hanako)
        handle = handle_of(client)
        key = client.session.session_key
        details = self.client.get(f"{LIST}{handle}/change/").content.decode()
        question = self.client.get(f"{LIST}{handle}/delete/").content.decode()
        assert FIREFOX in details
        for page in (self.listed(), details, question):
            assert handle[:8] in page
            assert key not in page
            assert hash_key(key)[2:] not in page

    def test_a_user_name_finds_all_sessions_of_the_user(self):
        visitor(self.hanako)
        visitor(self.hanako, user_agent=SAFARI)
        visitor()
        page = self.listed(q="hanako")
        assert "2 sessions" in page
        assert "Guest" not in page

    def test_part_of_the_device_finds_sessions(self):
        visitor()
        page = self.listed(q="firefox")
        assert "1 session" in page
        assert "Safari" not in page

    def test_nothing_is_found_for_nonsense(self):
        assert "0 sessions" in self.listed(q="nonsense")
        assert self.listed(q="\0")

    def test_a_page_holds_some_of_many_sessions(self):
        for _ in range(3):
            visitor()
        with mock.patch.object(SessionAdmin, "list_per_page", 2):
            assert self.listed(p=2).count("Guest") + self.listed(p=1).count("Guest") == 3
            assert self.client.get(LIST, {"p": 9}).status_code == 302

    def test_names_of_a_page_take_one_query(self):
        users = [User.objects.create_user(f"user{number}") for number in range(5)]
        for user in users:
            visitor(user)
        with self.assertNumQueries(1):
            names = user_names(str(user.pk) for user in users)
        assert names == {str(user.pk): user.username for user in users}

    def test_sessions_of_former_users_are_listed(self):
        user = User.objects.create_user("gone")
        visitor(user)
        pk = user.pk
        # Past Django, as a clean-up by hand would: else the sessions end with the user.
        User.objects.filter(pk=pk)._raw_delete("default")
        assert f'<td class="field-user">{pk}</td>' in self.listed()

    def test_deleting_revokes_and_is_logged(self):
        client = visitor(self.hanako)
        handle = handle_of(client)
        revoked = []

        def receive(sender, handle, user_id, **kwargs):
            revoked.append((handle, user_id))

        signals.session_revoked.connect(receive)
        self.addCleanup(signals.session_revoked.disconnect, receive)

        question = self.client.get(f"{LIST}{handle}/delete/")
        assert "hanako, Firefox · Linux" in question.content.decode()
        answer = self.client.post(f"{LIST}{handle}/delete/", {"post": "yes"}, follow=True)

        assert "was deleted successfully" in answer.content.decode()
        assert revoked == [(handle, str(self.hanako.pk))]
        assert not client.session.exists(client.cookies["sessionid"].value)
        entry = LogEntry.objects.get()
        assert (entry.action_flag, entry.object_id, entry.user) == (DELETION, handle, self.admin)
        assert self.client.get(f"{LIST}{handle}/change/").status_code == 302

    def test_the_action_revokes_the_chosen_ones(self):
        kept, *ended = (handle_of(visitor()) for _ in range(3))
        chosen = {"action": "delete_selected", "_selected_action": ended, "index": "0"}
        question = self.client.post(LIST, chosen).content.decode()
        assert all(handle in question for handle in ended)
        answer = self.client.post(LIST, {**chosen, "post": "yes"}, follow=True)
        assert "Successfully deleted 2 sessions" in answer.content.decode()
        store = configured_store()
        assert [bool(store.info(handle)) for handle in (kept, *ended)] == [True, False, False]
        assert LogEntry.objects.count() == 2

    def test_the_action_revokes_all_that_were_found(self):
        for _ in range(3):
            visitor()
        chosen = {"action": "delete_selected", "_selected_action": "x", "select_across": "1", "post": "yes"}
        self.client.post(f"{LIST}?q=firefox", chosen)
        assert [info.handle for info in configured_store().list()] == [handle_of(self.client)]

    def test_revoking_the_own_session_is_a_logout(self):
        own = handle_of(self.client)
        answer = self.client.post(f"{LIST}{own}/delete/", {"post": "yes"}, follow=True)
        assert answer.redirect_chain[-1][0].startswith("/admin/login/")
        assert configured_store().info(own) is None

    def test_unknown_handles_lead_back_to_the_list(self):
        for unknown in (uuid.uuid4(), "x", "_00"):
            response = self.client.get(f"{LIST}{unknown}/change/", follow=True)
            assert "doesn’t exist" in response.content.decode()

    def test_nothing_can_be_added_or_changed(self):
        handle = handle_of(visitor())
        assert self.client.get(f"{LIST}add/").status_code == 403
        assert self.client.post(f"{LIST}{handle}/change/", {"ip": "1.1.1.1"}).status_code == 403

    def test_staff_need_the_permission_to_see_and_another_to_revoke(self):
        staff = User.objects.create_user("staff", is_staff=True)
        self.client = visitor(staff)
        handle = handle_of(visitor())
        assert self.client.get(LIST).status_code == 403
        staff.user_permissions.add(Permission.objects.get(codename="view_activesession"))
        assert "delete_selected" not in self.listed()
        assert self.client.post(f"{LIST}{handle}/delete/", {"post": "yes"}).status_code == 403
        staff.user_permissions.add(Permission.objects.get(codename="delete_activesession"))
        assert "delete_selected" in self.listed()
        assert self.client.post(f"{LIST}{handle}/delete/", {"post": "yes"}).status_code == 302
        assert configured_store().info(handle) is None

    def test_the_screen_is_on_the_index_and_speaks_japanese(self):
        assert (
            reverse("admin:chatsession_activesession_changelist")
            in self.client.get("/admin/").content.decode()
        )
        self.client.cookies["django_language"] = "ja"
        assert 'lang="ja"' in self.listed()


@override_settings(SESSION_ENGINE="chatsession.stores.db")
class DatabaseScreenTests(Screen, TestCase):
    def test_no_note_is_needed(self):
        assert "this process only" not in self.listed()


@override_settings(SESSION_ENGINE="chatsession.stores.memory")
class MemoryScreenTests(Screen, TestCase):
    def test_a_note_says_that_one_process_is_shown(self):
        assert f"this process only ({os.getpid()})" in self.listed()


@override_settings(SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies")
class ForeignEngineTests(TestCase):
    def test_the_list_is_empty_and_says_why(self):
        client = Client()
        client.force_login(User.objects.create_superuser("boss"))
        page = client.get(LIST, {"q": "boss"}).content.decode()
        assert "0 sessions" in page
        assert "SESSION_ENGINE is not one of" in page
        assert client.get(f"{LIST}x/change/").status_code == 302
