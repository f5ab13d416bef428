"""Who decides for all, and for whom a key frame is made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from sender.audience import Readiness
from sender.pipeline import SealedFrame, scaled_size
from sender.rate import Plan, Wishes
from sender.rate.budget import FULL_BPP, HEADROOM
from sender.steering import FOR_SOME_EVERY_NS, Steering
from shared import control
from shared.frame import EncodedFrame, Frame
from shared.link import PathEstimate
from tests.doubles import picture

FRAME = Frame(0, 0, np.zeros((480, 640), np.uint8))


@dataclass
class Receiver:
    """What steering looks at of an attendee."""

    ready: bool = True
    sent: int | None = 7
    rate_bps: int | None = None
    proven: bool = True
    limited: bool = True
    silent: bool = False

    @property
    def outbox(self) -> Receiver:
        return self

    @property
    def link(self) -> Receiver:
        return self

    @property
    def heard_at_s(self) -> float:
        return -math.inf if self.silent else math.inf

    @property
    def is_new(self) -> bool:
        return self.sent is None

    @property
    def path(self) -> PathEstimate | None:
        if self.rate_bps is None:
            return None
        return PathEstimate(self.rate_bps, 40_000_000, 0, 0.0, self.limited, self.proven)

    def holds(self, epoch: int | None) -> bool:
        return True

    def follows(self, index: int | None) -> bool:
        return index is not None and index == self.sent

    def standing(self, index: int | None, epoch: int | None) -> tuple[bool, bool, bool]:
        return self.follows(index), self.ready and self.holds(epoch), self.is_new


def ready(*receivers: Receiver) -> Readiness:
    """What they are ready for once frame 7 of epoch 1 was encoded."""
    return Readiness.of(receivers, 7, 1)  # type: ignore[arg-type]


class Clock:
    now_ns = 10**12

    def monotonic_ns(self) -> int:
        return self.now_ns


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("sender.steering.time", clock)
    return clock


class Told(Steering):
    """Keeps in `notices` what it hands back to be told."""

    def __init__(self, codec: str, notices: list[Any], wishes: Wishes | None = None) -> None:
        super().__init__(codec, wishes or Wishes(), fps=30.0)
        self.notices = notices

    def planned(self, frame: Frame, *receivers: Receiver) -> Plan:
        plan, told = self.plan_for(frame, ready(*receivers))
        self.notices += told
        return plan

    def came_to(self, frame: SealedFrame) -> None:
        told = self.encoded(frame)
        if told is not None:
            self.notices.append(told)


def steering(notices: list[Any] | None = None) -> Told:
    made = Told("h264", [] if notices is None else notices)
    made.choose(FRAME)
    return made


def bitrate(made: Told, *receivers: Receiver) -> int:
    planned = made.planned(FRAME, *receivers).bitrate_bps
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


class Auto:
    """Steering of colour pictures by `auto`, over a path of 100 Mbit/s, with a scripted encoder."""

    def __init__(self, clock: Clock, wishes: Wishes | None = None) -> None:
        self.notices: list[control.QualityNotice] = []
        self.made = Told("auto", self.notices, wishes)
        self.codecs: list[str] = []
        self._clock = clock

    def run(
        self, seconds: float, *, nbytes: int, busy_ms: float = 4.0, rate_bps: int = 100_000_000
    ) -> list[str]:
        """Frames of `nbytes` that take `busy_ms` each; the codecs that were gone over to so far."""
        for _ in range(round(30 * seconds)):
            self.take_up(rate_bps)
            self.made.came_to(a_frame(nbytes=nbytes, encode_us=round(1000 * busy_ms)))
        return self.codecs

    def take_up(self, rate_bps: int) -> bool:
        """The next frame is about to be encoded; whether in another codec than the last."""
        self._clock.now_ns += 33_333_333
        choice = self.made.choose(COLOUR)
        if choice is not None:
            self.codecs.append(choice.codec)
        self.made.planned(COLOUR, Receiver(rate_bps=rate_bps))
        return choice is not None

    @property
    def reasons(self) -> list[str]:
        return [notice.reason for notice in self.notices]


FULL = round(FULL_BPP * 640 * 480 / 8)  # bytes: all that rate control gives a picture


def a_frame(nbytes: int, encode_us: int = 1000) -> SealedFrame:
    encoded = EncodedFrame("h264", 640, 480, 3, bytes(nbytes), 45.0, key=False)
    stages = dict.fromkeys(("capture", "mask", "encode", "keystream", "seal"), 0)
    return SealedFrame(0, 1, 0, 0, 0, encoded, b"", stages | {"encode": encode_us})


def test_auto_goes_over_to_another_codec_in_words_that_both_ends_get(clock: Clock) -> None:
    auto = Auto(clock)
    assert auto.run(30, nbytes=8_000) == ["h264", "h264-444"]
    assert auto.reasons == ["codec changed to h264-444: whole colour, 1.9 of 7.4 Mbit/s used"]
    assert auto.notices[-1].codec == "h264-444"


def test_a_change_of_codec_is_told_with_its_first_frame(clock: Clock) -> None:
    auto = Auto(clock)
    for _ in range(30 * 10):
        if auto.take_up(100_000_000) and len(auto.codecs) == 2:
            break
        auto.made.came_to(a_frame(nbytes=8_000))
    assert auto.codecs == ["h264", "h264-444"]
    assert auto.notices == [], "it has not worked yet"
    auto.made.came_to(a_frame(nbytes=8_000))
    assert len(auto.notices) == 1


def test_a_bitrate_that_was_asked_for_is_no_room_for_another_codec(clock: Clock) -> None:
    assert Auto(clock, Wishes(bitrate_bps=2_000_000)).run(30, nbytes=8_000) == ["h264"]


def test_pictures_that_fill_what_they_may_have_leave_no_room_however_wide_the_path(
    clock: Clock,
) -> None:
    assert Auto(clock).run(30, nbytes=FULL) == ["h264"]


def test_whole_colour_that_fills_what_it_may_have_is_given_up_however_wide_the_path(
    clock: Clock,
) -> None:
    auto = Auto(clock)
    auto.run(10, nbytes=FULL // 3)
    assert auto.run(30, nbytes=FULL) == ["h264", "h264-444", "h264"]
    assert "lowered" in auto.reasons[-1]


def test_whole_colour_is_not_tried_where_the_encoder_is_busy_enough(clock: Clock) -> None:
    assert Auto(clock).run(30, nbytes=8_000, busy_ms=18.0) == ["h264"]


def test_whole_colour_that_the_machine_is_too_slow_for_is_given_up_for_good(clock: Clock) -> None:
    auto = Auto(clock)
    auto.run(10, nbytes=8_000)
    assert auto.run(1, nbytes=8_000, busy_ms=40.0) == ["h264", "h264-444", "h264"]
    assert auto.reasons[-1] == "codec changed to h264: colour lowered, encoder slow"
    assert auto.run(120, nbytes=8_000) == ["h264", "h264-444", "h264"]


def test_a_codec_that_fails_gives_way_to_the_one_before_and_both_ends_are_told(
    clock: Clock,
) -> None:
    auto = Auto(clock)
    assert auto.made.failed() is None
    auto.run(10, nbytes=8_000)
    choice = auto.made.failed()
    assert choice is not None and choice.codec == "h264"
    auto.run(60, nbytes=8_000)
    assert auto.codecs == ["h264", "h264-444"]
    assert auto.reasons[1:] == ["codec changed to h264: h264-444 does not work here"]


# -- who comes after the last has left -------------------------------------------------------------


def test_one_that_comes_when_all_have_left_does_not_pay_for_their_path(clock: Clock) -> None:
    notices: list[Any] = []
    made = steering(notices)
    narrow, wide = (
        Receiver(rate_bps=400_000),
        Receiver(rate_bps=4_000_000, proven=False, limited=False),
    )
    for _ in range(30):
        clock.now_ns += 33_000_000
        before = bitrate(made, narrow)
    told = len(notices)
    made.deserted()
    made.choose(FRAME)
    assert bitrate(made, wide) == round(HEADROOM * 4_000_000) > 5 * before
    assert len(notices) == told


def test_one_that_comes_when_all_have_left_lowers_nothing_by_a_first_guess(clock: Clock) -> None:
    notices: list[Any] = []
    made = steering(notices)
    bitrate(made, Receiver(rate_bps=50_000_000))
    made.deserted()
    made.choose(FRAME)
    for _ in range(3):
        bitrate(made, Receiver(rate_bps=1_000_000, proven=False, limited=False))
        clock.now_ns += 33_000_000
    assert notices == []


def test_one_that_comes_when_all_have_left_gets_the_first_codec(clock: Clock) -> None:
    auto = Auto(clock)
    auto.run(10, nbytes=8_000)
    auto.made.deserted()
    assert auto.run(1, nbytes=8_000) == ["h264", "h264-444", "h264"]


@pytest.mark.parametrize("shape", [(240, 320), (480, 640, 3), (960, 1280)])
def test_pictures_of_another_size_or_colour_begin_anew_and_that_is_told(
    clock: Clock, shape: tuple[int, ...]
) -> None:
    notices: list[control.QualityNotice] = []
    made = steering(notices)
    for rate_bps in (40_000_000, 350_000):
        clock.now_ns += 33_000_000
        bitrate(made, Receiver(rate_bps=rate_bps))
    assert notices, "nothing was lowered"
    told, controller = len(notices), made._controller
    other = Frame(9, 0, np.zeros(shape, np.uint8))
    assert made.choose(other) is None, "it goes on in the codec that was asked for"
    assert made.begins
    plan = made.planned(other, Receiver(rate_bps=40_000_000))
    assert made._controller is not controller
    assert made._controller is not None
    facts = made._controller._facts
    assert (facts.width, facts.height) == (shape[1], shape[0])
    assert plan.scale == 1
    made.came_to(a_frame(nbytes=900))
    size = f"{shape[1]}x{shape[0]}"
    assert notices[told].reason == f"quality begun anew: the picture is {size} now"
    made.choose(Frame(10, 0, np.zeros(shape, np.uint8)))
    made.came_to(a_frame(nbytes=900))
    assert len(notices) == told + 1


def test_another_size_is_no_news_of_quality_where_none_was_told(clock: Clock) -> None:
    notices: list[control.QualityNotice] = []
    made = steering(notices)
    bitrate(made, Receiver(rate_bps=400_000_000))
    made.choose(COLOUR)
    made.planned(COLOUR, Receiver(rate_bps=400_000_000))
    made.came_to(a_frame(nbytes=900))
    assert notices == []


def test_auto_begins_in_the_first_codec_for_pictures_of_another_size(clock: Clock) -> None:
    auto = Auto(clock)
    assert auto.run(30, nbytes=8_000) == ["h264", "h264-444"]
    choice = auto.made.choose(FRAME)
    assert choice is not None
    assert choice.codec == "h264"


# -- key frames, and what a frame is good for ------------------------------------------------------


def test_a_notice_names_the_size_that_the_picture_has(clock: Clock) -> None:
    notices: list[control.QualityNotice] = []
    made = Told("h264", notices)
    odd = Frame(0, 0, picture(0, height=481, width=641))
    made.choose(odd)
    for rate in (40_000_000, 350_000):
        clock.now_ns += 33_000_000
        plan = made.planned(odd, Receiver(rate_bps=rate))
    assert plan.scale < 1
    shown = scaled_size(641, 481, plan.scale)
    assert (notices[-1].width, notices[-1].height) == shown
    assert all(side % 2 == 0 for side in shown)


@pytest.mark.parametrize(("codec", "chained"), [("lossless", False), ("h264", True)])
def test_colour_without_loss_is_no_chain(clock: Clock, codec: str, chained: bool) -> None:
    made = Told(codec, [])
    made.choose(COLOUR)
    assert made.inter is chained
    made._keys.made(clock.now_ns)
    behind, busy = Receiver(sent=3), Receiver(ready=False)
    assert made.serves(ready(behind, busy)) is not chained
    assert not key_needed(made, behind, busy)
    made.choose(FRAME)
    assert made.inter


def key_needed(made: Steering, *receivers: Any) -> bool:
    return made.needs_key(ready(*receivers))


def test_for_one_that_lost_the_chain_those_whose_path_is_busy_just_now_do_not_pay(
    clock: Clock,
) -> None:
    made = steering()
    made._keys.made(clock.now_ns)
    lost, busy = Receiver(sent=3), Receiver(ready=False)
    assert not key_needed(made, lost, busy)
    assert not made.serves(ready(lost, busy)), "a frame that the busy one alone could decode"
    clock.now_ns += FOR_SOME_EVERY_NS
    assert key_needed(made, lost, busy)
    assert made.serves(ready(lost, busy))


def test_a_frame_is_of_use_where_one_that_follows_can_take_it_or_nobody_follows(
    clock: Clock,
) -> None:
    made = steering()
    made._keys.made(clock.now_ns)
    assert made.serves(ready(Receiver(), Receiver(sent=3)))
    assert made.serves(ready(Receiver(sent=3))), "nobody follows: a key frame is due at once"
    assert made.serves(ready(Receiver(sent=None), Receiver(ready=False)))
    assert not made.serves(ready(Receiver(ready=False)))
    assert not made.serves(ready())
