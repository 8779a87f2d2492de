from __future__ import annotations

import pytest
from django.test import Client

from chatsession.models import Message
from chatsession.testing import inline_runs, send
from tests.views.test_chat import refusal


@pytest.fixture
def guest(db) -> Client:
    return Client()


def rate(client: Client, message_id: str, data: object):
    return client.put(f"/chat/api/messages/{message_id}/feedback", data, content_type="application/json")


def answer_id(client: Client, **fields) -> str:
    return send(client, "/echo hi", **fields).frames[0]["messageId"]


def test_an_answer_is_rated_and_rated_again(guest):
    message_id = answer_id(guest)

    first = rate(guest, message_id, {"value": 1, "comment": "とても良い"})
    again = rate(guest, message_id, {"value": -1})

    assert first.json() == {"id": message_id, "value": 1, "comment": "とても良い"}
    assert again.json() == {"id": message_id, "value": -1, "comment": ""}
    assert Message.objects.get(public_id=message_id).feedback == -1


def test_an_answer_that_was_written_again_can_still_be_rated(guest):
    message_id = answer_id(guest, conversation_id="c")
    with inline_runs():
        again = {"id": "c", "trigger": "regenerate-message", "messageId": message_id}
        guest.post("/chat/api/chat", again, content_type="application/json")

    assert rate(guest, message_id, {"value": 1}).status_code == 200


def test_other_peoples_answers_are_not_there(guest):
    message_id = answer_id(guest)
    stranger = Client()
    send(stranger, "hello")

    assert refusal(rate(stranger, message_id, {"value": 1})) == (404, "not_found", None)
    assert refusal(rate(guest, "unknown", {"value": 1})) == (404, "not_found", None)


@pytest.mark.parametrize(
    "data", [{}, {"value": 2}, {"value": "good"}, {"value": 1, "comment": 5}], ids=range(4)
)
def test_bad_ratings_are_refused_and_nothing_is_stored(guest, data):
    message_id = answer_id(guest)

    assert rate(guest, message_id, data).status_code == 400
    assert Message.objects.get(public_id=message_id).feedback is None


def test_a_question_cannot_be_rated(guest):
    send(guest, "hello")

    assert rate(guest, Message.objects.get(role="user").public_id, {"value": 1}).status_code == 400


def test_rating_has_a_permission_of_its_own(guest, settings):
    message_id = answer_id(guest)
    settings.CHATSESSION = settings.CHATSESSION | {"PERMISSIONS": {"feedback": "staff"}}

    assert refusal(rate(guest, message_id, {"value": 1}))[0] == 403
