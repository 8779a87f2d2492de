"""Conversations and their runs against a model of them: whatever is done to them, in whatever order.

The engine's loop is the real one. Its ticker is not: a tick is a step here, so that it is known what the
database has when a worker dies. TEST_EXAMPLES sets how many histories are tried, 40 steps each.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from chatsession.conversations import branches, history
from chatsession.conversations.turns import ACTIVE
from chatsession.models import Conversation, Message, Worker
from chatsession.runs import service, stored
from chatsession.runs.engine import engine
from chatsession.runs.log import Outcome
from chatsession.runs.ticker import write_end
from tests.runs.machine import CONTINUES, END, PATIENCE, Backend, Machine, Node, Talk, Ticks

pytestmark = pytest.mark.server

numbers = st.integers(0, 20)
models = st.sampled_from(list(CONTINUES))


class Conversations(Machine):
    """What may be done."""

    # Asking

    @precondition(lambda self: len(self.talks) < 3)  # much is to happen in each
    @rule(model=models)
    def begin(self, model) -> None:
        public_id, message_id, text = self.new("c"), self.new("m"), self.new("text ")
        turn, _ = self.ask(self.owner, public_id, message_id, text, model)
        talk = Talk(turn.conversation.pk, self.owner, public_id)
        self.talks.append(talk)
        question = talk.add(turn.question, None, sent_id=message_id, text=text, saved=text)
        self.answered(talk, turn, question, model)

    @precondition(lambda self: self.talks)
    @rule(number=numbers, model=models)
    def send(self, number, model) -> None:
        self._store(self.talk(number), self.new("m"), self.new("text "), model, None)

    @precondition(lambda self: self.talks)
    @rule(number=numbers, which=numbers, shown=st.booleans(), model=models)
    def edit(self, number, which, shown, model) -> None:
        """By the ID it was sent under, or by the one it is shown under."""
        talk = self.talk(number)
        question = talk.questions[which % len(talk.questions)]
        message_id = question.public_id if shown else question.sent_id
        self._store(talk, message_id, self.new("text "), model, question)

    def _store(self, talk: Talk, message_id: str, text: str, model: str, edited: Node | None) -> None:
        leaf = talk.leaf
        turn = self.in_turn(talk, None, message_id, text, model)
        if turn is None:
            return
        parent = edited.parent if edited else leaf
        question = talk.add(turn.question, parent, sent_id=message_id, text=text, saved=text)
        assert (question.public_id == message_id) is (edited is None)
        self.answered(talk, turn, question, model)

    @precondition(lambda self: self.talks)
    @rule(number=numbers, which=numbers, shown=st.booleans(), model=models)
    def send_again(self, number, which, shown, model) -> None:
        talk = self.talk(number)
        question = talk.questions[which % len(talk.questions)]
        message_id = question.public_id if shown else question.sent_id
        sent = [node for node in talk.questions if node.sent_id == message_id] or [question]
        if sent[-1] is not question:
            return  # the text of an older version: an edit once more
        newest = talk.children(question)[-1]
        if newest is talk.active and newest.writer == "nobody":
            dead = not CONTINUES[newest.model]
        else:
            dead = newest.status in ("error", "interrupted")
        if dead:
            turn = self.in_turn(talk, question, message_id, question.text, model)
            if turn is not None:
                self.answered(talk, turn, question, model)
            return
        turn, source = self.ask(talk.owner, talk.public_id, message_id, question.text, model)
        assert turn.attached
        assert turn.answer.pk == newest.pk
        self.look(talk)
        assert read(source) == (newest.text if newest.writer == "here" else newest.saved)

    @precondition(lambda self: self.talks)
    @rule(number=numbers, which=numbers, model=models)
    def regenerate(self, number, which, model) -> None:
        """The answer to a question, by either's ID; or to the last question, without one."""
        talk = self.talk(number)
        nodes = [talk.leaf, *talk.nodes.values()]
        node = nodes[which % len(nodes)]
        sent = [other for other in talk.questions if other.sent_id == node.public_id]
        question = node.parent if node.role == "assistant" else (sent or [node])[-1]
        turn = self.in_turn(talk, question, node.public_id if which % len(nodes) else "", None, model)
        if turn is not None:
            self.answered(talk, turn, question, model)

    # Writing

    @rule(number=numbers)
    def write(self, number) -> None:
        if talk := self.talk_with(number, "here"):
            piece = self.new(" word ")
            talk.active.pen.do(piece)
            assert talk.active.pen.idle.wait(PATIENCE)
            talk.active.text += piece

    @rule()
    def tick(self) -> None:
        engine.ticker.tick()
        self._saved()

    def _saved(self) -> None:
        for talk in self.talks:
            if talk.active and talk.active.writer == "here":
                talk.active.saved = talk.active.text

    @rule(number=numbers, failure=st.booleans())
    def finish(self, number, failure) -> None:
        if talk := self.talk_with(number, "here"):
            talk.active.pen.do(ValueError("failure") if failure else END)
            self._ended(talk, "error" if failure else "complete")

    def _ended(self, talk: Talk, status: str) -> None:
        self.ticks.await_end()
        talk.end(status)
        self._saved()

    @precondition(lambda self: self.talks)
    @rule(number=numbers)
    def stop(self, number) -> None:
        talk = self.talk(number)
        node = talk.active
        message = service.active_answer(Conversation.objects.get(pk=talk.pk))
        self.look(talk)
        if node is None:
            assert message is None
            return
        message = service.stop(message)
        if node.writer == "here":
            self._ended(talk, "stopped")
        elif node.writer == "elsewhere":
            node.flagged = True
        assert message.status == node.status

    # Workers

    @rule(number=numbers, elsewhere=st.booleans())
    def leave(self, number, elsewhere) -> None:
        """The worker dies with what it has not saved; or an answer is another living worker's all along."""
        if talk := self.talk_with(number, "here"):
            node = talk.active
            run = engine.live.pop(node.run_id)
            Message.objects.filter(pk=node.pk).update(lease="living" if elsewhere else "dead")
            run.stop()
            node.writer, node.text = "elsewhere" if elsewhere else "nobody", node.saved
            self.ticks.await_end()
            self._saved()
            self.stunned += [] if elsewhere else [(run, node)]

    @rule(number=numbers)
    def wake_up(self, number) -> None:
        """A worker that was only stunned wants to write the end of what is another's, or ended, by now."""
        if self.stunned:
            run, node = self.stunned[number % len(self.stunned)]
            if node.writer != "nobody" or node.status not in ACTIVE:
                write_end(run, "dead")()

    @rule(number=numbers, dies=st.booleans())
    def end_elsewhere(self, number, dies) -> None:
        if not (talk := self.talk_with(number, "elsewhere")):
            return
        if dies:
            Message.objects.filter(pk=talk.active.pk).update(lease="dead")
            talk.active.writer = "nobody"
            return
        status = "stopped" if talk.active.flagged else "complete"
        message = Message.objects.get(pk=talk.active.pk)
        assert message.stop_requested is talk.active.flagged
        assert stored.finish(message, "living", Outcome(status, {}))
        talk.end(status)

    @precondition(lambda self: self.talks)
    @rule(number=numbers)
    def look_at(self, number) -> None:
        talk = self.talk(number)
        service.active_answer(Conversation.objects.get(pk=talk.pk))
        self.look(talk)

    # Conversations

    @precondition(lambda self: self.talks)
    @rule(number=numbers, which=numbers)
    def switch(self, number, which) -> None:
        talk = self.talk(number)
        node = list(talk.nodes.values())[which % len(talk.nodes)]
        branches.switch_to(Conversation.objects.get(pk=talk.pk), node.public_id)
        while children := talk.children(node):
            node = children[-1]
        talk.leaf = node

    @rule()
    def claim(self) -> None:
        moved = [talk for talk in self.talks if talk.owner == self.guest]
        assert history.claim(self.guest, self.user) == len(moved)
        for talk in moved:
            talk.owner, talk.claimed = self.user, True
        self.owner = self.user

    @rule()
    def unclaim(self) -> None:
        moved = [talk for talk in self.talks if talk.claimed]
        assert history.unclaim(self.guest, self.user) == len(moved)
        for talk in moved:
            talk.owner, talk.claimed = self.guest, False

    @precondition(lambda self: self.talks)
    @rule(number=numbers)
    def delete(self, number) -> None:
        talk = self.talk(number)
        Conversation.objects.get(pk=talk.pk).delete()
        self.talks.remove(talk)
        if talk.active and talk.active.writer == "here":
            engine.ticker.tick()  # finds no row
            self.ticks.await_end()
            self._saved()


def read(source) -> str:
    events = source.events_after(0)
    return "".join(event.text for event in events if event.kind == "delta")


@pytest.fixture
def ticks(monkeypatch):
    ticks = Ticks()
    monkeypatch.setattr(engine.ticker, "start", lambda: None)
    monkeypatch.setattr(engine.ticker, "wake", lambda: ticks.wakes.put(None))
    yield ticks
    ticks.wakes.put(END)


@pytest.mark.django_db(transaction=True)
def test_conversations_and_their_runs_are_as_the_model_says(ticks, settings_of_models):
    Worker.objects.create(token="dead", renewed_at="2020-01-01T00:00Z")
    Worker.objects.create(token="living", renewed_at="2999-01-01T00:00Z")
    profile = settings(
        max_examples=int(os.environ.get("TEST_EXAMPLES", "40")),
        stateful_step_count=40,
        deadline=None,
        derandomize="TEST_EXAMPLES" not in os.environ,
        suppress_health_check=list(HealthCheck),
    )
    machine = type("Machine", (Conversations,), {"ticks": ticks})
    run_state_machine_as_test(machine, settings=profile)


@pytest.fixture
def settings_of_models(settings):
    models = {alias: {"BACKEND": Backend(continues)} for alias, continues in CONTINUES.items()}
    settings.CHATSESSION = {"MODELS": models}
