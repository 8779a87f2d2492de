"""AI SDK UI Message Stream v1 over server-sent events: events to bytes.

The rules come from runs against real clients: no block without data, heartbeats are comments, an end is
always one of finish, abort and error followed by ``[DONE]``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from json.encoder import encode_basestring  # the C encoder, 14 times as fast as dumps
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chatsession.runs.log import Event, Part

CONTENT_TYPE = "text/event-stream; charset=utf-8"
HEADERS = {
    "x-vercel-ai-ui-message-stream": "v1",
    "Cache-Control": "private, no-store, no-transform",
    # GZipMiddleware would hold the frames back.
    "Content-Encoding": "identity",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}
PING = b": ping\n\n"
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Head:
    """What the first frame tells of the answer."""

    run_id: str
    message_id: str
    parent_id: str
    model: str
    request_id: str = ""


def encode(head: Head, batch: Iterable[Event]) -> bytes:
    """A batch of events as frames; an empty batch is a heartbeat."""
    frames = b"".join(_encode(head, event) for event in batch)
    return frames or PING


def transient(name: str, data: Any) -> bytes:
    """A frame of our own that no client keeps: it has no position."""
    return _block({"type": f"data-{name}", "data": data, "transient": True})


def _encode(head: Head, event: Event) -> bytes:
    prefix = f"id: {head.run_id}:{event.position}\n".encode()
    if event.kind == "delta":
        kind, part_id = event.part["type"], _part_id(event)
        delta = encode_basestring(event.text)
        return prefix + f'data: {{"type":"{kind}-delta","id":"{part_id}","delta":{delta}}}\n\n'.encode()
    if event.kind == "queue":
        return transient("queue", {"position": event.number})
    if event.kind == "start":
        prefix += b"retry: 2000\n"
    frame = prefix + _block(_frame(head, event))
    return frame + DONE if event.kind == "end" else frame


def _block(frame: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(frame, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def _part_id(event: Event) -> str:
    return f"{event.part['type'][0]}{event.number}"


def _frame(head: Head, event: Event) -> dict[str, Any]:
    match event.kind:
        case "start":
            metadata = {"runId": head.run_id, "parentId": head.parent_id, "model": head.model}
            return {"type": "start", "messageId": head.message_id, "messageMetadata": metadata}
        case "part-start" | "part-end":
            return {"type": f"{event.part['type']}-{event.kind.removeprefix('part-')}", "id": _part_id(event)}
        case "part":
            return event.part
        case "end":
            return _end(head, event.part)
    return {"type": event.kind}


def _end(head: Head, outcome: Part) -> dict[str, Any]:
    if outcome["status"] == "stopped":
        return {"type": "abort", "reason": "user"}
    if outcome["status"] == "complete":
        metadata = {"usage": outcome["usage"], "status": outcome["status"]}
        return {"type": "finish", "finishReason": "stop", "messageMetadata": metadata}
    return {"type": "error", "errorText": outcome["error"], "requestId": head.request_id}


def parse_event_id(event_id: str, run_id: str) -> int:
    """The position in a ``Last-Event-ID``; 0 (replay) for another run's or a malformed one."""
    run, _, position = event_id.partition(":")
    if run != run_id or not position.isascii() or not position.isdigit() or len(position) > 12:
        return 0
    return int(position)
