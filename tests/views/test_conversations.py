from __future__ import annotations

import pytest
from django.test import Client

from chatsession.models import Conversation, Message
from chatsession.testing import inline_runs, send

URL = "/chat/api/conversations"


@pytest.fixture
def guest(db) -> Client:
    return Client()


def patch(client: Client, conversation_id: str, data: object):
    return client.patch(f"{URL}/{conversation_id}", data, content_type="application/json")


def test_the_messages_are_ui_messages_with_status_and_parent(guest):
    answer = send(guest, "/echo **hi**")

    data = guest.get(f"{URL}/{answer.conversation_id}/messages").json()

    question, reply = data["messages"]
    assert (question["role"], question["parentId"], question["status"]) == ("user", None, "complete")
    assert (reply["role"], reply["parentId"]) == ("assistant", question["id"])
    assert reply["parts"] == [{"type": "text", "text": answer.text}]
    assert (data["activeRun"], data["leaf"], data["nextCursor"]) == (None, reply["id"], None)
    assert "html" not in reply


def test_the_page_gets_them_rendered(guest):
    answer = send(guest, "/echo **hi**")

    url = f"{URL}/{answer.conversation_id}/messages"
    data = guest.get(url, headers={"X-Chat-Render": "html"}).json()

    assert "<strong>hi</strong>" in data["messages"][1]["html"]


def test_long_histories_come_in_pages(guest):
    conversation_id = send(guest, "/echo 0").conversation_id
    for number in range(1, 30):
        send(guest, f"/echo {number}", conversation_id=conversation_id)
    url = f"{URL}/{conversation_id}/messages"

    last = guest.get(url).json()
    first = guest.get(url, {"before": last["nextCursor"]}).json()

    assert (len(last["messages"]), len(first["messages"])) == (50, 10)
    assert first["nextCursor"] is None
    assert first["messages"][-1]["id"] == last["messages"][0]["parentId"]
    assert guest.get(url, {"before": "unknown"}).status_code == 404


def test_siblings_are_named_and_one_call_switches_between_their_branches(guest):
    conversation_id = send(guest, "/echo one", conversation_id="c").conversation_id
    url = f"{URL}/{conversation_id}/messages"
    question, first = guest.get(url).json()["messages"]
    again = {"id": "c", "trigger": "regenerate-message", "messageId": first["id"]}
    with inline_runs():
        guest.post("/chat/api/chat", again, content_type="application/json")
    send(guest, "/echo two", conversation_id="c")
    branch = guest.get(url).json()["messages"]
    second = branch[1]

    assert [message["siblings"] for message in branch[:2]] == [
        [question["id"]], [first["id"], second["id"]]
    ]  # fmt: skip
    switched = patch(guest, "c", {"leaf": first["id"]})

    assert switched.status_code == 200
    assert [message["id"] for message in guest.get(url).json()["messages"]] == [question["id"], first["id"]]
    patch(guest, "c", {"leaf": second["id"]})
    assert guest.get(url).json()["messages"] == branch
    assert patch(guest, "c", {"leaf": "unknown"}).status_code == 404


def test_conversations_are_listed_last_used_first_in_pages(guest):
    for number in range(60):
        guest.post(URL, {"id": f"c{number}", "title": f"t{number}"}, content_type="application/json")

    first = guest.get(URL).json()
    second = guest.get(URL, {"cursor": first["nextCursor"]}).json()

    ids = [row["id"] for row in first["conversations"] + second["conversations"]]
    assert ids == [f"c{number}" for number in reversed(range(60))]
    assert second["nextCursor"] is None
    for cursor in ("x", "_", "1_", "1_x", "9" * 17 + "_1", "1_" + "9" * 19):
        assert guest.get(URL, {"cursor": cursor}).status_code == 400


def test_search_looks_into_the_titles(guest):
    send(guest, "セッションとは何ですか")
    send(guest, "hello")

    found = guest.get(URL, {"q": "とは何"}).json()["conversations"]

    assert [row["title"] for row in found] == ["セッションとは何ですか"]


def test_rename_archive_delete(guest):
    conversation_id = send(guest, "hello").conversation_id

    assert patch(guest, conversation_id, {"title": "new"}).json()["title"] == "new"
    assert patch(guest, conversation_id, {"archived": True}).json() | {"updatedAt": 0} == {
        "id": conversation_id, "title": "new", "archived": True, "activeRun": None, "updatedAt": 0,
        "createdAt": guest.get(f"{URL}/{conversation_id}").json()["createdAt"],
    }  # fmt: skip
    assert guest.delete(f"{URL}/{conversation_id}").status_code == 204
    assert guest.get(f"{URL}/{conversation_id}").status_code == 404
    assert not Message.objects.exists()


def test_a_change_writes_nothing_but_what_it_was_given(guest, monkeypatch):
    from chatsession.views import conversations

    send(guest, "hello", conversation_id="c")
    read_json = conversations.read_json

    def renamed_meanwhile(request):
        Conversation.objects.update(title="by the other tab")
        return read_json(request)

    monkeypatch.setattr(conversations, "read_json", renamed_meanwhile)

    assert patch(guest, "c", {"archived": True}).json()["title"] == "by the other tab"


def test_a_title_that_is_no_text_or_too_long_changes_nothing(guest):
    conversation_id = send(guest, "hello").conversation_id

    assert patch(guest, conversation_id, {"title": 5}).status_code == 400
    assert patch(guest, conversation_id, {"title": "x" * 201}).status_code == 413
    assert Conversation.objects.get().title == "hello"


def test_an_id_can_be_chosen_once(guest):
    created = guest.post(URL, {"id": "mine", "title": "t"}, content_type="application/json")
    again = guest.post(URL, {"id": "mine"}, content_type="application/json")

    assert (created.status_code, created.json()["id"]) == (201, "mine")
    assert (again.status_code, again.json()["error"]["code"]) == (400, "id_taken")


def test_no_cache_keeps_what_belongs_to_a_visitor(guest):
    conversation_id = send(guest, "hello").conversation_id

    response = guest.get(f"{URL}/{conversation_id}/messages")

    assert "no-store" in response["Cache-Control"]
    assert "Cookie" in response["Vary"]
