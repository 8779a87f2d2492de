from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from chatsession.conversations import history, turns
from chatsession.conversations.turns import Ask
from chatsession.exceptions import InvalidRequest, NotFound
from chatsession.models import Conversation, Message

pytestmark = pytest.mark.django_db


def never_dead(message: Message) -> bool:
    return False


def converse(owner: str, conversation_id: str, *texts: str) -> Conversation:
    """A finished turn for each text, answered with the text in capitals."""
    for text in texts:
        ask = Ask(owner=owner, conversation_id=conversation_id, message_id=history.new_id(), text=text)
        turn = turns.begin(ask, never_dead, lambda: False)
        Message.objects.filter(pk=turn.answer.pk).update(
            status="complete", parts=[{"type": "text", "text": text.upper()}]
        )
        Conversation.objects.filter(pk=turn.conversation.pk).update(active_run=None)
    return history.get_conversation(owner, conversation_id)


def texts(messages: list[Message]) -> list[str]:
    return [message.parts[0]["text"] for message in messages]


def test_another_owners_conversation_is_as_unknown_as_one_that_does_not_exist():
    converse("user:1", "c", "hello")

    with pytest.raises(NotFound) as others:
        history.get_conversation("user:2", "c")
    with pytest.raises(NotFound) as unknown:
        history.get_conversation("user:2", "nothing")

    assert others.value.message == unknown.value.message


def test_owners_and_ids_compare_exactly():
    converse("user:a", "C", "hello")

    for owner, public_id in [("user:A", "C"), ("user:a", "c"), ("user:a", "C "), ("user:a ", "C")]:
        with pytest.raises(NotFound):
            history.get_conversation(owner, public_id)


def test_two_owners_may_use_the_same_id():
    converse("user:1", "c", "one")
    converse("user:2", "c", "two")

    assert texts(history.branch(history.get_conversation("user:1", "c"))) == ["one", "ONE"]
    assert texts(history.branch(history.get_conversation("user:2", "c"))) == ["two", "TWO"]


def test_creating_a_conversation_under_an_id_in_use_is_refused():
    history.create_conversation("user:1", "c")

    with pytest.raises(InvalidRequest) as refused:
        history.create_conversation("user:1", "c")

    assert (refused.value.code, refused.value.param) == ("id_taken", "id")


def test_a_branch_is_its_last_messages_oldest_first_with_their_parents_ids():
    conversation = converse("user:1", "c", "a", "b", "c")

    last = history.branch(conversation, limit=3)

    assert texts(last) == ["B", "c", "C"]
    assert [message.parent_public_id for message in last[1:]] == [last[0].public_id, last[1].public_id]


def test_reading_the_end_of_a_branch_costs_the_same_at_any_length():
    short, long = converse("user:1", "s", "a", "b"), converse("user:1", "l", *"abcdefghijklmnopqrst")

    counts = []
    for conversation in (short, long):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            history.branch(conversation, limit=4)
        counts.append(len(queries))

    assert counts == [1, 1]


def test_a_branch_finds_its_way_past_many_siblings():
    conversation = converse("user:1", "c", "a")
    question, answer = history.branch(conversation)
    for number in range(8):
        Message.objects.create(
            conversation=conversation,
            parent=question,
            role="assistant",
            public_id=f"s{number}",
            public_hash=history.digest(f"s{number}"),
        )

    assert [message.pk for message in history.branch(conversation, leaf=answer.pk, limit=2)] == [
        question.pk, answer.pk,
    ]  # fmt: skip
    conversation.leaf = Message.objects.get(public_id="s7")
    assert [message.public_id for message in history.branch(conversation, limit=2)] == [
        question.public_id,
        "s7",
    ]


def test_claiming_moves_everything_once_and_again_what_came_later():
    converse("guest:g", "c1", "one")

    assert history.claim("guest:g", "user:1") == 1
    assert history.claim("guest:g", "user:1") == 0
    converse("guest:g", "c2", "two")
    assert history.claim("guest:g", "user:1") == 1

    assert {row.public_id for row in history.conversations_of("user:1")} == {"c1", "c2"}
    assert not history.conversations_of("guest:g").exists()


def test_a_claimed_conversation_whose_id_is_taken_gets_a_new_one():
    converse("user:1", "c", "mine")
    converse("guest:g", "c", "the guest's")

    history.claim("guest:g", "user:1")

    assert texts(history.branch(history.get_conversation("user:1", "c"))) == ["mine", "MINE"]
    assert history.conversations_of("user:1").count() == 2


def test_undoing_a_claim_gives_back_only_what_was_claimed():
    converse("user:1", "own", "mine")
    converse("guest:g", "c", "the guest's")
    history.claim("guest:g", "user:1")

    assert history.unclaim("guest:g", "user:1") == 1

    assert [row.public_id for row in history.conversations_of("user:1")] == ["own"]
    assert [row.public_id for row in history.conversations_of("guest:g")] == ["c"]
