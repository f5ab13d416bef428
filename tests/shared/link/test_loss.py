from __future__ import annotations

import random

import pytest

from shared.link.loss import MAX_PARITY_SHARE, WITHOUT_REPAIR, LossMeter, parity_count

MS = 1_000_000
LONG = 60 * MS


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
    meter.on_late(10)
    assert meter.share < before / 2
    meter.on_late(1_000)
    assert meter.share == 0.0


def test_over_a_short_round_trip_repair_is_left_to_re_requests():
    assert parity_count(22, 0.05, 1, 20 * MS) == 0
    assert parity_count(22, 0.05, 1, LONG) > 0


def test_a_path_without_loss_gets_no_parity():
    assert parity_count(64, 0.0, 1, LONG) == 0


def test_one_parity_covers_a_frame_at_one_in_a_hundred():
    assert parity_count(22, 0.01, 1, LONG) in (1, 2)


def test_more_loss_and_longer_runs_ask_for_more():
    assert parity_count(40, 0.01, 1, LONG) <= parity_count(40, 0.03, 1, LONG)
    assert parity_count(40, 0.02, 1, LONG) < parity_count(40, 0.02, 4, LONG)


def test_parity_never_exceeds_its_share_of_the_source_or_one():
    for k in (1, 2, 6, 22, 64):
        for share in (0.01, 0.2, 0.9):
            assert parity_count(k, share, 8, LONG) <= max(1, k * MAX_PARITY_SHARE)


@pytest.mark.parametrize(("k", "share", "run"), [(22, 0.01, 1), (40, 0.02, 1), (64, 0.01, 2)])
def test_what_parity_leaves_to_re_requests_is_what_was_meant(k, share, run):
    count = parity_count(k, share, run, LONG)
    dice = random.Random(5)
    failed, blocks, bad = 0, 4_000, False
    for _ in range(blocks):
        lost = 0
        for _ in range(k):
            enter = share / (1 - share) / run
            bad = dice.random() >= 1 / run if bad else dice.random() < enter
            lost += bad
        failed += lost > count
    assert failed / blocks < 2 * WITHOUT_REPAIR
