from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatsession.backends.base import Reasoning, Source
from chatsession.models import Message
from chatsession.runs.growth import extends, grown, mark_of, since
from chatsession.runs.run import Run

texts = st.text(st.sampled_from("aé日🎈"), max_size=3)
chunks = st.lists(
    st.one_of(texts, texts.map(Reasoning), texts.map(lambda text: Source(f"https://{text}/", text))),
    max_size=12,
)


def stages(chunks) -> list:
    """The parts of an answer as it is written."""
    run = Run(Message(run_id="r"))
    parts = [[]]
    for chunk in chunks:
        run.append(chunk)
        parts.append(run.parts())
    return parts


@given(chunks, st.data())
def test_what_came_since_any_look_brings_whoever_has_seen_as_much_up_to_date(chunks, data):
    answer = stages(chunks)
    looked, had, now = sorted(data.draw(st.integers(0, len(chunks))) for _ in range(3))

    news = since(answer[now], mark_of(answer[looked]))

    assert grown(answer[had], mark_of(answer[looked]), news) == answer[now]
    assert (
        grown(answer[now], mark_of(answer[looked]), since(answer[had], mark_of(answer[looked])))
        == answer[now]
    )
    assert extends(answer[now], answer[had])


def test_a_gap_is_noticed():
    before, behind, now = ([{"type": "text", "text": text}] for text in ("a", "ab", "abc"))

    assert grown(before, mark_of(behind), since(now, mark_of(behind))) is None
    assert grown([], mark_of(behind), since(now, mark_of(behind))) is None


@pytest.mark.parametrize(
    "other",
    [
        [],
        [{"type": "text", "text": "other words"}],
        [{"type": "text", "text": "w"}],
        [{"type": "reasoning", "text": "words and more"}],
        [{"type": "source-url", "url": "https://example.com/"}, {"type": "text", "text": "words"}],
    ],
)
def test_another_text_is_no_growth(other):
    assert not extends(other, [{"type": "text", "text": "words"}])
