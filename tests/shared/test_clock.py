from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.clock import DRIFT_PPM, MAX_SAMPLES, SAMPLE_LIFE_NS, ClockEstimator

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


def test_symmetric_delays_give_the_exact_offset_and_half_the_round_trip_as_bound():
    clock = ClockEstimator()
    ping(clock, 0, 7_000 * MS, 10 * MS, 10 * MS)
    assert clock.estimate is not None
    assert clock.estimate.offset_ns == 7_000 * MS
    assert clock.estimate.bound_ns == 10 * MS + 2_005
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
    assert clock.estimate.offset_ns == 3_600_000 * MS
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
