from __future__ import annotations

import pytest

from shared.errors import (
    AuthenticationFailed,
    DecodeFailed,
    FrameRejected,
    KeystreamDisagreed,
    MalformedFrame,
    Replayed,
    UnknownEpoch,
)
from shared.telemetry.records import DropReason
from shared.telemetry.tally import DropTally, drop_reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AuthenticationFailed("x"), DropReason.AUTH_FAILURE),
        (Replayed("x"), DropReason.REPLAYED),
        (KeystreamDisagreed("x"), DropReason.KEYSTREAM_MISMATCH),
        (UnknownEpoch("x"), DropReason.UNKNOWN_EPOCH),
        (DecodeFailed("x"), DropReason.DECODE_FAILED),
        (MalformedFrame("x"), DropReason.MALFORMED),
    ],
)
def test_each_rejection_has_its_reason(error: FrameRejected, reason: DropReason) -> None:
    assert drop_reason(error) is reason


def test_a_frame_that_was_frozen_over_was_received() -> None:
    tally = DropTally()
    tally.shown(0)
    tally.dropped(DropReason.FROZEN, 1)
    tally.dropped(DropReason.LATE, 2)
    tally.sender_tells(3, {})
    assert tally.not_received() == 0
    assert tally.lost() == tally.refused_and_lost() == {DropReason.LATE: 1}
    assert tally.count(DropReason.FROZEN) == 1


def test_what_poses_as_a_frame_is_told_and_is_no_loss() -> None:
    tally = DropTally()
    tally.dropped(DropReason.REPLAYED, 7)
    assert tally.refused_and_lost() == {DropReason.REPLAYED: 1}
    assert tally.lost() == {}
    assert tally.not_received() == 0
