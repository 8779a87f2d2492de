"""Visitors take their data along, and delete it."""

from __future__ import annotations

import json

import pytest
from django.test import AsyncClient, Client, TransactionTestCase, override_settings

from chatsession.conversations import history
from chatsession.models import Conversation, Message
from chatsession.testing import inline_runs, send
from tests.runs.test_engine import Gate
from tests.views.test_chat import body, refusal

EXPORT, ALL = "/chat/api/export", "/chat/api/conversations"


@pytest.fixture
def guest(db) -> Client:
    return Client()


def exported(client: Client) -> list[dict]:
    response = client.get(EXPORT)
    assert response["Content-Disposition"] == 'attachment; filename="conversations.json"'
    assert "no-store" in response["Cache-Control"]
    return json.loads(b"".join(response.streaming_content))["conversations"]


def test_the_file_has_every_message_of_every_branch(guest):
    send(Client(), "/echo of somebody else")
    send(guest, "/echo 一", conversation_id="first")
    answer = send(guest, "/echo 二", conversation_id="second").frames[0]["messageId"]
    with inline_runs():
        again = {"id": "second", "trigger": "regenerate-message", "messageId": answer}
        guest.post("/chat/api/chat", again, content_type="application/json")
    guest.put(f"/chat/api/messages/{answer}/feedback", {"value": 1}, content_type="application/json")

    second, first = exported(guest)

    assert (first["id"], first["title"], second["id"]) == ("first", "/echo 一", "second")
    assert [m["parts"][0]["text"] for m in first["messages"]] == ["/echo 一", "一"]
    assert [m["role"] for m in second["messages"]] == ["user", "assistant", "assistant"]
    question = second["messages"][0]["id"]
    assert [m["parentId"] for m in second["messages"]] == [None, question, question]
    assert [m["feedback"] for m in second["messages"]] == [None, 1, None]


def test_who_has_nothing_gets_an_empty_file(guest):
    assert exported(guest) == []


def test_all_conversations_are_deleted_but_nobody_elses(guest, monkeypatch):
    monkeypatch.setattr(history, "BATCH", 2)
    theirs = send(Client(), "hello").conversation_id
    for _ in range(5):
        send(guest, "hello")

    assert guest.delete(ALL).status_code == 204

    assert [c.public_id for c in Conversation.objects.all()] == [theirs]
    assert Message.objects.count() == 2
    assert Client().delete(ALL).status_code == 204


def test_deleting_all_has_a_permission_of_its_own(guest, settings):
    send(guest, "hello")
    settings.CHATSESSION = {"PERMISSIONS": {"clear": "staff"}}
    assert refusal(guest.delete(ALL)) == (403, "permission_denied", None)
    assert guest.post("/chat/", {"erase": ""}).status_code == 403
    assert 'name="erase"' not in guest.get("/chat/").content.decode()
    assert Conversation.objects.exists()


def test_without_script_the_page_deletes_all(guest):
    send(guest, "hello")
    html = guest.get("/chat/").content.decode()
    assert f'href="{EXPORT}"' in html
    assert 'name="erase"' in html
    assert guest.post("/chat/", {"erase": ""}).url == "/chat/"
    assert not Conversation.objects.exists()


class LiveTests(TransactionTestCase):
    async def test_the_file_under_asgi(self):
        client = AsyncClient()
        await client.post("/chat/api/conversations", {"id": "c"}, content_type="application/json")
        response = await client.get(EXPORT)
        file = b"".join([part async for part in response.streaming_content])
        assert [c["id"] for c in json.loads(file)["conversations"]] == ["c"]

    def test_an_answer_that_is_being_written_ends(self):
        gate = Gate()
        with override_settings(CHATSESSION={"MODELS": {"default": {"BACKEND": gate}}}):
            response = self.client.post("/chat/api/chat", body(), content_type="application/json")
            assert gate.written.wait(5)
            assert self.client.delete(ALL).status_code == 204
            assert gate.closed.wait(5)
            response.close()
        assert not Message.objects.exists()
