from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chatsession.runs.log import Outcome, events, follows

COMPLETE = Outcome("complete", {}, "")
text_parts = st.builds(
    lambda kind, text: {"type": kind, "text": text},
    st.sampled_from(["text", "reasoning"]),
    st.text(max_size=12),
)
sources = st.just({"type": "source-url", "sourceId": "s0", "url": "https://example.com", "title": "t"})
parts_lists = st.lists(text_parts | sources, max_size=5)


def flat(log) -> list[object]:
    """Every event by itself, every delta by code points: what a client ends up with."""
    seen: list[object] = []
    for event in log:
        deltas = [(event.number, point) for point in event.text]
        seen += deltas if event.kind == "delta" else [(event.position, event.kind)]
    return seen


@given(parts_lists, st.integers(0, 80))
def test_what_comes_after_a_position_is_the_rest_of_the_whole_log(parts, position):
    whole = flat(events(parts, 0, COMPLETE))

    assert flat(events(parts, position, COMPLETE)) == whole[position:]


@given(parts_lists)
def test_a_structural_event_counts_one_and_a_delta_its_code_points(parts):
    log = list(events(parts, 0, COMPLETE))

    assert log[-1].position == len(flat(log))


@given(parts_lists, st.integers(0, 40))
def test_a_growing_answer_never_takes_back_what_it_has_shown(parts, cut):
    if parts and "text" in parts[-1]:
        shorter = [*parts[:-1], parts[-1] | {"text": parts[-1]["text"][:cut]}]
        before = flat(events(shorter, 0, None))
        assert flat(events(parts, 0, COMPLETE))[: len(before)] == before


def test_an_open_part_has_no_end_before_the_answer_has():
    parts = [{"type": "text", "text": "こんにちは"}]

    assert [event.kind for event in events(parts, 0, None)] == ["start", "start-step", "part-start", "delta"]
    assert [event.kind for event in events(parts, 8, COMPLETE)] == ["part-end", "finish-step", "end"]


@given(parts_lists, st.sampled_from(["stopped", "interrupted", "error"]), st.integers(1, 20))
def test_a_reader_who_is_ahead_of_an_answer_cut_short_is_not_taken_for_one_who_has_seen_its_end(
    parts, status, ahead
):
    stored = list(events(parts, 0, None))[-1].position

    rest = list(events(parts, stored + ahead, Outcome(status, {}, "")))

    assert rest[-1].kind == "end"
    assert not follows(rest[0], stored + ahead)


@given(parts_lists, st.integers(0, 80))
def test_a_reader_of_an_answer_goes_on_with_an_event_that_follows(parts, position):
    rest = list(events(parts, position, COMPLETE))

    assert not rest or follows(rest[0], position)
