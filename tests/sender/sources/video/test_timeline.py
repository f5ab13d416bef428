"""Times of a pass: a file's own where they can be, running forward always."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sender.sources.video.timeline import MAX_PAUSE_S, VideoTimeline

STEP_S = 0.04


def played(*times_s: float | None) -> list[float]:
    timeline = VideoTimeline(STEP_S)
    return [timeline.at(time_s) for time_s in times_s]


def test_a_files_own_times_are_kept_and_begin_at_0() -> None:
    assert played(7.0, 7.1, 7.5, 9.5) == pytest.approx([0.0, 0.1, 0.5, 2.5])


def test_pictures_without_times_follow_at_the_rate() -> None:
    assert played(None, None, 5.0, None, 5.08) == pytest.approx([0.0, 0.04, 0.08, 0.12, 0.16])


def test_times_set_back_where_recordings_were_joined_go_on_at_the_rate() -> None:
    assert played(1.0, 1.04, 1.08, 0.2, 0.24) == pytest.approx([0.0, 0.04, 0.08, 0.12, 0.16])


def test_repeated_times_slow_nothing_down() -> None:
    times = played(0.0, 0.0, 0.08, 0.08, 0.16, 0.16, 0.24)
    assert times[-1] == pytest.approx(0.24)
    assert all(a < b for a, b in pairwise(times))


def test_a_pause_longer_than_anybody_waits_is_cut_and_counted() -> None:
    timeline = VideoTimeline(STEP_S)
    assert [timeline.at(t) for t in (0.0, MAX_PAUSE_S, 3600.0, 3600.5)] == pytest.approx(
        [0.0, MAX_PAUSE_S, MAX_PAUSE_S + STEP_S, MAX_PAUSE_S + STEP_S + 0.5]
    )
    assert timeline.pauses_cut == 1


def test_what_was_shown_is_past_when_a_file_is_taken_up_again() -> None:
    timeline = VideoTimeline(STEP_S)
    timeline.at(2.0)
    timeline.at(2.5)
    assert timeline.last_in_file_s == pytest.approx(2.5)
    assert timeline.is_past(2.2)
    assert not timeline.is_past(2.6)


@given(
    st.lists(st.none() | st.floats(-1e6, 1e6) | st.integers(0, 50).map(lambda n: n / 25)),
    st.floats(0.002, 1.0),
)
def test_times_grow_strictly_and_never_leap(times_s: list[float | None], step_s: float) -> None:
    timeline = VideoTimeline(step_s)
    shown = [timeline.at(time_s) for time_s in times_s]
    for before, after in pairwise(shown):
        assert before < after <= before + MAX_PAUSE_S + 1e-6
