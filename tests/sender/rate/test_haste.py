"""Pictures that come very fast are coarser, once and for all, and the reason is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sender.rate import RateController, StreamFacts, Wishes
from sender.rate.plan import HURRIED_PIXELS_A_CORE, HURRIED_QUALITY, Haste

HD = StreamFacts(inter=True, lossless=False, width=1920, height=1080, cores=2)
REASON = "quality lowered: 124 Mpixel/s are much for this machine"


def test_a_rate_that_two_cores_have_time_for_changes_nothing() -> None:
    haste = Haste(HD, Wishes())
    assert haste.settle(30.0) is None
    assert haste.quality == 90


def test_a_higher_rate_lowers_the_quality_and_is_told_once() -> None:
    haste = Haste(HD, Wishes())
    assert haste.settle(60.0) == REASON
    assert haste.settle(60.0) is None
    assert haste.quality == HURRIED_QUALITY


def test_it_stays_lowered_when_the_source_slows_down() -> None:
    haste = Haste(HD, Wishes())
    haste.settle(60.0)
    assert haste.settle(30.0) is None
    assert haste.quality == HURRIED_QUALITY


def test_the_limit_is_by_core() -> None:
    haste = Haste(replace(HD, cores=4), Wishes())
    assert haste.settle(60.0) is None
    limit = HURRIED_PIXELS_A_CORE * 2 / (1920 * 1080)
    haste = Haste(HD, Wishes())
    assert haste.settle(limit) is None
    assert haste.settle(limit * 1.01) is not None


@pytest.mark.parametrize(
    ("facts", "wishes"),
    [
        (HD, Wishes(prefer="sharp")),
        (HD, Wishes(min_psnr_db=42.0)),
        (replace(HD, lossless=True), Wishes()),
        (replace(HD, inter=False), Wishes()),
    ],
)
def test_wishes_and_codecs_that_come_before_it(facts: StreamFacts, wishes: Wishes) -> None:
    haste = Haste(facts, wishes)
    assert haste.settle(60.0) is None
    assert haste.quality == 90


def test_a_quality_that_is_lower_already_stays() -> None:
    haste = Haste(HD, Wishes(quality=60))
    assert haste.settle(60.0) is None
    assert haste.quality == 60


def test_the_plan_follows_and_says_why() -> None:
    controller = RateController(HD, Wishes(), 60.0)
    plan = controller.update(0, [], 60.0)
    assert plan.target.quality == HURRIED_QUALITY
    assert plan.changes == (REASON,)
    assert controller.update(1, [], 60.0).changes == ()
