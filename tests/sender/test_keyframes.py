"""When a key frame is made, and for whom."""

from __future__ import annotations

from sender.steering import FOR_SOME_EVERY_NS, KeyFrames


def test_the_first_frame_is_key_and_those_that_all_can_follow_are_not() -> None:
    keys = KeyFrames()
    assert keys.needed(0, following=0, lost=1)
    keys.made(0)
    assert not keys.needed(1, following=3, lost=0)
    assert not keys.needed(FOR_SOME_EVERY_NS * 10, following=1, lost=0)


def test_where_nobody_follows_a_key_frame_is_made_at_once() -> None:
    keys = KeyFrames()
    keys.made(0)
    assert keys.needed(1, following=0, lost=2)


def test_whoever_has_just_come_gets_one_at_once() -> None:
    keys = KeyFrames()
    keys.made(0)
    assert keys.needed(1, following=2, lost=0, new=1)


def test_those_who_follow_pay_for_the_others_once_a_second_at_most() -> None:
    keys = KeyFrames()
    keys.made(0)
    assert not keys.needed(FOR_SOME_EVERY_NS - 1, following=1, lost=1)
    assert keys.needed(FOR_SOME_EVERY_NS, following=1, lost=1)
