"""A sender session and the stream itself: key frames, rate control, stills, silence."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np
import pytest

from sender.privacy import Rect
from shared import control
from shared.codecs import open_decoder
from shared.link import PathEstimate
from shared.link.memory import MemoryLink
from shared.strip import read_strip
from shared.telemetry.records import DropReason
from shared.wire import FrameMetadata
from tests.doubles import Watcher, picture, turns, until
from tests.sender.test_session import Stage, a_stage


async def give(stage: Stage, *indices: int) -> None:
    """Frames one by one, each taken up before the next comes."""
    for index in indices:
        stage.tap.give(index)
        await until(lambda i=index: stage.session._pipeline.encoded_index == i)  # type: ignore[misc]
        await until(lambda: all(a.unsent is None for a in stage.session._attendees.values()))
        await turns()


def say(watcher: Watcher, message: control.ControlMessage) -> None:
    watcher.association.send(message)


async def frames_of(watcher: Watcher, count: int) -> list[FrameMetadata]:
    return [await watcher.frame() for _ in range(count)]


def heard(watcher: Watcher, kind: type) -> list[control.ControlMessage]:
    return [message for message in watcher.heard if isinstance(message, kind)]


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
    monkeypatch.setattr("sender.keyframes.FOR_SOME_EVERY_NS", 10**12)
    async with a_stage(monkeypatch, codec="h264", max_receivers=2) as stage:
        quick, slow = await stage.join("quick"), await stage.join("slow")
        await give(stage, 0)
        attendee = stage.session._attendees["slow"]
        with monkeypatch.context() as patched:
            patched.setattr(attendee, "holds", lambda _epoch: False)
            await give(stage, 1)
        for index in (2, 3):
            await until(lambda: attendee.ready)
            await give(stage, index)
        assert [f.index for f in await frames_of(quick, 4)] == [0, 1, 2, 3]
        attendee.tell_tally({})
        await until(lambda: bool(heard(slow, control.Tally)))
        [tally] = heard(slow, control.Tally)[-1:]
        assert isinstance(tally, control.Tally)
        assert tally.dropped == {"link_busy": 1, "missing_reference": 2}
        assert (await slow.frame()).index == 0


# -- rate control ---------------------------------------------------------------------------------


@dataclass
class Script:
    """What the path is said to carry."""

    rate_bps: int

    def estimate(self) -> PathEstimate:
        return PathEstimate(self.rate_bps, 40_000_000, 0, 0.0, True)


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


# -- stills ---------------------------------------------------------------------------------------


async def test_a_still_is_the_masked_picture_lossless_and_no_part_of_the_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch, codec="h264", masks=(Rect(0, 0, 20, 10),)) as stage:
        watcher = await stage.join("a")
        await give(stage, 0, 1)
        await frames_of(watcher, 2)
        say(watcher, control.StillRequest(index=0))
        metadata, payload = await watcher.opened()
        assert metadata.still and metadata.depends_on is None
        assert (metadata.index, metadata.codec, metadata.psnr_db) == (0, "lossless", None)
        expected = picture(0).copy()
        expected[:10, :20] = 0
        size = {"width": 57, "height": 41, "channels": 1}
        assert np.array_equal(open_decoder("lossless").decode(payload, **size), expected)
        await give(stage, 2)
        after = await watcher.frame()
        assert (after.index, after.depends_on) == (2, 1), "the still broke the chain"
        stage.session._attendees["a"].tell_tally({})
        await until(lambda: bool(heard(watcher, control.Tally)))
        tally = heard(watcher, control.Tally)[-1]
        assert tally == control.Tally(sent=3, dropped={})


async def test_a_still_that_is_not_held_or_asked_for_too_soon_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch, codec="h264") as stage:
        watcher = await stage.join("a")
        await give(stage, 0)
        await watcher.frame()
        say(watcher, control.StillRequest(index=99))
        await until(lambda: bool(heard(watcher, control.StillUnavailable)))
        say(watcher, control.StillRequest(index=0))
        await until(lambda: len(heard(watcher, control.StillUnavailable)) == 2)
        refused = heard(watcher, control.StillUnavailable)
        assert refused == [control.StillUnavailable(index=i) for i in (99, 0)]


async def test_a_still_that_would_hold_up_the_stream_for_long_is_refused_and_the_person_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = Script(2_000)
    monkeypatch.setattr(MemoryLink, "path", property(lambda _link: script.estimate()))
    async with a_stage(monkeypatch) as stage:
        watcher = await stage.join("a")
        await give(stage, 0)
        await watcher.frame()
        say(watcher, control.StillRequest(index=0))
        await until(lambda: bool(heard(watcher, control.StillUnavailable)))
        [refused] = heard(watcher, control.StillUnavailable)
        assert isinstance(refused, control.StillUnavailable)
        assert refused.index == 0
        assert refused.detail.startswith("no exact picture: it would hold up the stream for")
        await give(stage, 1)
        assert not (await watcher.frame()).still


# -- the rest -------------------------------------------------------------------------------------


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


async def test_frames_that_wait_for_a_receiver_that_is_silent_are_counted_as_such(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sender.audience.SILENT_AFTER_S", 0.05)
    async with a_stage(monkeypatch) as stage:
        await stage.join("a")
        ours = stage.links.ours[0]
        monkeypatch.setattr(ours, "can_send_frame", lambda: False)
        await asyncio.sleep(0.06)
        for index in range(4):
            stage.tap.give(index)
            await until(lambda: stage.session._attendees["a"].unsent is not None)
            await turns()
        assert stage.journal.dropped_frames == [
            (DropReason.RECEIVER_SILENT, 1),
            (DropReason.RECEIVER_SILENT, 2),
        ]
