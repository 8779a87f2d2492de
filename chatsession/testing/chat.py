"""Chatting from a site's own tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.urls import reverse

from chatsession.conversations.history import new_id
from chatsession.runs.engine import engine

if TYPE_CHECKING:
    from django.test import AsyncClient, Client

ENDS = {"finish": "complete", "abort": "stopped", "error": "error"}


@dataclass(frozen=True)
class Answer:
    """What came back: ``status`` is complete, stopped or error, or for a refusal its code."""

    text: str
    parts: list[dict[str, Any]]
    status: str
    status_code: int
    conversation_id: str
    frames: list[dict[str, Any]] = field(default_factory=list, repr=False)


@contextmanager
def inline_runs() -> Iterator[None]:
    """Answers are written inside the request, on its database connection: a ``TestCase`` sees everything.

    Usable as a decorator, and with ``self.enterContext()``.
    """
    before, engine.inline = engine.inline, True
    try:
        yield
    finally:
        engine.inline = before


def send(client: Client, text: str, *, conversation_id: str = "", **fields: Any) -> Answer:
    """Send ``text`` as the visitor of ``client`` and read the whole answer.

    ``fields`` go into the body of ``POST chat`` ("model", "params", ...).
    """
    body = _body(text, conversation_id, fields)
    with inline_runs():
        response: Any = client.post(reverse("chatsession:chat"), body, content_type="application/json")
        content = b"".join(response.streaming_content) if response.streaming else response.content
    return _answer(body["id"], response.status_code, content)


async def asend(client: AsyncClient, text: str, *, conversation_id: str = "", **fields: Any) -> Answer:
    """See ``send()``."""
    body = _body(text, conversation_id, fields)
    with inline_runs():
        url = reverse("chatsession:chat")
        response: Any = await client.post(url, body, content_type="application/json")
        if response.streaming:
            content = b"".join([chunk async for chunk in response.streaming_content])
        else:
            content = response.content
    return _answer(body["id"], response.status_code, content)


def _body(text: str, conversation_id: str, fields: dict[str, Any]) -> dict[str, Any]:
    message = {"id": new_id(), "role": "user", "parts": [{"type": "text", "text": text}]}
    return {"id": conversation_id or new_id(), "message": message} | fields


def frames_of(stream: bytes) -> list[dict[str, Any]]:
    """The JSON frames of an event stream, without heartbeats and the closing ``[DONE]``."""
    lines = [line[6:] for line in stream.decode().split("\n") if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def parts_of(frames: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The message parts that the frames build up, as a client would."""
    parts: dict[str, dict[str, Any]] = {}
    for frame in frames:
        kind, _, step = frame["type"].partition("-")
        if step == "start" and kind != "start":
            parts[frame["id"]] = {"type": kind, "text": ""}
        elif step == "delta":
            parts[frame["id"]]["text"] += frame["delta"]
        elif frame["type"] == "source-url":
            parts[frame["sourceId"]] = frame
    return list(parts.values())


def _answer(conversation_id: str, status_code: int, content: bytes) -> Answer:
    if status_code != 200:
        refusal = json.loads(content)["error"]
        return Answer(refusal["message"], [], refusal["code"], status_code, conversation_id)
    frames = frames_of(content)
    parts = parts_of(frames)
    text = "".join(part["text"] for part in parts if part["type"] == "text")
    return Answer(text, parts, ENDS[frames[-1]["type"]], status_code, conversation_id, frames)
