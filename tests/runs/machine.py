"""What the state machine works with: answers written by hand, ticks as steps, and the model."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from dataclasses import dataclass, field
from uuid import uuid4

import pytest
from hypothesis.stateful import RuleBasedStateMachine, invariant

from chatsession import connections
from chatsession.conversations import branches, history
from chatsession.conversations.turns import ACTIVE, Ask
from chatsession.conversations.window import text_of
from chatsession.exceptions import RunActive
from chatsession.models import Conversation, Message
from chatsession.runs import service
from chatsession.runs.engine import engine
from chatsession.runs.run import Run

PATIENCE = 10  # seconds
END = object()
CONTINUES = {"stops": False, "continues": True}


class Pen:
    """Writes one answer, a command at a time."""

    def __init__(self) -> None:
        self.loop, self.commands = asyncio.get_running_loop(), asyncio.Queue()
        self.idle = threading.Event()

    async def write(self):
        while True:
            self.idle.set()
            command = await self.commands.get()
            if command is END:
                return
            if isinstance(command, Exception):
                raise command
            yield command

    def do(self, command) -> None:
        self.idle.clear()
        self.loop.call_soon_threadsafe(self.commands.put_nowait, command)


class Backend:
    def __init__(self, continues: bool) -> None:
        self.CONTINUES = continues

    async def stream(self, prompt):
        pen = Pen()
        pens.put(pen)
        async for chunk in pen.write():
            yield chunk


pens: queue.Queue[Pen] = queue.Queue()


class Ticks:
    """Ticks in a thread of their own when a run ends, as the ticker does, and tells when it is done."""

    def __init__(self) -> None:
        self.wakes: queue.Queue[object] = queue.Queue()
        self.done = threading.Semaphore(0)
        threading.Thread(target=self._loop, daemon=True).start()

    def _loop(self) -> None:
        while self.wakes.get() is not END:
            engine.ticker.tick()
            self.done.release()
        connections.release()

    def await_end(self) -> None:
        assert self.done.acquire(timeout=PATIENCE), "the run did not end"


@dataclass
class Node:
    """A message as it ought to be; ``saved`` is what the database has of its ``text``."""

    pk: int
    parent: Node | None
    role: str
    public_id: str
    sent_id: str = ""
    text: str = ""
    saved: str = ""
    status: str = "complete"
    model: str = "stops"
    run_id: str | None = None
    #: Who writes it: "here", "elsewhere" or "nobody", and with what.
    writer: str = "nobody"
    pen: Pen | None = None
    flagged: bool = False


@dataclass
class Talk:
    """A conversation as it ought to be."""

    pk: int
    owner: str
    public_id: str
    nodes: dict[int, Node] = field(default_factory=dict)
    leaf: Node | None = None
    active: Node | None = None
    claimed: bool = False

    @property
    def questions(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.role == "user"]

    def children(self, parent: Node | None) -> list[Node]:
        return [node for node in self.nodes.values() if node.parent is parent]

    def add(self, message: Message, parent: Node | None, **values) -> Node:
        node = Node(message.pk, parent, message.role, message.public_id, **values)
        self.nodes[node.pk] = node
        return node

    def end(self, status: str) -> None:
        node, self.active = self.active, None
        node.status, node.writer, node.saved = status, "nobody", node.text


class Machine(RuleBasedStateMachine):
    """What is picked, what is expected, and what always holds."""

    ticks: Ticks

    def __init__(self) -> None:
        super().__init__()
        key = uuid4().hex[:12]
        self.guest, self.user = f"guest:{key}", f"user:{key}"
        self.owner = self.guest
        self.talks: list[Talk] = []
        self.stunned: list[tuple[Run, Node]] = []
        self.count = 0

    # What is picked

    def talk(self, number: int) -> Talk:
        return self.talks[number % len(self.talks)]

    def talk_with(self, number: int, writer: str) -> Talk | None:
        found = [talk for talk in self.talks if talk.active and talk.active.writer == writer]
        return found[number % len(found)] if found else None

    def new(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def ask(self, owner: str, conversation_id: str, message_id: str, text: str | None, model: str):
        return service.send(Ask(owner, conversation_id, message_id, text, model=model))

    # What is expected

    def look(self, talk: Talk) -> None:
        """Whoever looks at a dead worker's answer takes it over, or interrupts it."""
        node = talk.active
        if node and node.writer == "nobody":
            if CONTINUES[node.model]:
                node.writer, node.pen = "here", pens.get(timeout=PATIENCE)
            else:
                talk.end("interrupted")

    def answered(self, talk: Talk, turn, question: Node, model: str) -> None:
        """A new answer is being written here."""
        assert not turn.attached
        assert turn.question.pk == question.pk
        node = talk.add(turn.answer, question, status="streaming", model=model)
        node.run_id, node.writer, node.pen = turn.answer.run_id, "here", pens.get(timeout=PATIENCE)
        assert node.pen.idle.wait(PATIENCE)
        talk.leaf = talk.active = node

    def in_turn(self, talk: Talk, question: Node | None, message_id: str, text: str | None, model: str):
        """The turn, or None where another answer is in its way."""
        dead = talk.active and talk.active.writer == "nobody"
        refused = talk.active and not (dead and not CONTINUES[talk.active.model])
        if refused:
            with pytest.raises(RunActive) as raised:
                self.ask(talk.owner, talk.public_id, message_id, text, model)
            assert raised.value.run_id == talk.active.run_id
            self.look(talk)
            return None
        turn, _ = self.ask(talk.owner, talk.public_id, message_id, text, model)
        self.look(talk)
        return turn

    # What always holds

    @invariant()
    def the_database_has_what_it_ought_to(self) -> None:
        for talk in self.talks:
            row = history.get_conversation(talk.owner, talk.public_id)
            active = talk.active
            assert (row.pk, row.leaf_id) == (talk.pk, talk.leaf.pk)
            assert row.active_run == (active.run_id if active else None)
            messages = list(history.messages_of(row).order_by("id"))
            assert [
                (m.pk, m.parent_id, m.role, m.status, text_of(m.parts)) for m in messages
            ] == [
                (n.pk, n.parent.pk if n.parent else None, n.role, n.status, n.saved)
                for n in talk.nodes.values()
            ]  # fmt: skip
            assert [m.pk for m in messages if m.status in ACTIVE] == ([active.pk] if active else [])
            self._branch_is_right(talk, row)

    def _branch_is_right(self, talk: Talk, row: Conversation) -> None:
        path, node = [], talk.leaf
        while node:
            path.insert(0, node.pk)
            node = node.parent
        shown = history.branch(row)
        assert [message.pk for message in shown] == path
        siblings = branches.siblings_of(row, shown)
        for pk in path:
            parent = talk.nodes[pk].parent
            expected = [node.public_id for node in talk.children(parent)]
            assert siblings[parent.pk if parent else None] == expected

    @invariant()
    def the_live_runs_are_those_written_here(self) -> None:
        here = [talk.active for talk in self.talks if talk.active and talk.active.writer == "here"]
        assert set(engine.live) == {node.run_id for node in here}
        for node in here:
            assert text_of(engine.live[node.run_id].parts()) == node.text

    def teardown(self) -> None:
        for run in list(engine.live.values()):
            run.stop()
            self.ticks.await_end()
        while not pens.empty():
            pens.get()
        deadline = time.monotonic() + PATIENCE
        while engine.seats._places and time.monotonic() < deadline:
            time.sleep(0.001)
        assert not engine.seats._places
