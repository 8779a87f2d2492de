from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatsession.protocols import ui_stream
from chatsession.runs.log import Outcome, events

HEAD = ui_stream.Head(run_id="r", message_id="m_1", parent_id="u_1", model="default", request_id="q")
TEXT = [{"type": "text", "text": "こんにちは"}]


def encoded(parts, outcome, after=0) -> bytes:
    return ui_stream.encode(HEAD, events(parts, after, outcome))


def test_a_whole_answer_byte_by_byte():
    stream = encoded(TEXT, Outcome("complete", {"inputTokens": 1, "outputTokens": 5}, ""))

    assert stream.decode() == (
        "id: r:1\nretry: 2000\n"
        'data: {"type":"start","messageId":"m_1",'
        '"messageMetadata":{"runId":"r","parentId":"u_1","model":"default"}}\n\n'
        'id: r:2\ndata: {"type":"start-step"}\n\n'
        'id: r:3\ndata: {"type":"text-start","id":"t0"}\n\n'
        'id: r:8\ndata: {"type":"text-delta","id":"t0","delta":"こんにちは"}\n\n'
        'id: r:9\ndata: {"type":"text-end","id":"t0"}\n\n'
        'id: r:10\ndata: {"type":"finish-step"}\n\n'
        'id: r:11\ndata: {"type":"finish","finishReason":"stop","messageMetadata":'
        '{"usage":{"inputTokens":1,"outputTokens":5},"status":"complete"}}\n\n'
        "data: [DONE]\n\n"
    )


@pytest.mark.parametrize(
    ("outcome", "end"),
    [
        (Outcome("stopped", {}, ""), {"type": "abort", "reason": "user"}),
        (Outcome("error", {}, "Sorry."), {"type": "error", "errorText": "Sorry.", "requestId": "q"}),
        (Outcome("interrupted", {}, "Again."), {"type": "error", "errorText": "Again.", "requestId": "q"}),
    ],
)
def test_every_end_is_typed_and_then_done(outcome, end):
    blocks = encoded(TEXT, outcome).decode().split("\n\n")

    assert json.loads(blocks[-3].partition("data: ")[2]) == end
    assert blocks[-2:] == ["data: [DONE]", ""]


def test_silence_is_a_comment():
    assert encoded(TEXT, None, after=8) == b": ping\n\n"


@given(st.lists(st.text(), max_size=4))
def test_every_block_has_one_data_line_and_every_text_comes_through(texts):
    parts = [{"type": "text", "text": text.encode("utf-8", "replace").decode()} for text in texts]
    stream = encoded(parts, Outcome("complete", {}, "")).decode()

    blocks = stream.split("\n\n")[:-2]
    frames = [json.loads(block.partition("data: ")[2]) for block in blocks]
    assert all(block.count("data: ") >= 1 and block.startswith("id: r:") for block in blocks)
    deltas = [frame["delta"] for frame in frames if frame["type"] == "text-delta"]
    assert "".join(deltas) == "".join(part["text"] for part in parts)


@pytest.mark.parametrize("event_id", ["", "r", "r:", "r:-1", "r:x", "r:１", "other:4", "r:" + "9" * 13])
def test_an_event_id_that_is_not_of_this_run_means_from_the_start(event_id):
    assert ui_stream.parse_event_id(event_id, "r") == 0


def test_an_event_id_is_a_position():
    assert ui_stream.parse_event_id("r:17", "r") == 17
