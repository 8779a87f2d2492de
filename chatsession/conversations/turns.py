"""One turn: the question and the answer to come, stored before anything is announced.

The key of a send is (conversation, client's message ID, hash of the parts). The lease that keeps a
conversation to one run is ``active_run``: taken by a conditional UPDATE that is the transaction's first
statement, so that SQLite waits for the lock instead of failing on an upgrade.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from chatsession import connections, sql
from chatsession.conversations import history
from chatsession.conversations.branches import shown_version
from chatsession.exceptions import NotFound, NothingToAnswer, RunActive
from chatsession.models import Conversation, Message
from chatsession.signals import message_saved

if TYPE_CHECKING:
    from collections.abc import Callable

ACTIVE = (Message.Status.QUEUED, Message.Status.STREAMING)
REPLAYED = (*ACTIVE, Message.Status.COMPLETE, Message.Status.STOPPED)
TITLE_CHARS = 60
ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked, by whom, on which terms; ``text`` None asks to answer again."""

    owner: str
    conversation_id: str
    message_id: str = ""
    text: str | None = None
    model: str = "default"
    params: dict[str, Any] = field(default_factory=dict)
    language: str = "en"
    request_id: str = ""
    session_handle: str = ""
    user_id: str | None = None
    lease: str = ""
    #: Whether an unknown conversation is refused; else it is begun.
    existing: bool = False

    @property
    def parts(self) -> list[dict[str, Any]]:
        """The question as UI message parts."""
        return [{"type": "text", "text": self.text or ""}]

    @property
    def parts_hash(self) -> str:
        """What tells an edit from the same message sent again."""
        return history.digest(json.dumps(self.parts, sort_keys=True))


@dataclass(frozen=True, slots=True)
class Turn:
    """A stored turn. ``attached``: it was there before, nothing is to be started."""

    conversation: Conversation
    question: Message
    answer: Message
    attached: bool = False


def begin(ask: Ask, is_dead: Callable[[Message], bool], admit: Callable[[], bool]) -> Turn:
    """Store the turn and take the conversation's lease, or find the one that was sent before.

    ``is_dead`` tells (and marks) an active answer whose worker is gone. ``admit`` is asked once, before
    anything is stored, and only for what was not sent before; it raises, or answers whether the run will
    have to wait. Raises ``RunActive`` while another answer is being written, ``NotFound`` or
    ``NothingToAnswer`` for a regeneration without a question, ``NotFound`` for an ``existing`` conversation
    that is not there.
    """
    status = None
    for attempt in range(ATTEMPTS):
        conversation = _find(ask)
        question = _question(ask, conversation) if conversation else None
        if conversation and question and (answer := _attachable(ask, question, is_dead)):
            return Turn(conversation, question, answer, attached=True)
        if status is None:
            status = Message.Status.QUEUED if admit() else Message.Status.STREAMING
        turn = _take(ask, conversation, question, status)
        if turn:
            return turn
        if conversation and not _freed(conversation, is_dead) and attempt:
            break
    raise RunActive(run_id=conversation.active_run if conversation else None)


def _find(ask: Ask) -> Conversation | None:
    try:
        return history.get_conversation(ask.owner, ask.conversation_id)
    except NotFound:
        if ask.existing or ask.text is None:
            raise
        return None


def _question(ask: Ask, conversation: Conversation) -> Message | None:
    """The stored question this asks again, if any; the newest of those sent under one ID."""
    if ask.text is None:
        return _last_question(ask, conversation)
    return _same(ask, find_message(conversation, ask.message_id))


def _same(ask: Ask, sent: Message | None) -> Message | None:
    """``sent``, unless it is an older version of what is sent now."""
    return sent if sent and sent.parts_hash == ask.parts_hash else None


def _last_question(ask: Ask, conversation: Conversation) -> Message:
    if ask.message_id:
        found = shown_version(conversation, ask.message_id) or find_message(conversation, ask.message_id)
        if found is None:
            raise NotFound(param="messageId")
    else:
        found = next(iter(history.branch(conversation, limit=1)), None)
    question = found.parent if found and found.role == Message.Role.ASSISTANT else found
    if question is None:
        raise NothingToAnswer
    return question


def find_message(conversation: Conversation, public_id: str) -> Message | None:
    """The message of this ID; of siblings that were sent under it, the newest."""
    key = history.digest(public_id)
    messages = history.messages_of(conversation)
    return messages.filter(sent_hash=key).first() or messages.filter(public_hash=key).first()


def _attachable(ask: Ask, question: Message, is_dead: Callable[[Message], bool]) -> Message | None:
    """The newest answer, if a repeated send is served by it."""
    if ask.text is None:
        return None
    answer = newest_answer(question)
    if answer and answer.status in ACTIVE and is_dead(answer):
        return None
    return answer if answer and answer.status in REPLAYED else None


def newest_answer(question: Message) -> Message | None:
    """The newest of the sibling answers to a question."""
    answers = Message.objects.using(history.database()).filter(parent=question)
    return answers.order_by("-id").first()


def _freed(conversation: Conversation, is_dead: Callable[[Message], bool]) -> bool:
    """Whether the lease in the way is gone, or was held by a dead worker."""
    conversation.refresh_from_db(fields=["active_run"])
    if conversation.active_run is None:
        return True
    run = history.messages_of(conversation).filter(run_id=conversation.active_run).first()
    return run is not None and is_dead(run)


def _take(
    ask: Ask, conversation: Conversation | None, question: Message | None, status: Message.Status
) -> Turn | None:
    """The transaction; None if another send has the lease, or made the conversation first."""
    run_id = history.new_id()
    try:
        with connections.writing(history.database()):
            is_new = conversation is None
            conversation = _lease(ask, conversation, run_id)
            if conversation is None:
                return None
            # Looked up again: it is sure only under the lease.
            sent = None if is_new or ask.text is None else find_message(conversation, ask.message_id)
            if ask.text is not None and _was_sent(ask, sent, question):
                transaction.set_rollback(True, using=history.database())
                return None
            saved = question is None
            question = question or _insert_question(ask, conversation, sent)
            answer = _insert_answer(ask, conversation, question, run_id, status)
            conversation.leaf = answer
            sql.write(Conversation, history.database(), {"leaf": answer.pk}, id=conversation.pk)
    except IntegrityError:
        return None
    if saved:
        # Robust: the answer's row is committed, and its run has still to be started.
        message_saved.send_robust(Message, message=question)
    return Turn(conversation, question, answer)


def _was_sent(ask: Ask, sent: Message | None, question: Message | None) -> bool:
    """Whether the same send has been stored or answered since ``question`` was looked up."""
    present = _same(ask, sent)
    if question is None or present is None:
        return present is not None
    answer = newest_answer(present)
    return answer is not None and answer.status in REPLAYED


def _lease(ask: Ask, conversation: Conversation | None, run_id: str) -> Conversation | None:
    now = timezone.now()
    if conversation is None:
        conversation = history.new_conversation(ask.owner, ask.conversation_id)
        conversation.title = title_of(ask.text or "")
        conversation.model, conversation.active_run = ask.model, run_id
        conversation.save(using=history.database(), force_insert=True)
        return conversation
    free = Conversation.objects.using(history.database()).filter(
        pk=conversation.pk, owner_hash=conversation.owner_hash, active_run=None
    )
    if not free.update(active_run=run_id, updated_at=now, model=ask.model):
        return None
    # Read again under the lease: the other tab may have moved the branch since.
    conversation.refresh_from_db(fields=["leaf", "title"])
    if not conversation.title and ask.text:
        conversation.title = title_of(ask.text)
        conversation.save(using=history.database(), update_fields=["title"])
    return conversation


def _insert_question(ask: Ask, conversation: Conversation, edited: Message | None) -> Message:
    public_id = history.new_id() if edited or not ask.message_id else ask.message_id
    question = Message(
        conversation=conversation,
        parent_id=edited.parent_id if edited else conversation.leaf_id,
        role=Message.Role.USER,
        public_id=public_id,
        public_hash=history.digest(public_id),
        sent_hash=history.digest(ask.message_id or public_id),
        parts_hash=ask.parts_hash,
        parts=ask.parts,
    )
    question.save(using=history.database(), force_insert=True)
    return question


def _insert_answer(
    ask: Ask, conversation: Conversation, question: Message, run_id: str, status: Message.Status
) -> Message:
    public_id = f"m_{history.new_id()}"
    answer = Message(
        conversation=conversation,
        parent=question,
        role=Message.Role.ASSISTANT,
        public_id=public_id,
        public_hash=history.digest(public_id),
        status=status,
        model=ask.model,
        params=ask.params,
        run_id=run_id,
        lease=ask.lease,
        session_handle=ask.session_handle,
        language=ask.language,
        request_id=ask.request_id,
    )
    answer.save(using=history.database(), force_insert=True)
    return answer


def title_of(text: str) -> str:
    """The first line of the first question, cut to 60 code points."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= TITLE_CHARS else line[: TITLE_CHARS - 1] + "…"
