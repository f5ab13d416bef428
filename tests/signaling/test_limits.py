"""Limits are positive, and the token bucket grants its burst and its rate and no more."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signaling.limits import Limits, TokenBucket

S = 1_000_000_000


def test_a_full_bucket_grants_its_burst_and_then_refuses() -> None:
    bucket = TokenBucket(rate_per_s=10, burst=4)
    assert [bucket.take(0) for _ in range(6)] == [True] * 4 + [False] * 2


def test_a_drained_bucket_grants_one_message_per_period() -> None:
    bucket = TokenBucket(rate_per_s=10, burst=2)
    assert bucket.take(0)
    assert bucket.take(0)
    assert not bucket.take(S // 10 - 1)
    assert bucket.take(S // 10)
    assert not bucket.take(S // 10)
    assert bucket.take(S // 5)


def test_a_refused_message_costs_nothing() -> None:
    bucket = TokenBucket(rate_per_s=1, burst=1)
    assert bucket.take(0)
    assert not any(bucket.take(t) for t in range(0, S, S // 100))
    assert bucket.take(S)


def test_a_rested_bucket_is_full_and_not_fuller() -> None:
    bucket = TokenBucket(rate_per_s=10, burst=3)
    assert bucket.take(0)
    assert [bucket.take(3600 * S) for _ in range(5)] == [True] * 3 + [False] * 2


def test_a_granted_message_comes_on_top_of_the_burst_and_only_once() -> None:
    bucket = TokenBucket(rate_per_s=1, burst=2)
    bucket.grant()
    assert [bucket.take(0) for _ in range(4)] == [True] * 3 + [False]
    assert [bucket.take(S) for _ in range(2)] == [True, False]


@settings(derandomize=True, max_examples=200, deadline=None)
@given(
    rate=st.floats(0.1, 1000),
    burst=st.integers(1, 50),
    gaps=st.lists(st.integers(0, 2 * S), max_size=200),
)
def test_no_window_ever_holds_more_than_burst_plus_rate(
    rate: float, burst: int, gaps: list[int]
) -> None:
    bucket = TokenBucket(rate_per_s=rate, burst=burst)
    cost = max(1, round(S / rate))
    now, granted = 0, []
    for gap in gaps:
        now += gap
        if bucket.take(now):
            granted.append(now)
    for first, start in enumerate(granted):
        for last in range(first, len(granted)):
            assert (last - first + 1 - burst) * cost <= granted[last] - start


@pytest.mark.parametrize("field", ["rooms", "peers_per_room", "hello_s", "message_bytes"])
def test_a_limit_of_zero_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        Limits(**{field: 0})
