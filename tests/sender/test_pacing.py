"""A lower frame rate is an even one."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sender.rate import RateController, StreamFacts, Wishes
from sender.steering import MAX_FPS, FrameRate

INTERVAL_NS = 1_000_000_000 // 30


def taken(fps: float, *, jitter_ns: int = 0, frames: int = 300) -> list[int]:
    dice = random.Random(1)
    pace = FrameRate(30.0)
    times = [at * INTERVAL_NS + dice.randint(0, jitter_ns) for at in range(frames)]
    return [at for at, time_ns in enumerate(times) if pace.takes(time_ns, fps)]


@pytest.mark.parametrize("jitter_ns", [0, 2_000_000])
@pytest.mark.parametrize("fps", [30.0, 31.0, 60.0, 240.0])
def test_all_frames_of_a_source_that_is_no_faster_are_taken(fps: float, jitter_ns: int) -> None:
    assert taken(fps, jitter_ns=jitter_ns) == list(range(300))


@pytest.mark.parametrize("jitter_ns", [0, 2_000_000])
@pytest.mark.parametrize(("fps", "step"), [(15.0, 2), (10.0, 3), (5.0, 6)])
def test_a_whole_fraction_takes_every_nth(fps: float, step: int, jitter_ns: int) -> None:
    assert taken(fps, jitter_ns=jitter_ns) == list(range(0, 300, step))


def test_two_thirds_take_two_of_three() -> None:
    indices = taken(20.0)
    assert len(indices) == pytest.approx(200, abs=2)
    assert {b - a for a, b in pairwise(indices)} == {1, 2}


@given(st.floats(1, 60), st.integers(0, 5_000_000))
def test_no_more_than_the_rate_is_taken(fps: float, jitter_ns: int) -> None:
    assert len(taken(fps, jitter_ns=jitter_ns)) <= min(300, 300 * fps / 30 * 1.03 + 2)


def test_without_a_rate_all_are_taken_however_fast_they_come() -> None:
    pace = FrameRate(30.0)
    assert all(pace.takes(time_ns, None) for time_ns in range(0, 1_000_000, 1000))


def test_after_a_pause_nothing_is_caught_up_with() -> None:
    pace = FrameRate(30.0)
    times = [*range(0, 10 * INTERVAL_NS, INTERVAL_NS)]
    times += [5_000_000_000 + time_ns for time_ns in times]
    assert sum(pace.takes(time_ns, 15.0) for time_ns in times) == 10


def test_the_source_s_own_rate_is_measured() -> None:
    pace = FrameRate(30.0)
    for at in range(200):
        pace.takes(at * 20_000_000, 10.0)
    assert pace.source_fps == pytest.approx(50.0, rel=0.01)
    pace.takes(200 * 20_000_000 + 60_000_000_000, 10.0)
    assert pace.source_fps > 40.0


def test_a_burst_of_stamps_is_no_frame_rate_that_no_encoder_could_aim_at() -> None:
    pace = FrameRate(30.0)
    for at in range(200):
        pace.takes(at * 50_000, None)
    assert 30.0 < pace.source_fps <= MAX_FPS
    facts = StreamFacts(inter=True, lossless=False, width=640, height=480)
    assert RateController(facts, Wishes(), pace.source_fps).plan.target.fps <= MAX_FPS
    assert FrameRate(5000.0).source_fps == MAX_FPS
