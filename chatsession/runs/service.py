"""What the views ask of the runs: send, follow, stop."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from chatsession.backends.base import get_backend
from chatsession.bus import bus
from chatsession.conf import conf
from chatsession.conversations import history, turns
from chatsession.exceptions import InvalidRequest
from chatsession.models import Message
from chatsession.runs import recovery, stored
from chatsession.runs.engine import engine
from chatsession.runs.log import Outcome
from chatsession.signals import run_started

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatsession.conversations.turns import Ask, Turn
    from chatsession.models import Conversation
    from chatsession.runs.follow import Source
    from chatsession.runs.seats import Place

#: Seconds that a stop waits for the end to be written.
STOP_PATIENCE = 3.0
#: Seconds between two looks at the row of a run that another worker stops.
STOP_LOOK = 0.2


def send(ask: Ask, admit: Callable[[], None] = lambda: None) -> tuple[Turn, Source]:
    """Store the turn, start its run, and answer what to follow; a repeated send follows the first one's.

    ``admit`` may refuse a send that was not sent before, by raising. Raises ``InvalidRequest`` for an
    unknown model, ``RunActive``, ``NotFound``, ``NothingToAnswer``, and ``TooManyRequests`` when all seats
    and the queue are taken; then nothing is stored.
    """
    if ask.model not in conf.MODELS:
        raise InvalidRequest(code="unknown_model", param="model")
    backend = get_backend(ask.model)
    engine.ticker.hold_lease()
    places: list[Place] = []
    with ExitStack() as refused:

        def reserve() -> bool:
            admit()
            place = engine.seats.reserve()
            places.append(place)
            refused.callback(engine.seats.release, place)
            return place.waits

        turn = turns.begin(replace(ask, lease=engine.lease), recovery.is_dead, reserve)
        if turn.attached:
            return turn, recovery.source_of(turn.answer)
        failed = Outcome(Message.Status.INTERRUPTED, {})
        refused.callback(stored.finish, turn.answer, engine.lease, failed)
        prompt = recovery.prompt_for(turn.answer, turn.question, turn.conversation, ask.user_id)
        run_started.send_robust(Message, message=turn.answer)
        refused.pop_all()
    return turn, engine.start(turn.answer, backend, prompt, *places)


def active_answer(conversation: Conversation, run_id: str = "") -> Message | None:
    """The answer being written, or that of ``run_id``; a dead one is marked on the way."""
    wanted = run_id or conversation.active_run
    if not wanted:
        return None
    message = history.messages_of(conversation).filter(run_id=wanted).first()
    if message and message.status in turns.ACTIVE:
        recovery.look_after(message)
    return message


def stop(message: Message) -> Message:
    """Stop a run, from any tab and worker; what is written stays. Idempotent.

    Another worker sees it in its next round, within about a second: that is waited for too.
    """
    if stored.request_stop(message):
        deadline = time.monotonic() + STOP_PATIENCE
        run = engine.live.get(message.run_id or "")
        if run is not None:
            run.stop()
            run.ended.wait(STOP_PATIENCE)
        else:
            bus.announce("stop", message.run_id or "")
        message.refresh_from_db(fields=["status"])
        while message.status in turns.ACTIVE and time.monotonic() < deadline:
            time.sleep(STOP_LOOK)
            message.refresh_from_db(fields=["status"])
    return message
