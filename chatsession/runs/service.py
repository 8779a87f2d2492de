"""What the views ask of the runs: send, follow, stop."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from django.utils import timezone

from chatsession.backends.base import Prompt, get_backend
from chatsession.conf import conf
from chatsession.conversations import history, turns
from chatsession.conversations.window import text_of, window
from chatsession.exceptions import InvalidRequest
from chatsession.models import Message
from chatsession.runs import stored
from chatsession.runs.engine import engine
from chatsession.runs.log import end_position
from chatsession.signals import run_started

if TYPE_CHECKING:
    from chatsession.conversations.turns import Ask, Turn
    from chatsession.models import Conversation
    from chatsession.runs.follow import Source

#: Seconds that a stop waits for the end to be written.
STOP_PATIENCE = 3.0


def send(ask: Ask) -> tuple[Turn, Source]:
    """Store the turn, start its run, and answer what to follow; a repeated send follows the first one's.

    Raises ``InvalidRequest`` for an unknown model, ``RunActive``, ``NotFound``, ``NothingToAnswer``.
    """
    if ask.model not in conf.MODELS:
        raise InvalidRequest(code="unknown_model", param="model")
    backend = get_backend(ask.model)
    engine.ticker.hold_lease()
    turn = turns.begin(replace(ask, lease=engine.lease), is_dead)
    if turn.attached:
        return turn, source_of(turn.answer)
    prompt = prompt_for(ask, turn)
    run_started.send_robust(Message, message=turn.answer)
    return turn, engine.start(turn.answer, backend, prompt)


def prompt_for(ask: Ask, turn: Turn) -> Prompt:
    """What the backend gets to know; never the request, which the run outlives."""
    return Prompt(
        text=text_of(turn.question.parts),
        messages=[{"role": role, "content": text} for role, text in window(turn.conversation, turn.question)],
        system=turn.conversation.system_prompt,
        params={**turn.conversation.params, **ask.params},
        model=ask.model,
        language=ask.language,
        user_id=ask.user_id,
        conversation_id=turn.conversation.public_id,
        metadata={"request_id": ask.request_id},
    )


def source_of(message: Message) -> Source:
    """Where an answer is to be read: in this process while it writes it, else in the database."""
    return engine.live.get(message.run_id or "") or stored.StoredRun(message)


def is_dead(message: Message) -> bool:
    """Whether an active answer's worker is gone; the answer is marked then."""
    if message.run_id in engine.live:
        return False
    # Ours and not live: between its commit and its start, unless it is old.
    if message.lease == engine.lease and message.created_at > timezone.now() - timedelta(
        seconds=stored.LEASE
    ):
        return False
    return stored.mark_if_dead(message)


def active_answer(conversation: Conversation, run_id: str = "") -> Message | None:
    """The answer being written, or that of ``run_id``; a dead one is marked on the way."""
    wanted = run_id or conversation.active_run
    if not wanted:
        return None
    message = history.messages_of(conversation).filter(run_id=wanted).first()
    if message and message.status in turns.ACTIVE:
        is_dead(message)
    return message


def has_news(message: Message, position: int) -> bool:
    """Whether an answer is being written still, or has more than a reader at ``position`` has seen."""
    outcome = stored.StoredRun(message).outcome
    return outcome is None or position < end_position(message.parts, outcome)


def stop(message: Message) -> Message:
    """Stop a run, from any tab and worker; what is written stays. Idempotent."""
    if stored.request_stop(message):
        run = engine.live.get(message.run_id or "")
        if run is not None:
            run.stop()
            run.ended.wait(STOP_PATIENCE)
        message.refresh_from_db(fields=["status"])
    return message
