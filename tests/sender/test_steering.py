"""Who decides for all, and for whom a key frame is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from sender.keyframes import FOR_SOME_EVERY_NS
from sender.pipeline import SealedFrame
from sender.rate import Wishes
from sender.steering import Steering
from shared import control
from shared.frame import EncodedFrame, Frame
from shared.link import PathEstimate

FRAME = Frame(0, 0, np.zeros((480, 640), np.uint8))


@dataclass
class Receiver:
    """What steering looks at of an attendee."""

    ready: bool = True
    sent: int | None = 7
    rate_bps: int | None = None
    proven: bool = True
    silent: bool = False

    @property
    def is_new(self) -> bool:
        return self.sent is None

    @property
    def path(self) -> PathEstimate | None:
        if self.rate_bps is None:
            return None
        return PathEstimate(self.rate_bps, 40_000_000, 0, 0.0, True, self.proven)

    def holds(self, epoch: int | None) -> bool:
        return True

    def follows(self, index: int | None) -> bool:
        return index is not None and index == self.sent


class Clock:
    now_ns = 10**12

    def monotonic_ns(self) -> int:
        return self.now_ns


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("sender.steering.time", clock)
    return clock


def steering(notices: list[Any] | None = None) -> Steering:
    told = [] if notices is None else notices
    made = Steering("h264", Wishes(), fps=30.0, on_change=told.append)
    made.choose(FRAME)
    return made


def bitrate(made: Steering, *receivers: Any) -> int:
    planned = made.plan_for(FRAME, receivers).bitrate_bps
    assert planned is not None
    return planned


def test_one_that_has_just_come_takes_nothing_from_the_others(clock: Clock) -> None:
    notices: list[Any] = []
    made, watching = steering(notices), Receiver(rate_bps=20_000_000)
    before = bitrate(made, watching)
    joining = Receiver(rate_bps=200_000, proven=False)
    for _ in range(60):
        clock.now_ns += 33_000_000
        assert bitrate(made, watching, joining) >= before
    assert notices == []
    joining.proven = True
    assert bitrate(made, watching, joining) <= 200_000


def test_one_that_is_silent_takes_nothing_from_the_others(clock: Clock) -> None:
    made, watching = steering(), Receiver(rate_bps=20_000_000)
    before = bitrate(made, watching)
    gone = Receiver(rate_bps=200_000, silent=True)
    clock.now_ns += 33_000_000
    assert bitrate(made, watching, gone) >= before


def test_alone_also_a_path_that_is_not_yet_known_well_decides(clock: Clock) -> None:
    made = steering()
    assert bitrate(made, Receiver(rate_bps=2_000_000, proven=False)) <= 2_000_000


COLOUR = Frame(0, 0, np.zeros((480, 640, 3), np.uint8))


def codec_after(clock: Clock, wishes: Wishes, notices: list[Any]) -> str | None:
    """The codec that `auto` goes over to within half a minute on a wide path."""
    made = Steering("auto", wishes, fps=30.0, on_change=notices.append)
    first = made.choose(COLOUR)
    assert first is not None and first.codec == "h264"
    for _ in range(30 * 30):
        clock.now_ns += 33_000_000
        made.plan_for(COLOUR, [Receiver(rate_bps=60_000_000)])  # type: ignore[list-item]
        made.encoded(a_frame(nbytes=8_000))
        choice = made.choose(COLOUR)
        if choice is not None:
            return choice.codec
    return None


def a_frame(nbytes: int) -> SealedFrame:
    encoded = EncodedFrame("h264", 640, 480, 3, bytes(nbytes), 45.0, key=False)
    stages = dict.fromkeys(("capture", "mask", "encode", "keystream", "seal"), 1000)
    return SealedFrame(0, 1, 0, 0, 0, encoded, b"", stages)


def test_auto_goes_over_to_another_codec_in_words_that_both_ends_get(clock: Clock) -> None:
    notices: list[control.QualityNotice] = []
    assert codec_after(clock, Wishes(), notices) == "h264-444"
    assert notices[-1].reason.startswith("codec changed to h264-444: ")
    assert notices[-1].codec == "h264-444"


def test_a_bitrate_that_was_asked_for_is_no_room_for_another_codec(clock: Clock) -> None:
    assert codec_after(clock, Wishes(bitrate_bps=2_000_000), []) is None


def key_needed(made: Steering, *receivers: Any) -> bool:
    return made.needs_key(7, 1, receivers)


def test_for_one_that_lost_the_chain_those_whose_path_is_busy_just_now_do_not_pay(
    clock: Clock,
) -> None:
    made = steering()
    made._keys.made(clock.now_ns)
    lost, busy = Receiver(sent=3), Receiver(ready=False)
    assert not key_needed(made, lost, busy)
    assert not made.serves(7, 1, [lost, busy]), "a frame that the busy one alone could decode"
    clock.now_ns += FOR_SOME_EVERY_NS
    assert key_needed(made, lost, busy)
    assert made.serves(7, 1, [lost, busy])


def test_a_frame_is_of_use_where_one_that_follows_can_take_it_or_nobody_follows(
    clock: Clock,
) -> None:
    made = steering()
    made._keys.made(clock.now_ns)
    assert made.serves(7, 1, [Receiver(), Receiver(sent=3)])
    assert made.serves(7, 1, [Receiver(sent=3)]), "nobody follows: a key frame is due at once"
    assert made.serves(7, 1, [Receiver(sent=None), Receiver(ready=False)])
    assert not made.serves(7, 1, [Receiver(ready=False)])
    assert not made.serves(7, 1, [])
