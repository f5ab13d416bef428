"""What waited through a pause is not shown as live, and a slow path is no pause."""

from __future__ import annotations

from receiver.showing import CATCH_UP_NS, PAUSE_NS, Freshness

MS = 1_000_000
MOST_NS = 200 * MS


def streamed(age_ns: int, *, most_ns: int = MOST_NS, interval_ns: int = 33 * MS) -> Freshness:
    """A second of pictures, the last of them at 1 s."""
    freshness = Freshness(most_ns)
    count = 10**9 // interval_ns
    for back in range(count, -1, -1):
        assert not freshness.is_late(age_ns, 10**9 - back * interval_ns)
    return freshness


def test_pictures_that_waited_through_a_pause_are_late_until_one_is_fresh() -> None:
    freshness = streamed(20 * MS)
    woken_ns = 6 * 10**9
    assert freshness.is_late(5_000 * MS, woken_ns)
    assert freshness.is_late(4_967 * MS, woken_ns + MS)
    assert not freshness.is_late(30 * MS, woken_ns + 40 * MS)
    assert not freshness.is_late(900 * MS, woken_ns + 80 * MS), "there was no pause since"


def test_an_old_picture_without_a_pause_is_shown() -> None:
    freshness = streamed(20 * MS)
    assert not freshness.is_late(5_000 * MS, 10**9 + PAUSE_NS - 1)


def test_a_path_that_has_become_slow_for_good_is_shown_after_a_while() -> None:
    freshness = streamed(20 * MS)
    woken_ns = 6 * 10**9
    assert freshness.is_late(700 * MS, woken_ns)
    assert freshness.is_late(700 * MS, woken_ns + CATCH_UP_NS - 1)
    assert not freshness.is_late(700 * MS, woken_ns + CATCH_UP_NS)
    assert not freshness.is_late(700 * MS, woken_ns + CATCH_UP_NS + 33 * MS)


def test_a_slow_stream_of_few_pictures_is_no_stream_of_late_ones() -> None:
    freshness = streamed(400 * MS, interval_ns=10**9)
    assert not freshness.is_late(450 * MS, 2 * 10**9)
    assert freshness.is_late(901 * MS, 3 * 10**9)


def test_a_picture_whose_age_is_not_known_is_shown_and_ends_no_catching_up() -> None:
    freshness = streamed(20 * MS)
    woken_ns = 6 * 10**9
    assert not freshness.is_late(None, woken_ns)
    assert freshness.is_late(5_000 * MS, woken_ns + MS)
