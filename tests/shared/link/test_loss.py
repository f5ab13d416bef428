from __future__ import annotations

import random

import pytest

from shared.link.loss import LossMeter


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
