"""A site's own tests of its chat, as docs/testing.md shows them; the last tests hold the two together."""

from __future__ import annotations

# --- docs/testing.md
from django.contrib.auth.models import User
from django.test import TestCase, override_settings

from chatsession.backends.base import BackendError
from chatsession.testing import FakeBackend, asend, send


def models(*script):
    return {"MODELS": {"default": {"BACKEND": FakeBackend(script)}}}


@override_settings(CHATSESSION=models("Hello", ", Hanako."))
class ChatTests(TestCase):
    def test_a_guest_is_answered(self):
        answer = send(self.client, "My name is Hanako.")
        self.assertEqual(answer.text, "Hello, Hanako.")
        self.assertEqual(answer.status, "complete")

    async def test_a_guest_is_answered_async(self):
        answer = await asend(self.async_client, "My name is Hanako.")
        self.assertEqual(answer.text, "Hello, Hanako.")

    def test_a_login_keeps_the_conversation_and_a_logout_hides_it(self):
        answer = send(self.client, "My name is Hanako.")
        self.client.force_login(User.objects.create_user("hanako"))
        page = self.client.get(f"/chat/{answer.conversation_id}/")
        self.assertContains(page, "Hello, Hanako.")
        self.client.logout()
        page = self.client.get(f"/chat/{answer.conversation_id}/")
        self.assertEqual(page.status_code, 404)

    def test_the_model_reads_the_turns_before(self):
        model = FakeBackend([["Nice to meet you."], ["Hanako."]])
        with override_settings(CHATSESSION={"MODELS": {"default": {"BACKEND": model}}}):
            first = send(self.client, "My name is Hanako.")
            send(self.client, "What is my name?", conversation_id=first.conversation_id)
        contents = [message["content"] for message in model.prompts[-1].messages]
        self.assertEqual(contents, ["My name is Hanako.", "Nice to meet you.", "What is my name?"])

    @override_settings(CHATSESSION=models("Well", BackendError("The library is closed.")))
    def test_a_failure_is_told_and_keeps_what_was_written(self):
        answer = send(self.client, "Hello")
        self.assertEqual((answer.status, answer.text), ("error", "Well"))
        self.assertEqual(answer.frames[-1]["errorText"], "The library is closed.")

    @override_settings(CHATSESSION=models("Hello") | {"PERMISSIONS": {"chat": "authenticated"}})
    def test_guests_may_not_chat(self):
        self.assertEqual(send(self.client, "Hello").status, "permission_denied")
        self.client.force_login(User.objects.create_user("hanako"))
        self.assertEqual(send(self.client, "Hello").status, "complete")


# --- the end of it

from pathlib import Path  # noqa: E402

from django.test import RequestFactory  # noqa: E402

from chatsession.middleware import SessionMiddleware  # noqa: E402
from chatsession.stores.configured import configured_store  # noqa: E402
from chatsession.testing import session_cookie  # noqa: E402

HERE = Path(__file__)


class AsyncLoginTests(TestCase):
    async def test_a_logged_in_user_is_answered(self):
        user = await User.objects.acreate_user("hanako")
        await self.async_client.aforce_login(user)
        with override_settings(CHATSESSION=models("Hello")):
            answer = await asend(self.async_client, "Hi")
        assert answer.text == "Hello"
        response = await self.async_client.get(f"/chat/{answer.conversation_id}/")
        assert "Hello" in response.content.decode()


class RequestFactoryTests(TestCase):
    def test_a_session_is_carried_by_its_cookie(self):
        session = configured_store()()
        session["cart"] = [1]
        session.save()
        request = RequestFactory().get("/")
        request.COOKIES["sessionid"] = session_cookie(session.session_key)
        SessionMiddleware(lambda request: None).process_request(request)
        assert request.session["cart"] == [1]


def test_the_documentation_shows_these_tests():
    _before, shown, _after = HERE.read_text().split("# ---", 2)
    sample = shown.partition("\n")[2].strip()
    assert sample in (HERE.parent.parent / "docs" / "testing.md").read_text()
