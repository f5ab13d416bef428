from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.clock import (
    DRIFT_PPM,
    MAX_SAMPLES,
    SAMPLE_LIFE_NS,
    WANDER_PPM,
    ClockEstimate,
    ClockEstimator,
)

MS = 1_000_000
offsets = st.integers(-(10**15), 10**15)
delays = st.integers(0, 500 * MS)


def ping(
    clock: ClockEstimator, at: int, offset: int, out: int, back: int, think: int = 50_000
) -> bool:
    t2 = at + out + offset
    return clock.add(at, t2, t2 + think, at + out + think + back)


@given(offsets, st.lists(st.tuples(delays, delays, st.integers(0, 5 * MS)), min_size=1))
def test_the_error_never_exceeds_the_bound_however_asymmetric_the_delays(offset, paths):
    clock = ClockEstimator()
    now = 10**18
    for out, back, think in paths:
        assert ping(clock, now, offset, out, back, think)
        now += out + back + think + 20 * MS
        estimate = clock.estimate
        assert estimate is not None
        assert abs(estimate.offset_ns - offset) <= estimate.bound_ns


@given(
    offsets,
    st.floats(-DRIFT_PPM, DRIFT_PPM),
    st.lists(st.tuples(delays, delays), min_size=2, max_size=70),
)
def test_the_bound_holds_while_the_clocks_drift_apart(offset, ppm, paths):
    clock = ClockEstimator()
    start = now = 10**18

    def drifted(t: int) -> int:
        return offset + int((t - start) * ppm / 1e6)

    for out, back in paths:
        t2 = now + out + drifted(now + out)
        t4 = now + out + back
        assert clock.add(now, t2, t2, t4)
        estimate = clock.estimate
        assert estimate is not None
        assert abs(estimate.offset_ns - drifted(t4)) <= estimate.bound_ns + 2
        now = t4 + 1_000 * MS


class Queue:
    """One direction of a path that frames fill: a sawtooth of delays, empty only now and then."""

    def __init__(self, seed: int, most_ms: float, empty_share: float) -> None:
        self.dice = random.Random(seed)
        self.most_ms, self.empty_share = most_ms, empty_share

    def delay(self) -> int:
        if self.dice.random() < self.empty_share:
            return round(self.dice.uniform(0, 0.5) * MS)
        return round(self.dice.uniform(5, self.most_ms) * MS)


@pytest.mark.parametrize("ppm", [-40.0, 0.0, 17.0])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_under_load_in_one_direction_the_truth_is_within_the_bound_and_close(ppm, seed):
    clock = ClockEstimator()
    there = Queue(seed, 80, 0.1)
    back = Queue(seed + 50, 3, 0.5)
    start = now = 10**15
    offset = 123_456 * MS

    def truth(t: int) -> int:
        return offset + int((t - start) * ppm / 1e6)

    errors = []
    for turn in range(300):
        out, home = 20 * MS + there.delay(), 20 * MS + back.delay()
        arrived = now + out + truth(now + out)
        assert clock.add(now, arrived, arrived, now + out + home)
        now += out + home
        estimate = clock.estimate
        assert estimate is not None
        error = abs(estimate.offset_ns - truth(now))
        assert error <= estimate.bound_ns + 2
        if turn > 60:
            errors.append(error)
            assert estimate.bound_ns < 25 * MS  # half the round trip of 40 ms, and a little
        now += 1_000 * MS
    assert sorted(errors)[len(errors) // 2] < 1.5 * MS


def test_the_drift_is_found_and_carries_the_offset_on():
    clock = ClockEstimator()
    ppm, offset = 60.0, 5_000 * MS
    for turn in range(60):
        at = turn * 1_000 * MS
        ping(clock, at, offset + int(at * ppm / 1e6), MS // 10, MS // 10, think=0)
    estimate = clock.estimate
    assert estimate is not None
    assert estimate.drift_ppm == pytest.approx(ppm, abs=2 * WANDER_PPM)
    later = estimate.at_ns + 10_000 * MS
    truth = offset + int(later * ppm / 1e6)
    local, _ = estimate.to_local(later + truth)
    assert abs(local - later) < MS // 5


def test_an_estimate_without_drift_stays_where_it_is():
    assert ClockEstimate(offset_ns=7, bound_ns=1, rtt_ns=2).to_local(10**15) == (10**15 - 7, 1)


@given(
    st.floats(-DRIFT_PPM, DRIFT_PPM),
    st.lists(st.tuples(delays, delays), min_size=1, max_size=20),
    st.integers(-5_000 * MS, 20_000 * MS),
)
def test_a_moment_before_or_after_the_newest_ping_is_off_by_no_more_than_it_says(ppm, paths, apart):
    clock = ClockEstimator()
    start = now = 10**18

    def theirs(t: int) -> int:
        return t + 7_000 * MS + int((t - start) * ppm / 1e6)

    for out, back in paths:
        arrived = theirs(now + out)
        assert clock.add(now, arrived, arrived, now + out + back)
        now += out + back + 1_000 * MS
    estimate = clock.estimate
    assert estimate is not None
    moment = estimate.at_ns + apart
    local, bound = estimate.to_local(theirs(moment))
    assert abs(local - moment) <= bound + 5


def test_what_is_known_of_a_moment_wears_off_while_no_ping_comes():
    clock = ClockEstimator()
    ping(clock, 0, 0, MS, MS)
    estimate = clock.estimate
    assert estimate is not None
    _, fresh = estimate.to_local(2 * MS)
    _, old = estimate.to_local(4_002 * MS)
    assert old - fresh >= 4_000 * MS * DRIFT_PPM // 1_000_000


@given(
    st.floats(-DRIFT_PPM + 2 * WANDER_PPM, DRIFT_PPM - 2 * WANDER_PPM),
    st.lists(st.tuples(delays, delays, st.floats(-WANDER_PPM, WANDER_PPM)), min_size=2),
)
def test_the_bound_holds_while_the_drift_itself_wanders(ppm, paths):
    clock = ClockEstimator()
    now, theirs = 10**18, 5 * 10**17  # two clocks that are advanced step by step

    for out, back, wander in paths:
        rate = 1 + (ppm + wander) / 1e6
        arrived = theirs + int(out * rate)
        home = theirs + int((out + back) * rate)
        assert clock.add(now, arrived, arrived, now + out + back)
        now += out + back
        theirs = home
        estimate = clock.estimate
        assert estimate is not None
        assert abs(estimate.offset_ns - (theirs - now)) <= estimate.bound_ns + 3 * len(paths)
        now += 500 * MS
        theirs += int(500 * MS * rate)


def test_symmetric_delays_give_the_exact_offset_and_half_the_round_trip_as_bound():
    clock = ClockEstimator()
    ping(clock, 0, 7_000 * MS, 10 * MS, 10 * MS)
    assert clock.estimate is not None
    assert abs(clock.estimate.offset_ns - 7_000 * MS) <= 2_500
    assert 10 * MS <= clock.estimate.bound_ns <= 10 * MS + 2_500
    assert clock.estimate.rtt_ns == 20 * MS


def test_a_slow_ping_does_not_spoil_a_quick_one():
    clock = ClockEstimator()
    ping(clock, 0, 5 * MS, 1 * MS, 1 * MS)
    ping(clock, 100 * MS, 5 * MS, 80 * MS, 1 * MS)
    assert clock.estimate is not None
    assert abs(clock.estimate.offset_ns - 5 * MS) < MS
    assert clock.estimate.bound_ns < 1.1 * MS
    assert clock.estimate.rtt_ns == 2 * MS


def test_two_pings_slow_in_opposite_directions_narrow_the_bound_below_half_a_round_trip():
    clock = ClockEstimator()
    ping(clock, 0, 0, 1 * MS, 30 * MS)
    ping(clock, 50 * MS, 0, 30 * MS, 1 * MS)
    assert clock.estimate is not None
    assert clock.estimate.bound_ns < 2 * MS < clock.estimate.rtt_ns // 2


def test_the_bound_grows_with_the_age_of_the_quickest_ping():
    clock = ClockEstimator()
    ping(clock, 0, 0, MS, MS)
    first = clock.estimate
    ping(clock, 30_000 * MS, 0, 100 * MS, 100 * MS)
    later = clock.estimate
    assert first is not None
    assert later is not None
    assert later.bound_ns >= first.bound_ns + 30_000 * MS * DRIFT_PPM // 1_000_000


def test_samples_older_than_their_life_are_forgotten():
    clock = ClockEstimator()
    ping(clock, 0, 0, MS, MS)
    ping(clock, SAMPLE_LIFE_NS + 10 * MS, 0, 100 * MS, 100 * MS)
    assert clock.samples == 1
    assert clock.estimate is not None
    assert 100 * MS <= clock.estimate.bound_ns <= 100.1 * MS


def test_the_number_of_samples_is_bounded():
    clock = ClockEstimator()
    for i in range(3 * MAX_SAMPLES):
        ping(clock, i * 10 * MS, 0, MS, MS)
    assert clock.samples == MAX_SAMPLES


def test_after_a_clock_jumped_the_newer_samples_count():
    clock = ClockEstimator()
    for i in range(10):
        ping(clock, i * 100 * MS, 0, MS, MS)
    ping(clock, 2_000 * MS, 3_600_000 * MS, 5 * MS, 5 * MS)
    assert clock.estimate is not None
    assert abs(clock.estimate.offset_ns - 3_600_000 * MS) <= 1_000
    assert 5 * MS <= clock.estimate.bound_ns <= 5.01 * MS
    assert clock.estimate.rtt_ns == 10 * MS


@pytest.mark.parametrize(
    "times",
    [
        (100, 1_000, 999, 200),  # answered before it arrived
        (100, 1_000, 1_101, 200),  # took longer there than the whole round trip
        (200, 1_000, 1_000, 100),  # back before it left
    ],
)
def test_impossible_times_are_refused_and_change_nothing(times):
    clock = ClockEstimator()
    assert not clock.add(*times)
    assert clock.estimate is None
    assert clock.samples == 0


def test_a_sample_from_before_the_newest_is_refused():
    clock = ClockEstimator()
    ping(clock, 1_000 * MS, 0, MS, MS)
    before = clock.estimate
    assert not ping(clock, 0, 9 * MS, MS, MS)
    assert clock.estimate == before
