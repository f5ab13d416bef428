"""The stream of a session: what is taken up, what gives way, and what the frames build on."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from sender.streamcodec import CodecChoice
from shared import control
from shared.codecs import Encoder, EncoderTarget, open_decoder, open_encoder
from shared.errors import BadInput
from shared.frame import EncodedFrame, Image
from shared.link.memory import MemoryLink
from shared.strip import read_strip
from shared.telemetry.records import DropReason
from tests.doubles import (
    picture,
    turns,
    until,
)
from tests.sender.stage import Script, a_stage, frames_of, give, heard, say

pytestmark = pytest.mark.jumping_clock

# -- what gives way -------------------------------------------------------------------------------


async def test_a_frame_that_waits_when_the_last_receiver_leaves_is_not_shown_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch, max_receivers=2) as stage:
        first = await stage.join("a")
        monkeypatch.setattr(stage.links.ours[0], "can_send_frame", lambda: False)
        stage.tap.give(0)  # offered, and stuck before the path
        await until(lambda: stage.session._audience._attendees["a"].outbox.unsent is not None)
        stage.tap.give(1)  # waits for a path
        await until(lambda: stage.session._stream._slot._item is not None)
        await first.leave()
        await until(lambda: stage.session.receivers == 0)
        assert stage.journal.dropped_frames == [
            (DropReason.NO_RECEIVER, 0),
            (DropReason.NO_RECEIVER, 1),
        ]
        second = await stage.join("b")
        stage.tap.give(2)
        assert (await second.frame()).index == 2
        stage.tap.end()
        await stage.session.finished()
        await until(lambda: second.last_words is not None)
    tallies = [word for word in second.heard if isinstance(word, control.Tally)]
    assert tallies[-1] == control.Tally(sent=1, dropped={}), "told of drops before it joined"


async def test_frames_that_one_path_can_t_carry_are_replaced_by_newer_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch) as stage:
        watcher = await stage.join("a")
        wide = False
        ours = stage.links.ours[0]
        can_send = ours.can_send_frame
        monkeypatch.setattr(ours, "can_send_frame", lambda: wide and can_send())
        for index in range(4):  # 0 is taken up; 1 and 2 give way to 3
            stage.tap.give(index)
            await until(lambda: stage.session._audience._attendees["a"].outbox.unsent is not None)
            await turns()
        assert stage.journal.dropped_frames == [
            (DropReason.LINK_BUSY, 1),
            (DropReason.LINK_BUSY, 2),
        ]
        wide = True
        ours._changed.set()
        ours._sending_changed.set()
        assert (await watcher.frame()).index == 0
        assert (await watcher.frame()).index == 3


async def test_a_frame_that_nobody_could_take_is_counted_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch) as stage:
        watcher = await stage.join("a")
        attendee = stage.session._audience._attendees["a"]
        await until(lambda: attendee.outbox.ready)
        monkeypatch.setattr(attendee.outbox, "offer", lambda _frame: False)
        stage.tap.give(0)
        await until(lambda: len(stage.journal.dropped_frames) == 1)
        attendee.tell_tally()
        tally = control.Tally(sent=0, dropped={"link_busy": 1})
        await until(lambda: tally in watcher.heard)


async def test_a_receiver_that_has_not_confirmed_the_epoch_keeps_no_processor_busy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch) as stage:
        watcher = await stage.join("a")
        attendee = stage.session._audience._attendees["a"]
        await until(lambda: attendee.outbox.ready)
        holds, confirmed = attendee.outbox.holds, []
        monkeypatch.setattr(
            attendee.outbox, "holds", lambda epoch: bool(confirmed) and holds(epoch)
        )
        process, sealed = stage.session._pipeline.process, []
        monkeypatch.setattr(
            stage.session._pipeline,
            "process",
            lambda f, **how: sealed.append(f.index) or process(f, **how),
        )
        for index in range(3):
            stage.tap.give(index)
            await turns()
        assert sealed in ([], [0]), "frames were sealed for nobody"  # 0 may be waited for already
        confirmed.append(True)
        stage.session._audience.changed.set()
        while (await watcher.frame()).index != 2:  # 0 may have been on its way
            continue


async def test_frames_that_wait_for_a_receiver_that_is_silent_are_counted_as_such(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sender.attendee.SILENT_AFTER_S", 0.05)
    async with a_stage(monkeypatch) as stage:
        await stage.join("a")
        ours = stage.links.ours[0]
        monkeypatch.setattr(ours, "can_send_frame", lambda: False)
        await asyncio.sleep(0.06)
        for index in range(4):
            stage.tap.give(index)
            await until(lambda: stage.session._audience._attendees["a"].outbox.unsent is not None)
            await turns()
        assert stage.journal.dropped_frames == [
            (DropReason.RECEIVER_SILENT, 1),
            (DropReason.RECEIVER_SILENT, 2),
        ]


# -- key frames -----------------------------------------------------------------------------------


async def test_a_stream_is_one_key_frame_and_each_later_frame_builds_on_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch, codec="h264") as stage:
        watcher = await stage.join("a")
        await give(stage, 0, 3, 4)
        assert [f.depends_on for f in await frames_of(watcher, 3)] == [None, 0, 3]


async def test_a_key_frame_follows_on_request_unless_one_is_on_its_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch, codec="h264") as stage:
        watcher = await stage.join("a")
        await give(stage, 0, 1, 2)
        say(watcher, control.KeyFrameRequest(index=1))
        await turns()
        await give(stage, 3)
        say(watcher, control.KeyFrameRequest(index=2))  # 3 is key already
        await turns()
        await give(stage, 4)
        depends = [f.depends_on for f in await frames_of(watcher, 5)]
        assert depends == [None, 0, 1, None, 3]


async def test_who_joins_later_begins_with_a_key_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_stage(monkeypatch, codec="h264", max_receivers=2) as stage:
        first = await stage.join("a")
        await give(stage, 0, 1)
        second = await stage.join("b")
        await give(stage, 2, 3)
        assert [f.depends_on for f in await frames_of(first, 4)] == [None, 0, None, 2]
        assert [f.depends_on for f in await frames_of(second, 2)] == [None, 2]


async def test_one_that_missed_a_frame_gets_none_that_builds_on_it_and_is_told_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sender.steering.FOR_SOME_EVERY_NS", 10**12)
    async with a_stage(monkeypatch, codec="h264", max_receivers=2) as stage:
        quick, slow = await stage.join("quick"), await stage.join("slow")
        await give(stage, 0)
        attendee = stage.session._audience._attendees["slow"]
        with monkeypatch.context() as patched:
            patched.setattr(attendee.outbox, "holds", lambda _epoch: False)
            await give(stage, 1)
        for index in (2, 3):
            await until(lambda: attendee.outbox.ready)
            await give(stage, index)
        assert [f.index for f in await frames_of(quick, 4)] == [0, 1, 2, 3]
        attendee.tell_tally()
        await until(lambda: bool(heard(slow, control.Tally)))
        [tally] = heard(slow, control.Tally)[-1:]
        assert isinstance(tally, control.Tally)
        assert tally.dropped == {"link_busy": 1, "missing_reference": 2}
        assert (await slow.frame()).index == 0


# -- rate control ---------------------------------------------------------------------------------


async def test_a_path_that_narrows_is_told_to_person_log_and_receiver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = Script(50_000_000)
    monkeypatch.setattr(MemoryLink, "path", property(lambda _link: script.estimate()))
    async with a_stage(monkeypatch, codec="h264", fps=30.0) as stage:
        watcher = await stage.join("a")
        await give(stage, *range(3))
        assert heard(watcher, control.QualityNotice) == []
        script.rate_bps = 20_000
        await give(stage, *range(3, 6))
        await until(lambda: bool(heard(watcher, control.QualityNotice)))
        notice = heard(watcher, control.QualityNotice)[0]
        assert isinstance(notice, control.QualityNotice)
        assert notice.reason.endswith(": path 0.0 Mbit/s")
        assert "lowered" in notice.reason
        assert notice.codec == "h264"
        assert notice.reason in stage.notices
        assert stage.journal.quality_reason
        await until(lambda: bool(heard(watcher, control.PathReport)))
        report = heard(watcher, control.PathReport)[0]
        assert isinstance(report, control.PathReport)
        assert report.rtt_ms == 40.0


class Told:
    """An encoder that keeps what it is told to aim at."""

    name = "h264"

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.targets: list[EncoderTarget] = []

    def retarget(self, target: EncoderTarget) -> None:
        self.targets.append(target)
        self._encoder.retarget(target)

    def encode(self, image: Image, *, key: bool = False) -> EncodedFrame:
        return self._encoder.encode(image, key=key)


async def test_the_encoder_is_told_what_the_rate_control_decides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = Script(2_000_000)
    encoders: list[Told] = []

    def opening(codec: str, *, target: EncoderTarget) -> Encoder:
        encoders.append(Told(open_encoder(codec, target=target)))
        return encoders[-1]

    monkeypatch.setattr(MemoryLink, "path", property(lambda _link: script.estimate()))
    monkeypatch.setattr("sender.steering.open_encoder", opening)
    async with a_stage(monkeypatch, codec="h264", fps=30.0) as stage:
        await stage.join("a")
        for index, rate_bps in enumerate((2_000_000, 2_000_000, 40_000, 40_000, 20_000)):
            script.rate_bps = rate_bps
            await give(stage, index)
            told = encoders[0].targets[-1].bitrate_bps
            plan = stage.session._steering.plan
            assert plan is not None and told == plan.target.bitrate_bps
            assert told is not None and told <= rate_bps
        bitrates = [target.bitrate_bps or 0 for target in encoders[0].targets]
        assert bitrates[0] > 40_000  # it follows the path, and is not low from the beginning
    assert len(encoders) == 1


async def test_frames_left_out_for_a_lower_frame_rate_are_counted_as_such(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = Script(50_000_000)
    monkeypatch.setattr(MemoryLink, "path", property(lambda _link: script.estimate()))
    async with a_stage(monkeypatch, codec="h264", fps=30.0, min_psnr_db=45.0) as stage:
        await stage.join("a")
        await give(stage, *range(3))
        script.rate_bps = 20_000
        await give(stage, 3)
        plan = stage.session._steering.plan
        assert plan is not None and plan.thinned
        for index in range(4, 10):  # as fast as they can come: far above the plan's rate
            stage.tap.give(index)
            await turns()
        reasons = {reason for reason, _ in stage.journal.dropped_frames}
        assert DropReason.RATE_LIMITED in reasons


async def test_a_scaled_picture_is_smaller_and_its_psnr_is_that_of_both_losses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = Script(2_500)
    monkeypatch.setattr(MemoryLink, "path", property(lambda _link: script.estimate()))
    async with a_stage(monkeypatch, codec="h264", fps=30.0) as stage:
        watcher = await stage.join("a")
        await give(stage, 0)
        metadata = await watcher.frame()
        assert (metadata.width, metadata.height) < (57, 41)
        assert metadata.psnr_db is not None and metadata.psnr_db < 20.0, "noise does not scale"


async def test_auto_says_which_codec_it_picked_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_stage(monkeypatch, codec="auto") as stage:
        watcher = await stage.join("a")
        await give(stage, 0)
        codec = (await watcher.frame()).codec
        [told] = [notice for notice in stage.notices if notice.startswith("codec")]
        assert told.startswith(f"codec: {codec}: ")


class Failing:
    """An encoder of a codec that is not to be had here."""

    name = "h264-444"

    def __init__(self, encoder: Encoder, works_for: int) -> None:
        self._encoder = encoder
        self._left = works_for

    def retarget(self, target: EncoderTarget) -> None:
        self._encoder.retarget(target)

    def encode(self, image: Image, *, key: bool = False) -> EncodedFrame:
        if not self._left:
            raise BadInput("this FFmpeg has no libx264 for it")
        self._left -= 1
        return self._encoder.encode(image, key=key)


@pytest.mark.parametrize("works_for", [0, 2])
async def test_a_better_codec_that_does_not_work_is_given_up_and_the_stream_goes_on(
    monkeypatch: pytest.MonkeyPatch, works_for: int
) -> None:
    def reconsider(current: str, channels: int, use: object) -> CodecChoice | None:
        return CodecChoice("h264-444", "whole colour") if current == "h264" else None

    def opening(codec: str, *, target: EncoderTarget) -> Encoder:
        encoder = open_encoder(codec, target=target)
        return Failing(encoder, works_for) if codec == "h264-444" else encoder

    monkeypatch.setattr(MemoryLink, "path", property(lambda _link: Script(10**8).estimate()))
    monkeypatch.setattr("sender.streamcodec.reconsider", reconsider)
    monkeypatch.setattr("sender.streamcodec.STAND_NS", 0)
    monkeypatch.setattr("sender.steering.open_encoder", opening)
    async with a_stage(monkeypatch, codec="auto") as stage:
        watcher = await stage.join("a")
        await give(stage, *range(6))
        frames = await frames_of(watcher, 6)
        assert [f.codec for f in frames] == [
            *["h264"], *["h264-444"] * works_for, *["h264"] * (5 - works_for)
        ]  # fmt: skip
        began = [f.index for f in frames if f.depends_on is None]
        assert began == sorted({0, 1, 1 + works_for})
        notices = heard(watcher, control.QualityNotice)
        reasons = [n.reason for n in notices if isinstance(n, control.QualityNotice)]
        given_up = "codec changed to h264: h264-444 does not work here"
        taken_up = ["codec changed to h264-444: whole colour"] if works_for else []
        assert reasons == [*taken_up, given_up]
        assert given_up in stage.notices


async def test_an_encoder_that_was_asked_for_and_fails_ends_the_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def opening(codec: str, *, target: EncoderTarget) -> Encoder:
        return Failing(open_encoder(codec, target=target), 0)

    monkeypatch.setattr("sender.steering.open_encoder", opening)
    async with a_stage(monkeypatch, codec="h264-444") as stage:
        await stage.join("a")
        stage.tap.give(0)
        with pytest.raises(BadInput, match="no libx264"):
            await stage.session.finished()


async def test_who_joins_while_quality_is_low_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(50_000_000)
    monkeypatch.setattr(MemoryLink, "path", property(lambda _link: script.estimate()))
    async with a_stage(monkeypatch, codec="h264", fps=30.0, max_receivers=3) as stage:
        first = await stage.join("a")
        await give(stage, 0)
        script.rate_bps = 20_000
        await give(stage, 1, 2)
        await until(lambda: bool(heard(first, control.QualityNotice)))
        second = await stage.join("b")
        await until(lambda: bool(heard(second, control.QualityNotice)))
        told = heard(first, control.QualityNotice)
        assert heard(second, control.QualityNotice) == told[-1:]
        for watcher in (first, second):
            await watcher.leave()
        await until(lambda: stage.session.receivers == 0)
        script.rate_bps = 50_000_000
        third = await stage.join("c")
        await give(stage, 3)
        await third.frame()
        assert heard(third, control.QualityNotice) == [], "the path was the others'"


async def test_when_all_have_left_the_next_one_begins_on_a_path_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = Script(50_000_000)
    monkeypatch.setattr(MemoryLink, "path", property(lambda _link: script.estimate()))
    async with a_stage(monkeypatch, codec="h264", fps=30.0, max_receivers=2) as stage:
        first = await stage.join("a")
        await give(stage, 0)
        script.rate_bps = 2_500
        await give(stage, 1)
        assert [f.width < 57 for f in await frames_of(first, 2)] == [False, True]
        await first.leave()
        await until(lambda: stage.session.receivers == 0)
        script.rate_bps = 50_000_000
        second = await stage.join("b")
        await give(stage, 2)
        assert (await second.frame()).width == 57


# -- the picture ----------------------------------------------------------------------------------


async def test_the_strip_tells_index_and_capture_time_of_the_frame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def wide(index: int) -> np.ndarray:
        return picture(index, height=240, width=320)

    monkeypatch.setattr("tests.doubles.picture", wide)
    async with a_stage(monkeypatch, strip=True) as stage:
        watcher = await stage.join("a")
        await give(stage, 5)
        metadata, payload = await watcher.opened()
        size = {"width": 320, "height": 240, "channels": 1}
        strip = read_strip(open_decoder("lossless").decode(payload, **size))
        assert strip is not None
        assert (strip.index, strip.captured_at_ns) == (5, metadata.captured_at_ns)
