from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.link.redundancy import MAX_PARITY_SHARE, PRICE, parity_count, unrestored

MS = 1_000_000
LONG, FRAME = 60 * MS, 33 * MS
SHARES = st.floats(0.0005, 0.4)
RUNS = st.floats(1.0, 20.0)
SIZES = st.integers(1, 64)


def binomial_tail(n: int, share: float, above: int) -> float:
    return 1 - sum(math.comb(n, i) * share**i * (1 - share) ** (n - i) for i in range(above + 1))


@given(SIZES, SHARES)
def test_single_losses_are_binomial(k, share):
    for r, chance in enumerate(unrestored(k, share, 1.0, most=3)):
        assert chance == pytest.approx(binomial_tail(k + r, share, r), abs=1e-9)


@given(SIZES, SHARES, RUNS)
def test_each_parity_symbol_helps_and_more_loss_harms(k, share, run):
    chances = unrestored(k, share, run, most=k)
    assert len(chances) == k + 1
    assert all(0 <= chance <= 1 for chance in chances)
    assert all(b <= a + 1e-12 for a, b in pairwise(chances))
    worse = unrestored(k, min(0.5, 1.5 * share), run, most=0)
    assert worse[0] >= chances[0] - 1e-12


def test_without_parity_a_block_of_one_fails_as_often_as_packets_are_lost():
    assert unrestored(1, 0.03, 6.0, most=0) == [pytest.approx(0.03)]


@pytest.mark.parametrize(("share", "run"), [(0.01, 1.0), (0.03, 6.0), (0.1, 3.0)])
def test_the_chances_are_those_of_a_channel_with_bursts(share, run):
    k, most, dice, blocks = 8, 3, random.Random(5), 30_000
    again = max(1 - 1 / run, share)
    enter = share * (1 - again) / (1 - share)
    failed, bad = [0] * (most + 1), False
    for _ in range(blocks):
        fates = []
        for _ in range(k + most):
            bad = dice.random() < (again if bad else enter)
            fates.append(bad)
        for r in range(most + 1):
            failed[r] += sum(fates[: k + r]) > r
    for r, chance in enumerate(unrestored(k, share, run, most)):
        assert failed[r] / blocks == pytest.approx(chance, abs=0.006)


@given(st.integers(1, 40), st.floats(0.001, 0.3), RUNS, st.integers(1, 3))
def test_neither_more_nor_less_would_cost_less(k, share, run, blocks):
    count = parity_count(k, share, run, 100 * MS, FRAME, blocks)
    share, run = (1.2 ** round(math.log(figure, 1.2)) for figure in (share, run))
    chances = unrestored(k, share, run, most=max(1, k // 2))
    cost = [3 * blocks * chance + PRICE * r / k for r, chance in enumerate(chances)]
    assert cost[count] == min(cost)


@pytest.mark.parametrize("k", range(6, 23))
def test_at_one_loss_in_a_hundred_few_frames_need_a_re_request(k):
    count = parity_count(k, 0.01, 1.0, 40 * MS, FRAME)
    assert unrestored(k, 0.01, 1.0, most=count)[count] < 0.005
    assert count <= max(1, 0.2 * k)


def test_over_a_short_round_trip_repair_is_left_to_re_requests():
    assert parity_count(22, 0.05, 1, 20 * MS, FRAME) == 0
    assert parity_count(22, 0.05, 1, LONG, FRAME) > 0


def test_a_path_without_loss_gets_no_parity():
    assert parity_count(64, 0.0, 1, LONG, FRAME) == 0
    assert parity_count(64, 1e-9, 1, LONG, FRAME) == 0


def test_a_longer_way_a_higher_frame_rate_and_more_blocks_ask_for_more():
    usual = parity_count(16, 0.003, 4, LONG, FRAME)
    assert parity_count(16, 0.003, 4, 150 * MS, FRAME) > usual
    assert parity_count(16, 0.003, 4, LONG, FRAME // 3) > usual
    assert parity_count(16, 0.003, 4, LONG, FRAME, blocks=4) > usual


def test_where_parity_helps_too_little_none_is_sent():
    assert parity_count(4, 0.01, 12, LONG, 100 * MS) == 0


@given(SIZES, st.floats(0, 1), st.floats(1, 64), st.integers(0, 10**10), st.integers(0, 10**10))
def test_parity_never_exceeds_its_share_of_the_source_or_one(k, share, run, rtt_ns, interval_ns):
    assert 0 <= parity_count(k, share, run, rtt_ns, interval_ns) <= max(1, MAX_PARITY_SHARE * k)
