from __future__ import annotations

import pytest

from receiver.reception import (
    MAX_PATIENCE_NS,
    MIN_ASK_NS,
    MIN_PATIENCE_NS,
    KeyFrameWish,
    patience_ns,
)

MS = 1_000_000


@pytest.mark.parametrize(
    ("rtt_ms", "waits_ms"),
    [(0, MIN_PATIENCE_NS / MS), (20, 50), (100, 170), (900, MAX_PATIENCE_NS / MS)],
)
def test_a_frame_waits_for_one_repair_and_never_as_long_as_a_freeze(
    rtt_ms: int, waits_ms: float
) -> None:
    assert patience_ns(rtt_ms * MS) == waits_ms * MS


def test_a_key_frame_is_asked_for_once_a_round_trip() -> None:
    wish = KeyFrameWish()
    assert wish.ask(0, 300 * MS)
    assert not wish.ask(299 * MS, 300 * MS)
    assert wish.ask(300 * MS, 300 * MS)


def test_on_a_quick_path_key_frames_are_asked_for_no_faster_than_they_can_come() -> None:
    wish = KeyFrameWish()
    assert wish.ask(0, 0)
    assert not wish.ask(MIN_ASK_NS - 1, 0)
    assert wish.ask(MIN_ASK_NS, 0)
