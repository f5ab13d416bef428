from __future__ import annotations

import math
import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import MalformedFrame
from shared.link.messages import LARGEST_MESSAGE_BYTES, cut
from shared.link.redundancy import (
    MAX_PARITY_SHARE,
    PRICE,
    WINDOW_FRAMES,
    WINDOW_PARITY,
    LossMeter,
    WindowParity,
    pack_window_parity,
    parity_count,
    parse_window_parity,
    unrestored,
    window_header_bytes,
)

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
    assert count <= max(1, 0.25 * k)


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


def feed(meter: LossMeter, share: float, run: float, packets: int, seed: int = 1) -> None:
    """Fates of a Gilbert channel, told 20 packets at a time."""
    dice = random.Random(seed)
    bad = False
    lost: list[int] = []
    for sequence in range(packets):
        leave = 1 / run
        enter = share / (1 - share) / run
        bad = dice.random() >= leave if bad else dice.random() < enter
        if bad:
            lost.append(sequence)
        if sequence % 20 == 19:
            meter.on_fates(20 - len(lost), lost)
            lost = []


@pytest.mark.parametrize(("share", "run"), [(0.01, 1), (0.03, 4), (0.1, 2)])
def test_share_and_run_are_found(share, run):
    meter = LossMeter()
    feed(meter, share, run, 20_000)
    assert meter.share == pytest.approx(share, rel=0.6)
    assert meter.run == pytest.approx(run, rel=0.6)


def test_one_early_loss_does_not_raise_an_alarm():
    meter = LossMeter()
    meter.on_fates(4, [4])
    assert meter.share <= 0.05


def test_packets_that_were_only_late_are_not_losses():
    meter = LossMeter()
    meter.on_fates(190, list(range(10)))
    before = meter.share
    assert meter.on_late(range(10)) == 10
    assert meter.share < before / 2
    assert meter.on_late(range(10)) == 0  # nothing is undone twice


def test_what_was_not_counted_as_lost_takes_nothing_back_when_it_comes():
    meter = LossMeter()
    feed(meter, 0.02, 2, 2_000)
    before = meter.share, meter.run
    assert meter.on_late(range(5_000, 5_040)) == 0
    assert (meter.share, meter.run) == before


def test_a_run_that_was_only_late_is_none():
    meter = LossMeter()
    meter.on_fates(0, list(range(20)))
    assert meter.run > 10
    meter.on_late(range(19))
    assert meter.run == pytest.approx(1.0)
    meter.on_late([19])
    assert meter.run == pytest.approx(1.0)
    meter.on_fates(50, [20])  # right after it, and a run of its own
    meter.on_fates(50, [70, 71, 72])
    assert meter.run == pytest.approx(5 / 3, rel=0.1)


def test_an_older_run_that_was_only_late_leaves_the_newer_ones():
    late, never = LossMeter(), LossMeter()
    late.on_fates(50, list(range(20)))
    for meter in (late, never):
        for first in range(100, 500, 100):
            meter.on_fates(50, [first, first + 1])
    late.on_late(range(20))
    assert late.run == pytest.approx(never.run, rel=0.05)


def test_the_first_runs_already_tell_how_long_they_are():
    meter = LossMeter()
    for run in range(4):
        meter.on_fates(90, list(range(100 * run, 100 * run + 8)))
    assert meter.run > 5


def test_a_run_told_in_two_reports_is_one():
    meter = LossMeter()
    for first in range(0, 1_000, 100):
        meter.on_fates(50, [first, first + 1])
        meter.on_fates(50, [first + 2, first + 3])
    assert 3 < meter.run <= 4


# -- parity over several frames -------------------------------------------------------------------


def over(*lengths: int, row: int = 5) -> WindowParity:
    size = max(cut(length).symbol_bytes for length in lengths)
    return WindowParity(9, 4, tuple(map(cut, lengths)), row, random.Random(1).randbytes(size))


@given(st.lists(st.integers(1, 25_000), min_size=1, max_size=WINDOW_FRAMES), st.integers(0, 63))
def test_parity_over_frames_comes_out_as_it_went_in(lengths, row):
    parity = over(*lengths, row=row)
    message = pack_window_parity(parity)
    assert len(message) == window_header_bytes(len(lengths)) + len(parity.piece)
    if len(message) > LARGEST_MESSAGE_BYTES:
        with pytest.raises(MalformedFrame):
            parse_window_parity(message)
    else:
        assert parse_window_parity(message) == parity


@pytest.mark.parametrize(
    "message",
    [
        b"",
        bytes([WINDOW_PARITY]),
        pack_window_parity(over(6_000))[:-1],
        pack_window_parity(over(6_000)) + b"x",
        b"\x01" + pack_window_parity(over(6_000))[1:],
        pack_window_parity(over(6_000, row=64)),
        pack_window_parity(WindowParity(0, 2**32 - 1, (cut(100), cut(100)), 0, bytes(100))),
        pack_window_parity(WindowParity(0, 0, (), 0, bytes(100))),
        pack_window_parity(WindowParity(0, 0, (cut(100),) * (WINDOW_FRAMES + 1), 0, bytes(100))),
        pack_window_parity(
            WindowParity(0, 0, (replace(cut(100), length=0), cut(100)), 0, bytes(100))
        ),
        pack_window_parity(over(100_000)),  # of two blocks
        pack_window_parity(over(60_000, 60_000)),  # too many symbols
    ],
)
def test_parity_that_can_not_be_true_is_malformed(message):
    with pytest.raises(MalformedFrame):
        parse_window_parity(message)


@given(st.binary(max_size=200))
def test_any_bytes_are_parity_or_malformed(data):
    try:
        parity = parse_window_parity(bytes([WINDOW_PARITY]) + data)
    except MalformedFrame:
        return
    assert pack_window_parity(parity) == bytes([WINDOW_PARITY]) + data
