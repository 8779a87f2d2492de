"""What becomes of a run whose worker has died: another takes it over, or it is interrupted.

There is no watchman: whoever looks at an answer (a reader, a list, the next send) looks after it.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from chatsession.backends.base import Prompt, get_backend
from chatsession.bus import bus
from chatsession.conf import conf
from chatsession.conversations.turns import ACTIVE
from chatsession.conversations.window import MAX_CHARS, text_of, window
from chatsession.models import Message
from chatsession.runs import stored
from chatsession.runs.engine import engine
from chatsession.runs.log import Outcome
from chatsession.runs.mirror import mirror_of

if TYPE_CHECKING:
    from chatsession.models import Conversation
    from chatsession.runs.follow import Source

logger = logging.getLogger("chatsession.runs")


def source_of(message: Message) -> Source:
    """Where an answer is to be read: in this process while it writes it, by Redis, or in the database."""
    if run := engine.live.get(message.run_id or ""):
        return run
    if message.status in ACTIVE and bus.start():
        return mirror_of(message, look_after)
    return stored.StoredRun(message, look_after)


def look_after(message: Message) -> Source:
    """Where to read an active answer, after taking care of its worker's death."""
    if not is_written(message):
        # One at a time: between taking a lease and starting, a run of ours looks as dead as before.
        with engine.recovering:
            stored.reload(message)
            if message.status in ACTIVE and not is_written(message):
                succeed(message)
                stored.reload(message)
    return source_of(message)


def succeed(message: Message) -> None:
    """Go on with a dead worker's answer, or mark it."""
    if not take_over(message):
        stored.finish(message, message.lease, Outcome(Message.Status.INTERRUPTED, message.usage))


def is_dead(message: Message) -> bool:
    """Whether an answer that was active is so no more."""
    look_after(message)
    return message.status not in ACTIVE


def is_written(message: Message) -> bool:
    """Whether some worker is at it."""
    if message.run_id in engine.live:
        return True
    if message.lease == engine.lease:
        # Ours and not live: between its commit and its start, unless it is old.
        return message.created_at > timezone.now() - timedelta(seconds=stored.LEASE)
    return stored.is_held(message)


def take_over(message: Message) -> bool:
    """Go on with a dead worker's answer from its stored text, where the backend can."""
    try:
        backend = get_backend(message.model)
    except ImproperlyConfigured:
        return False
    if not getattr(backend, "CONTINUES", False) or message.parent is None:
        return False
    engine.ticker.hold_lease()
    if stored.take_lease(message, engine.lease):
        stored.reload(message)
        logger.warning(
            "Run %s: its worker is gone, going on from %d parts", message.run_id, len(message.parts)
        )
        conversation = message.conversation
        prompt = prompt_for(message, message.parent, conversation, user_of(conversation))
        engine.start(message, backend, prompt, engine.seats.force())
    return True


def prompt_for(
    message: Message, question: Message, conversation: Conversation, user_id: str | None
) -> Prompt:
    """What the backend gets to know of an answer; never the request, which the run outlives."""
    entry = conf.MODELS[message.model]
    read = window(
        conversation,
        question,
        max_chars=entry.get("CONTEXT_CHARS", MAX_CHARS),
        single_turn=entry.get("SINGLE_TURN", False),
    )
    return Prompt(
        text=text_of(question.parts),
        messages=[{"role": role, "content": text} for role, text in read.messages],
        system=conversation.system_prompt,
        params={**conversation.params, **message.params},
        model=message.model,
        language=message.language,
        user_id=user_id,
        conversation_id=conversation.public_id,
        metadata={"request_id": message.request_id, "context_trimmed": read.trimmed},
        written=text_of(message.parts),
    )


def user_of(conversation: Conversation) -> str | None:
    """The user's primary key in an owner key of ours, None for a guest or a site's own owner keys."""
    return conversation.owner.removeprefix("user:") if conversation.owner.startswith("user:") else None
