"""Which frame a receiver can decode next."""

from __future__ import annotations

from sender.outbox import Reference

MS = 1_000_000


def with_frames(*indices: int) -> Reference:
    """The first is key."""
    reference = Reference()
    for place, index in enumerate(indices):
        reference.sent(index, key=place == 0)
    return reference


def test_one_that_was_sent_nothing_follows_nothing() -> None:
    reference = Reference()
    assert reference.is_new
    assert not reference.follows(None)
    assert not reference.follows(0)


def test_the_frame_sent_last_is_the_one_to_build_on() -> None:
    reference = with_frames(3, 4, 6)
    assert not reference.is_new
    assert reference.follows(6)
    assert not reference.follows(4)


def test_a_frame_lost_since_the_last_key_frame_breaks_the_chain_until_the_next() -> None:
    reference = with_frames(3, 4, 6)
    assert reference.lost(4, 0, None)
    assert not reference.follows(6)
    reference.sent(7, key=True)
    assert reference.follows(7)


def test_what_a_key_frame_has_mended_already_and_what_was_never_sent_breaks_nothing() -> None:
    reference = with_frames(3, 4)
    assert not reference.lost(2, 0, None)
    assert not reference.lost(5, 0, None)
    assert not Reference().lost(0, 0, None)
    assert reference.follows(4)


def test_within_a_round_trip_a_request_is_not_heard_twice() -> None:
    reference = with_frames(3, 4)
    assert reference.lost(4, 0, 40 * MS)
    reference.sent(5, key=True)
    assert not reference.lost(5, 39 * MS, 40 * MS)
    assert reference.lost(5, 40 * MS, 40 * MS)
