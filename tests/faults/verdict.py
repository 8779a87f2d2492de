"""What must hold once everything is quiet, by the database alone."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

from chatsession.backends.demo import DemoBackend
from chatsession.conversations.turns import ACTIVE, REPLAYED
from chatsession.conversations.window import text_of
from chatsession.models import Conversation, Message
from chatsession.runs.recovery import prompt_for


def judge(storm):
    """Adds to the storm's faults, and its figures by kind."""
    questions, answers = [], []
    for message in Message.objects.select_related("conversation", "parent").order_by("id"):
        (questions if message.role == "user" else answers).append(message)
    checks = {
        "messages lost": [*lost(storm, questions)],
        "runs stuck": stuck(answers),
        "texts garbled": [*garbled(storm.readings, answers), *wrong(answers)],
        "sends doubled": doubled(questions, answers),
    }
    for name, faults in checks.items():
        storm.faults += [f"{name}: {fault}" for fault in faults]
        storm.figures[name] = len(faults)
    storm.figures["answers"] = len(answers)
    storm.figures.update(f"answers {message.status}" for message in answers)


def lost(storm, questions):
    stored = {(q.conversation.public_id, q.public_id): text_of(q.parts) for q in questions}
    for key, text in storm.acknowledged.items():
        if stored.get(key) != text:
            yield f"{key} {text!r}, stored: {stored.get(key)!r}"


def stuck(answers):
    found = [f"answer {answer.pk} is {answer.status}" for answer in answers if answer.status in ACTIVE]
    held = Conversation.objects.exclude(active_run=None).values_list("public_id", flat=True)
    return found + [f"conversation {public_id} has an active run" for public_id in held]


def garbled(readings, answers):
    """What a client put together against what is stored."""
    stored = {(a.conversation.public_id, a.public_id): a for a in answers}
    found = []
    for reading in readings:
        found += reading.faults
        answer = stored.get((reading.conversation_id, reading.message_id))
        if reading.message_id and answer is None:
            found.append(f"answer {reading.message_id} was read and is not stored")
        elif reading.end and answer is not None and text_of(answer.parts) != reading.text:
            found.append(difference(answer, reading))
    return found


def difference(answer, reading):
    stored, read = text_of(answer.parts), reading.text
    same = next((i for i, (a, b) in enumerate(zip(stored, read, strict=False)) if a != b), None)
    at = min(len(stored), len(read)) if same is None else same
    around = slice(max(at - 9, 0), at + 20)
    return (
        f"answer {answer.pk} ({answer.status}), read to {reading.end!r} at {reading.position}: {len(read)}"
        f" against {len(stored)} stored, different at {at}: {read[around]!r} against {stored[around]!r}"
    )


def wrong(answers):
    """Stored texts against those of a run that nobody killed."""
    for answer in answers:
        stored, unkilled = text_of(answer.parts), asyncio.run(unkilled_text(answer))
        if stored != unkilled if answer.status == "complete" else not unkilled.startswith(stored):
            question = text_of(answer.parent.parts)
            yield f"answer {answer.pk} ({answer.status}) to {question!r} ends with {stored[-60:]!r}"


async def unkilled_text(answer):
    prompt = replace(
        await asyncio.to_thread(prompt_for, answer, answer.parent, answer.conversation, None), written=""
    )
    if prompt.text.startswith("/slow"):
        prompt = replace(prompt, text=" ".join(["/slow", "0", *prompt.text.split()[2:]]))
    chunks = DemoBackend(delay=0).stream(prompt)
    return "".join([chunk async for chunk in chunks if isinstance(chunk, str)])


def doubled(questions, answers):
    """One question for one send, one answer for one question unless the one before failed, no forks."""
    sent = Counter((q.conversation_id, q.sent_hash) for q in questions)
    found = [f"{count} questions of one send {key}" for key, count in sent.items() if count > 1]
    forks = Counter((q.conversation_id, q.parent_id) for q in questions)
    found += [f"{count} questions behind {key}" for key, count in forks.items() if count > 1]
    answered = set()
    for answer in answers:
        if answer.parent_id in answered:
            found.append(f"a second answer to question {answer.parent_id}")
        if answer.status in REPLAYED:
            answered.add(answer.parent_id)
    return found
