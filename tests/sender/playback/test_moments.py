"""When pictures of a file are due."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sender.playback.play import Moments

MS = 1_000_000


def due_ms(
    moments: Moments, at_s: float | None, now_ms: float = 0.0, *, begins: bool = False
) -> float:
    return moments.due_ns(at_s, round(now_ms * MS), begins=begins) / MS


def test_pictures_without_times_come_evenly() -> None:
    moments = Moments(100 * MS)
    assert [due_ms(moments, None) for _ in range(4)] == [0, 100, 200, 300]


def test_pictures_with_times_of_their_own_come_at_these() -> None:
    moments = Moments(100 * MS)
    times = [0.5, 0.51, 1.5, 1.75]
    assert [due_ms(moments, at_s) for at_s in times] == [0, 10, 1000, 1250]


def test_a_new_pass_follows_the_last_evenly() -> None:
    moments = Moments(100 * MS)
    due = [due_ms(moments, at_s, begins=at_s == 0) for at_s in (0.0, 0.3, 0.0, 0.3)]
    assert due == [0, 300, 400, 700]


def test_a_picture_that_can_t_be_shown_leaves_its_place_empty() -> None:
    moments = Moments(100 * MS)
    due_ms(moments, None)
    moments.passed_over()
    assert due_ms(moments, None) == 200
    moments.passed_over()
    assert due_ms(moments, 7.0) == 400
    moments.passed_over()
    assert due_ms(moments, 7.05) == 450, "its own time counts already"


def test_times_that_run_back_or_jump_for_hours_are_taken_for_broken() -> None:
    moments = Moments(100 * MS)
    times = [5.0, 4.0, 20_000.0, 20_000.0]
    assert [due_ms(moments, at_s) for at_s in times] == [0, 100, 200, 201]


@given(st.lists(st.tuples(st.none() | st.floats(0, 100), st.integers(0, 400)), max_size=40))
def test_nothing_is_due_in_the_past_and_no_lateness_is_made_up_in_a_burst(
    script: list[tuple[float | None, int]],
) -> None:
    moments, now, released = Moments(100 * MS), 0, list[int]()
    for at_s, busy_ms in script:
        due = moments.due_ns(at_s, now, begins=False)
        assert due >= now
        released.append(due)
        now = due + busy_ms * MS
    evenly = [at_s for at_s, _ in script if at_s is None]
    if len(evenly) == len(script):
        for earlier, later in zip(released, released[2:], strict=False):
            assert later - earlier >= 100 * MS, "more than one picture was made up for"


def test_a_picture_that_came_late_is_shown_for_its_whole_time() -> None:
    moments = Moments(100 * MS)
    assert [due_ms(moments, None), due_ms(moments, None)] == [0, 100]
    moments.held_until(170 * MS)
    assert due_ms(moments, None, 170) == 270
