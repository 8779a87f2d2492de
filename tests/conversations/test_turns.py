from __future__ import annotations

import threading

import pytest
from django.db import close_old_connections

from chatsession.conversations import history, turns
from chatsession.conversations.branches import switch_to
from chatsession.conversations.turns import Ask
from chatsession.exceptions import NotFound, NothingToAnswer, RunActive
from chatsession.models import Conversation, Message
from tests.conversations.test_history import converse, never_dead, texts

pytestmark = pytest.mark.django_db


def ask(text: str | None = "hello", message_id: str = "m1", conversation_id: str = "c", **fields) -> Ask:
    return Ask(owner="user:1", conversation_id=conversation_id, message_id=message_id, text=text, **fields)


def begin(*args, **fields) -> turns.Turn:
    return turns.begin(ask(*args, **fields), never_dead, lambda: False)


def end(turn: turns.Turn, status: str = "complete") -> None:
    Message.objects.filter(pk=turn.answer.pk).update(status=status)
    Conversation.objects.filter(pk=turn.conversation.pk).update(active_run=None)


def test_a_turn_is_a_question_and_its_pending_answer_under_the_conversations_lease():
    turn = begin("What is a\nsession?", lease="worker", request_id="r")

    conversation = Conversation.objects.get()
    assert conversation.title == "What is a"
    assert conversation.active_run == turn.answer.run_id
    assert [m.role for m in history.branch(conversation)] == ["user", "assistant"]
    assert (turn.answer.status, turn.answer.lease, turn.answer.request_id) == ("streaming", "worker", "r")


def test_the_same_send_attaches_to_the_first_one_while_it_runs_and_when_it_is_done():
    first = begin()
    running = begin()
    end(first)
    done = begin()

    assert (running.attached, done.attached) == (True, True)
    assert {first.answer.pk, running.answer.pk, done.answer.pk} == {first.answer.pk}
    assert Message.objects.count() == 2


@pytest.mark.parametrize("status", ["error", "interrupted"])
def test_the_same_send_answers_anew_after_a_failure(status):
    first = begin()
    end(first, status)

    again = begin()

    assert not again.attached
    assert again.question.pk == first.question.pk
    assert again.answer.pk != first.answer.pk


def test_another_send_is_refused_while_an_answer_is_written_and_nothing_is_stored():
    first = begin()

    with pytest.raises(RunActive) as refused:
        begin("other", "m2")

    assert refused.value.run_id == first.answer.run_id
    assert Message.objects.count() == 2


def test_a_dead_run_gives_its_lease_back_to_the_next_send():
    first = begin()

    def dead(message: Message) -> bool:
        end(first, "interrupted")
        return True

    second = turns.begin(ask("other", "m2"), dead, lambda: False)

    assert second.question.parent_id == first.answer.pk


def test_the_same_id_with_another_text_is_an_edit_beside_the_first():
    end(begin("hello", "m1"))
    end(begin("and?", "m2"))

    edited = begin("goodbye", "m1")

    first = Message.objects.get(public_id="m1")
    assert edited.question.parent_id == first.parent_id
    assert edited.question.public_id != "m1"
    assert Message.objects.filter(role="user").count() == 3
    assert begin("goodbye", "m1").attached


def test_an_edit_sent_again_under_the_id_it_is_shown_by_is_the_same_message():
    end(begin("hello", "m1"))
    edited = begin("goodbye", "m1")
    end(edited)

    assert begin("goodbye", edited.question.public_id).attached
    assert Message.objects.filter(role="user").count() == 2


def test_answering_again_makes_a_sibling_answer():
    first = begin()
    end(first)

    by_answer = begin(None, first.answer.public_id)
    end(by_answer)
    by_default = begin(None, "")

    assert {by_answer.question.pk, by_default.question.pk} == {first.question.pk}
    assert Message.objects.filter(role="assistant", parent=first.question).count() == 3
    assert by_default.conversation.leaf_id == by_default.answer.pk


def test_a_question_answered_again_is_the_version_on_show():
    first = begin("hello", "m1")
    end(first)
    edit = begin("goodbye", "m1")
    end(edit)
    again = begin("good night", edit.question.public_id)
    end(again)

    for shown, sent_id in (
        (first, "m1"),
        (edit, "m1"),
        (edit, edit.question.public_id),
        (again, edit.question.public_id),
    ):
        switch_to(shown.conversation, shown.answer.public_id)
        other = begin(None, sent_id)
        end(other)
        assert other.question.pk == shown.question.pk
    switch_to(first.conversation, again.answer.public_id)
    assert begin(None, "m1").question.pk == edit.question.pk  # none of them is: the newest


def test_answering_again_needs_something_to_answer():
    with pytest.raises(NotFound):
        begin(None, "")
    history.create_conversation("user:1", "c")
    with pytest.raises(NothingToAnswer):
        begin(None, "")
    with pytest.raises(NotFound):
        begin(None, "unknown")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("existing", [False, True])
def test_one_message_sent_by_eight_threads_is_one_turn(existing):
    if existing:
        converse("user:1", "c", "before")
    seen, barrier = [], threading.Barrier(8)

    def send() -> None:
        barrier.wait()
        try:
            seen.append(begin("at once", "twice"))
        finally:
            close_old_connections()

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({turn.answer.pk for turn in seen}) == 1
    assert [turn.attached for turn in seen].count(False) == 1
    assert texts(list(Message.objects.filter(role="user")))[-1:] == ["at once"]
    assert Message.objects.filter(sent_hash=history.digest("twice")).count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_eight_different_messages_at_once_one_runs_and_seven_are_told_so():
    converse("user:1", "c", "before")
    results, barrier = [], threading.Barrier(8)

    def send(number: int) -> None:
        barrier.wait()
        try:
            results.append(begin(f"text {number}", f"m{number}").answer.run_id)
        except RunActive as refused:
            results.append(("refused", refused.run_id))
        finally:
            close_old_connections()

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    [winner] = [result for result in results if isinstance(result, str)]
    assert results.count(("refused", winner)) == 7
    assert Message.objects.count() == 4


def test_a_send_that_was_stored_and_answered_while_its_double_was_looking_is_not_stored_again():
    converse("user:1", "c", "before")

    def other_tab_is_faster() -> bool:
        end(begin("hello", "m1"))
        return False

    double = turns.begin(ask(), never_dead, other_tab_is_faster)

    assert double.attached
    assert Message.objects.filter(sent_hash=history.digest("m1")).count() == 1


def test_a_retry_that_was_answered_while_its_double_was_looking_is_not_answered_again():
    end(begin(), "interrupted")

    def other_tab_is_faster() -> bool:
        end(begin())
        return False

    double = turns.begin(ask(), never_dead, other_tab_is_faster)

    assert double.attached
    assert Message.objects.filter(role="assistant").count() == 2
