from __future__ import annotations

import pytest

from chatsession.conversations.window import window
from chatsession.models import Message
from tests.conversations.test_history import converse
from tests.conversations.test_turns import begin, end

pytestmark = pytest.mark.django_db


def question(text: str) -> Message:
    return Message.objects.get(role="user", parts=[{"type": "text", "text": text}])


def test_a_short_conversation_is_read_as_a_whole():
    conversation = converse("user:1", "c", "a", "b")

    read = window(conversation, question("b"))

    assert read.messages == [("user", "a"), ("assistant", "A"), ("user", "b")]
    assert not read.trimmed


def test_the_window_drops_whole_oldest_turns_and_says_so():
    conversation = converse("user:1", "c", "a" * 60, "b", "c")

    read = window(conversation, question("c"), max_chars=100)

    assert read.messages == [("user", "b"), ("assistant", "B"), ("user", "c")]
    assert read.trimmed


def test_the_question_is_read_however_long_it_is():
    conversation = converse("user:1", "c", "a", "b" * 200)

    read = window(conversation, question("b" * 200), max_chars=100)

    assert read.messages == [("user", "b" * 200)]


def test_in_single_turn_mode_the_question_stands_alone():
    conversation = converse("user:1", "c", "a", "b")

    assert window(conversation, question("b"), single_turn=True).messages == [("user", "b")]


def test_a_failed_answer_is_not_shown_to_the_model():
    turn = begin()
    Message.objects.filter(pk=turn.answer.pk).update(parts=[{"type": "text", "text": "half an ans"}])
    end(turn, "error")
    following = begin("again", "m2")

    read = window(following.conversation, following.question)

    assert read.messages == [("user", "hello"), ("user", "again")]
    assert not read.trimmed


def test_a_long_conversation_costs_no_more_than_its_window(django_assert_num_queries):
    conversation = converse("user:1", "c", *(str(number) for number in range(60)))
    last = question("59")

    with django_assert_num_queries(1):
        read = window(conversation, last)

    assert len(read.messages) < 120
    assert read.trimmed
