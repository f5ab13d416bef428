"""Down at once and as far as needed, up one rung at a time."""

from __future__ import annotations

from itertools import pairwise

import pytest

from sender.rate.plan import SHARP, SMOOTH, STEP_UP_NS, WHOLE, Ladder, Rung


def needs(rung: Rung) -> float:
    """One bit a second for each share of the source's pixels."""
    return float(rung.area_rate)


@pytest.mark.parametrize("rungs", [SMOOTH, SHARP, WHOLE])
def test_each_rung_has_fewer_pixels_a_second_than_the_one_above(rungs: tuple[Rung, ...]) -> None:
    assert all(lower.area_rate < upper.area_rate for upper, lower in pairwise(rungs))
    assert rungs[0].area_rate == 1


def test_smooth_keeps_the_rate_and_sharp_the_size_as_long_as_they_can() -> None:
    assert [rung.rate for rung in SMOOTH[:3]] == [1, 1, 1]
    assert [rung.scale for rung in SHARP[:4]] == [1, 1, 1, 1]
    assert {rung.scale for rung in WHOLE} == {1}


def test_a_fall_is_met_at_once_however_deep() -> None:
    ladder = Ladder(WHOLE)
    ladder.settle(0, 0.4, needs, eager=False)
    assert ladder.rung == WHOLE[3]
    ladder.settle(1, 0.0, needs, eager=False)
    assert ladder.rung == ladder.lowest, "where nothing fits, the last resort"


def test_a_higher_rung_must_have_fitted_with_room_to_spare_for_a_while() -> None:
    ladder = Ladder(WHOLE)
    ladder.settle(0, 0.4, needs, eager=False)
    ladder.settle(1, 0.55, needs, eager=False)  # half the frames would fit, but only just
    ladder.settle(2 * STEP_UP_NS, 0.55, needs, eager=False)
    assert ladder.rung == WHOLE[3]
    begin = 3 * STEP_UP_NS
    ladder.settle(begin, 100.0, needs, eager=False)
    ladder.settle(begin + STEP_UP_NS - 1, 100.0, needs, eager=False)
    assert ladder.rung == WHOLE[3]
    ladder.settle(begin + STEP_UP_NS, 100.0, needs, eager=False)
    assert ladder.rung == WHOLE[2], "one rung at a time"


def test_a_moment_of_less_begins_the_wait_anew() -> None:
    ladder = Ladder(WHOLE)
    ladder.settle(0, 0.4, needs, eager=False)
    ladder.settle(1, 100.0, needs, eager=False)
    ladder.settle(2, 0.4, needs, eager=False)
    ladder.settle(1 + STEP_UP_NS, 100.0, needs, eager=False)
    assert ladder.rung == WHOLE[3]


def test_while_the_path_is_being_found_out_nothing_is_waited_for() -> None:
    ladder = Ladder(WHOLE)
    ladder.settle(0, 0.4, needs, eager=True)
    for at in range(1, 4):
        ladder.settle(at, 100.0, needs, eager=True)
    assert ladder.rung == ladder.top
