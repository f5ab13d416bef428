"""Each change that can be seen is told once, and why."""

from __future__ import annotations

from sender.rate.controller import Level, Reasons
from sender.rate.plan import SMOOTH, Rung

TOP, SMALLER, SMALL, SMALL_AND_RARE, *_ = SMOOTH


def bits(now: float, best: float = 0.8) -> Level:
    return Level(now, best, by_quality=False)


def test_fewer_bits_than_before_are_no_news_where_the_pictures_take_less_anyway() -> None:
    reasons = Reasons(TOP)
    assert told(reasons, Level(0.4, 0.8, by_quality=False, enough=True)) == ()
    assert told(reasons, bits(0.4)) == ("quality lowered: path 2.1 Mbit/s",), "now they take all"
    assert told(reasons, Level(0.8, 0.8, by_quality=False, enough=True)) == (
        "quality raised: path 2.1 Mbit/s",
    )


def told(reasons: Reasons, level: Level | None, rung: Rung = TOP) -> tuple[str, ...]:
    return reasons.tell(rung, level, 2_100_000)


def test_what_is_as_good_as_it_gets_is_no_news() -> None:
    assert told(Reasons(TOP), bits(0.8)) == ()
    assert told(Reasons(TOP), None) == ()


def test_less_by_a_fifth_is_told_once_with_the_path() -> None:
    reasons = Reasons(TOP)
    assert told(reasons, bits(0.7)) == ()
    assert told(reasons, bits(0.6)) == ("quality lowered: path 2.1 Mbit/s",)
    assert told(reasons, bits(0.6)) == ()


def test_more_is_told_by_a_quarter_or_when_all_is_as_before() -> None:
    reasons = Reasons(TOP)
    told(reasons, bits(0.3))
    assert told(reasons, bits(0.35)) == ()
    assert told(reasons, bits(0.4)) == ("quality raised: path 2.1 Mbit/s",)
    told(reasons, bits(0.7))
    assert told(reasons, bits(0.8)) == ("quality raised: path 2.1 Mbit/s",)
    assert told(reasons, bits(0.8)) == ()


def test_the_quality_of_a_jpeg_is_told_by_steps_of_its_scale() -> None:
    reasons = Reasons(TOP)
    assert told(reasons, Level(86, 90, by_quality=True)) == ()
    assert told(reasons, Level(85, 90, by_quality=True)) == ("quality lowered: path 2.1 Mbit/s",)
    assert told(reasons, Level(89, 90, by_quality=True)) == ()
    assert told(reasons, Level(90, 90, by_quality=True)) == ("quality raised: path 2.1 Mbit/s",)


def test_a_rung_is_told_by_what_changed_on_it() -> None:
    reasons = Reasons(TOP)
    assert told(reasons, None, SMALL) == ("picture size lowered: path 2.1 Mbit/s",)
    assert told(reasons, None, SMALL_AND_RARE) == ("frame rate lowered: path 2.1 Mbit/s",)
    assert told(reasons, None, TOP) == ("frame rate and picture size raised: path 2.1 Mbit/s",)


def test_a_smaller_picture_with_more_bits_is_no_rise_of_quality() -> None:
    reasons = Reasons(TOP)
    told(reasons, bits(0.1))
    assert told(reasons, bits(0.2), SMALLER) == ("picture size lowered: path 2.1 Mbit/s",)
    assert told(reasons, bits(0.2), SMALLER) == ()
