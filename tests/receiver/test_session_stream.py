"""A receiver session and the stream itself: chains of frames, stills, notices, playout."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import numpy as np
import pytest

from receiver.settings import ReceiverSettings
from receiver.sinks import ShownFrame
from shared import control
from shared.codecs import EncoderTarget, open_decoder, open_encoder
from shared.errors import PeerGone
from shared.frame import Image
from shared.telemetry.records import DropReason, EventLine, PathLine
from shared.wire import FrameMetadata, pack_inner
from tests.doubles import RoomDouble, picture, until
from tests.receiver.test_session import Sender, all_of, room, watching

__all__ = ["room"]

MISSING = DropReason.MISSING_REFERENCE
PATIENT_NS = 60_000_000_000  # longer than any test: what is held waits for what it builds on
HELD_NS = 15_000_000


def moving(index: int) -> Image:
    """Smooth, and not still: what an inter codec is for."""
    y, x = np.mgrid[0:64, 0:96]
    return (128 + 60 * np.sin((x + 3 * index) / 9) + 40 * np.cos(y / 7)).astype(np.uint8)


@dataclass
class Stream:
    """A sender's H.264 stream, sealed frame by frame, and the pictures that it stands for."""

    sender: Sender
    pictures: dict[int, Image] = field(default_factory=dict)

    def __post_init__(self) -> None:
        target = EncoderTarget(bitrate_bps=1_000_000)
        self._encoder, self._decoder = open_encoder("h264", target=target), open_decoder("h264")
        self._last: int | None = None

    def frame(self, index: int, *, key: bool = False, early_ns: int = 0) -> bytes:
        encoded = self._encoder.encode(moving(index), key=key)
        size = {"width": encoded.width, "height": encoded.height, "channels": encoded.channels}
        self.pictures[index] = self._decoder.decode(encoded.payload, **size, key=encoded.key)
        metadata = FrameMetadata(
            index=index,
            captured_at_ns=self.sender.link.now_ns() + early_ns,
            codec="h264",
            psnr_db=encoded.psnr_db,
            stages_us={"capture": 0, "mask": 0, "encode": 0},
            depends_on=None if encoded.key else self._last,
            **size,
        )
        self._last = index
        return seal(self.sender, metadata, encoded.payload)

    def matches(self, shown: ShownFrame) -> bool:
        return np.array_equal(shown.frame.image, self.pictures[shown.frame.index])


def seal(sender: Sender, metadata: FrameMetadata, payload: bytes) -> bytes:
    assert sender.sealer is not None
    inner = pack_inner(metadata, payload)
    return sender.sealer.seal(sender.sealer.draw(len(inner)), inner)


async def request_of(sender: Sender) -> control.KeyFrameRequest:
    message = await sender.heard()
    assert isinstance(message, control.KeyFrameRequest)
    return message


async def test_nothing_is_shown_that_builds_on_a_lost_frame_and_a_key_frame_is_asked_for(
    room: RoomDouble,
) -> None:
    async with watching() as (session, sender, journal):
        await sender.begin_epoch()
        stream, frames = Stream(sender), aiter(session)
        first, _lost, *rest = (stream.frame(index) for index in range(5))
        await sender.send(first)
        assert stream.matches(await anext(frames))
        await sender.send(*rest)
        assert (await request_of(sender)).index in (2, 3, 4)
        await sender.send(stream.frame(5, key=True), stream.frame(6))
        shown = [await anext(frames)]
        if shown[0].frame.index == 5:
            shown.append(await anext(frames))
        assert shown[-1].frame.index == 6
        assert all(stream.matches(frame) for frame in shown)
        assert sorted(i for r, i in journal.dropped_frames if r is MISSING) == [2, 3, 4]


APART_NS = 33_000_000


async def take(frames: AsyncIterator[ShownFrame], count: int) -> list[ShownFrame]:
    """So many frames, each as soon as it is there: a slower reader gets the newest."""
    return [await anext(frames) for _ in range(count)]


async def test_frames_that_come_out_of_order_are_shown_as_if_they_had_not(room: RoomDouble) -> None:
    async with watching() as (session, sender, journal):
        await sender.begin_epoch()
        stream, frames = Stream(sender), aiter(session)
        zero, one, two, three = (stream.frame(i, early_ns=(i - 4) * APART_NS) for i in range(4))
        await sender.send(zero)
        assert stream.matches(await anext(frames))
        taking = asyncio.create_task(take(frames, 3))
        await sender.send(three, two, one)
        shown = await taking
        assert [picture.frame.index for picture in shown] == [1, 2, 3]
        assert all(stream.matches(picture) for picture in shown)
        assert not journal.dropped_frames


async def test_the_time_that_a_frame_waits_for_its_reference_is_a_stage_of_its_own(
    room: RoomDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.reception.MIN_PATIENCE_NS", PATIENT_NS)
    monkeypatch.setattr("receiver.reception.MAX_PATIENCE_NS", PATIENT_NS)
    async with watching() as (session, sender, journal):
        await sender.begin_epoch()
        stream, frames = Stream(sender), aiter(session)
        zero, one, two = (stream.frame(i, early_ns=(i - 3) * APART_NS) for i in range(3))
        await sender.send(zero, two)
        await anext(frames)
        await until(lambda: session._reception._held_until_ns is not None)
        began_ns = time.monotonic_ns()
        await until(lambda: time.monotonic_ns() - began_ns >= HELD_NS)
        taking = asyncio.create_task(take(frames, 2))
        await sender.send(one)
        assert [picture.frame.index for picture in await taking] == [1, 2]
        await sender.leave(control.Bye(reason="ended"))
        assert await all_of(session) == []
    lines = {line.frame: line for line in journal.lines if line.type == "frame"}
    stages = dict(lines[2].stages_ms)
    assert stages["hold"] >= HELD_NS / 1e6
    assert sum(v for v in stages.values() if v) == pytest.approx(lines[2].latency_ms, abs=1e-9)
    assert lines[0].stages_ms.hold == 0.0


def still_of(sender: Sender, index: int, image: Image) -> bytes:
    encoded = open_encoder("lossless").encode(image, key=True)
    metadata = FrameMetadata(
        index, 12, "lossless", encoded.width, encoded.height, encoded.channels, None,
        {"capture": 0, "mask": 0, "encode": 0}, still=True,
    )  # fmt: skip
    return seal(sender, metadata, encoded.payload)


async def test_a_still_is_asked_for_and_comes_apart_from_the_stream(room: RoomDouble) -> None:
    async with watching() as (session, sender, journal):
        await sender.begin_epoch()
        stream, frames = Stream(sender), aiter(session)
        await sender.send(stream.frame(0), stream.frame(1))
        while (await anext(frames)).frame.index != 1:
            pass
        asking = asyncio.create_task(session.still(1))
        assert await sender.heard() == control.StillRequest(index=1)
        exact = picture(1, height=64, width=96)
        await sender.send(still_of(sender, 1, exact), stream.frame(2))
        still = await asking
        assert still is not None
        assert (still.frame.index, still.psnr_db, still.codec) == (1, None, "lossless")
        assert np.array_equal(still.frame.image, exact)
        after = await anext(frames)
        assert after.frame.index == 2, "the still was shown as a frame, or broke the chain"
        assert stream.matches(after)
    assert journal.summary().frames_shown == 3


async def test_a_still_that_the_sender_does_not_hold_is_none(room: RoomDouble) -> None:
    async with watching() as (session, sender, _):
        await sender.begin_epoch()
        told: list[str] = []
        session._on_quality = told.append
        for detail in ("no exact picture: it would hold up the stream for 12 s on this path", ""):
            asking = asyncio.create_task(session.still(7))
            assert await sender.heard() == control.StillRequest(index=7)
            sender.say(control.StillUnavailable(index=7, detail=detail))
            assert await asking is None
            assert session.still_refusal == detail
        assert told == [], "why there is no still is no reason for the quality"


async def test_no_still_is_asked_of_a_sender_that_has_none(room: RoomDouble) -> None:
    async with watching() as (session, sender, _):
        await sender.begin_epoch()
        session._association.features -= {"stills"}
        assert await session.still(7) is None
        assert "no exact pictures" in session.still_refusal


async def test_a_still_that_nobody_asked_for_is_passed_over(room: RoomDouble) -> None:
    async with watching() as (session, sender, _):
        await sender.begin_epoch()
        stream, frames = Stream(sender), aiter(session)
        await sender.send(still_of(sender, 4, picture(4)), stream.frame(5))
        assert (await anext(frames)).frame.index == 5


async def test_a_still_that_does_not_come_is_none(
    room: RoomDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.stills.STILL_TIMEOUT_S", 0.05)
    async with watching() as (session, sender, _):
        await sender.begin_epoch()
        assert await session.still(0) is None
        assert await sender.heard() == control.StillRequest(index=0)
        assert await sender.heard() == control.StillCancel(index=0)


async def test_a_still_that_is_not_waited_for_any_more_is_cancelled(room: RoomDouble) -> None:
    async with watching() as (session, sender, _):
        await sender.begin_epoch()
        asking = asyncio.create_task(session.still(3))
        assert await sender.heard() == control.StillRequest(index=3)
        asking.cancel()
        assert await sender.heard() == control.StillCancel(index=3)
        await asyncio.wait({asking})
        assert asking.cancelled()


async def test_a_still_that_can_t_be_decoded_is_none_and_no_frame_that_was_dropped(
    room: RoomDouble,
) -> None:
    async with watching() as (session, sender, journal):
        await sender.begin_epoch()
        asking = asyncio.create_task(session.still(3))
        assert await sender.heard() == control.StillRequest(index=3)
        metadata = FrameMetadata(
            3, 12, "lossless", 96, 64, 1, None, {"capture": 0, "mask": 0, "encode": 0}, still=True
        )
        await sender.send(seal(sender, metadata, b"no picture"))
        assert await asking is None
        assert journal.dropped_frames == []


@pytest.mark.parametrize("end", ["the sender leaves", "the receiver leaves"])
async def test_who_waits_for_a_still_is_told_that_the_link_is_over(
    room: RoomDouble, end: str
) -> None:
    async with watching() as (session, sender, _):
        await sender.begin_epoch()
        asking = asyncio.create_task(session.still(3))
        assert await sender.heard() == control.StillRequest(index=3)
        if end == "the sender leaves":
            await sender.leave()
            with pytest.raises(PeerGone):
                await asking
    if end == "the receiver leaves":
        with pytest.raises(PeerGone):
            await asking


async def test_what_the_sender_says_of_quality_and_path_reaches_the_log_and_the_program(
    room: RoomDouble,
) -> None:
    told: list[str] = []
    async with watching() as (session, sender, journal):
        session._on_quality = told.append
        reason = "quality lowered: path 2.1 Mbit/s"
        sender.say(
            control.QualityNotice(
                reason=reason,
                codec="h264",
                width=96,
                height=64,
                fps=30.0,
                bitrate_bps=1_800_000,
                quality=None,
            )
        )
        sender.say(
            control.PathReport(
                rate_bps=2_100_000, rtt_ms=41.0, queue_ms=2.0, loss=0.01, target_bps=1_800_000
            )
        )
        await until(lambda: any(isinstance(line, PathLine) for line in journal.lines))
        assert told == [reason]
        assert journal.quality_reason == reason
        [event] = [line for line in journal.lines if isinstance(line, EventLine)]
        assert (event.event, event.detail) == ("quality lowered", "path 2.1 Mbit/s")
        figures = journal.snapshot()
        assert (figures.path_bps, figures.rtt_ms, figures.loss) == (2_100_000, 41.0, 0.01)


async def test_the_receiver_reports_while_it_watches(room: RoomDouble) -> None:
    async with watching() as (session, sender, _):
        await sender.begin_epoch()
        stream, frames = Stream(sender), aiter(session)
        await sender.send(stream.frame(0))
        await anext(frames)
        while True:
            report = await sender.association.receive()
            assert isinstance(report, control.ReceiverReport)
            if report.shown:
                break
        assert report.latency_p95_ms is not None


async def test_with_a_playout_delay_no_picture_is_handed_over_before_its_moment(
    room: RoomDouble,
) -> None:
    settings = ReceiverSettings(playout_delay_ms=60.0)
    async with watching(settings) as (session, sender, journal):
        await sender.begin_epoch()
        stream = Stream(sender)
        await sender.send(*(stream.frame(index) for index in range(3)))
        await sender.leave(control.Bye(reason="ended"))
        shown = await all_of(session)
    assert shown[-1] == 2, "frames that waited were forgotten at the end"
    lines = [line for line in journal.lines if line.type == "frame"]
    assert lines
    for line in lines:
        assert line.latency_ms is not None and line.latency_bound_ms is not None
        assert line.latency_ms >= 60.0 - 2 * line.latency_bound_ms - 0.5


async def test_a_time_stamp_of_the_future_does_not_stop_the_picture(room: RoomDouble) -> None:
    hour_ns = 3600 * 1_000_000_000
    async with watching(ReceiverSettings(playout_delay_ms=60.0)) as (session, sender, _):
        await sender.begin_epoch()
        stream, frames = Stream(sender), aiter(session)
        await sender.send(stream.frame(0, early_ns=hour_ns))
        assert (await anext(frames)).frame.index == 0
        await sender.send(stream.frame(1))
        assert (await anext(frames)).frame.index == 1
