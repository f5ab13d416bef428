"""A still is asked for, thought better of, or kept until there is room."""

from __future__ import annotations

from sender.outbox import STILL_EVERY_NS, StillWish
from sender.pipeline import SealedFrame
from shared.frame import EncodedFrame


def a_still(index: int) -> SealedFrame:
    encoded = EncodedFrame("lossless", 32, 16, 1, b"", None)
    return SealedFrame(index, 1, 0, 0, 0, encoded, b"", {}, still=True)


def test_the_newest_wish_counts() -> None:
    wish = StillWish()
    assert wish.asked(1, 0)
    assert wish.asked(2, STILL_EVERY_NS)
    assert wish.wants(2)
    assert not wish.wants(1)


def test_one_that_comes_too_soon_is_refused_and_changes_nothing() -> None:
    wish = StillWish()
    wish.asked(1, 0)
    assert not wish.asked(2, STILL_EVERY_NS - 1)
    assert wish.wants(1)
    assert not wish.asked(2, STILL_EVERY_NS), "each asking begins the pause anew"


def test_while_one_waits_for_room_no_other_is_made() -> None:
    wish = StillWish()
    wish.asked(1, 0)
    wish.keep(a_still(1))
    assert not wish.asked(2, 2 * STILL_EVERY_NS)
    taken = wish.take()
    assert taken is not None and taken.index == 1
    assert wish.take() is None
    assert wish.asked(2, 4 * STILL_EVERY_NS)


def test_one_that_is_not_wanted_any_more_is_not_sent() -> None:
    wish = StillWish()
    wish.asked(1, 0)
    wish.keep(a_still(1))
    wish.withdrawn(2)
    assert wish.wants(1)
    wish.withdrawn(1)
    assert not wish.wants(1)
    assert wish.take() is None
