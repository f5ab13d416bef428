"""Both sessions, an inter codec, and a path that loses: what is shown is what was sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from receiver.journal import ReceiverJournal
from receiver.session import ReceiverSession
from receiver.settings import ReceiverSettings
from receiver.sinks import ShownFrame
from sender.journal import SenderJournal
from sender.session import SenderSession
from sender.settings import SenderSettings
from sender.sources.phantom import PhantomSource
from shared.codecs import open_decoder
from shared.frame import Frame, Image
from shared.link import PathEstimate
from shared.link.memory import FrameImpairment, FrameScript, MemoryLink, memory_pair
from shared.strip import read_strip
from shared.telemetry.log import JsonLinesLog
from shared.telemetry.reader import read_log
from shared.telemetry.records import DropReason, FrameLine
from signaling.client import PeerJoined, Relayed
from tests.doubles import RoomDouble
from tests.integration.peers import LIMIT_S, Ends, Feed

ULTRASOUND = PhantomSource("ultrasound", size=(320, 240), fps=30.0)
ENDOSCOPY = PhantomSource("endoscopy", size=(320, 240), fps=30.0)


@dataclass
class Reference:
    """What an own decoder makes of all that the sender encodes, in the order of encoding."""

    pictures: dict[int, Image] = field(default_factory=dict)
    keys: list[int] = field(default_factory=list)
    _decoders: dict[str, Any] = field(default_factory=dict)

    def follow(self, session: SenderSession) -> None:
        process = session._pipeline.process

        def followed(frame: Frame, **how: Any) -> Any:
            sealed = process(frame, **how)
            encoded = sealed.encoded
            if encoded.codec not in self._decoders:
                self._decoders[encoded.codec] = open_decoder(encoded.codec)
            self.pictures[frame.index] = self._decoders[encoded.codec].decode(
                encoded.payload,
                width=encoded.width,
                height=encoded.height,
                channels=encoded.channels,
                key=encoded.key,
            )
            if encoded.key:
                self.keys.append(frame.index)
            return sealed

        session._pipeline.process = followed  # type: ignore[method-assign]

    def matches(self, shown: ShownFrame) -> bool:
        return np.array_equal(shown.frame.image, self.pictures[shown.frame.index])


@asynccontextmanager
async def in_memory(
    monkeypatch: pytest.MonkeyPatch,
    frames: AsyncIterator[Frame],
    settings: SenderSettings,
    *,
    to_receiver: FrameScript | None = None,
    journals: tuple[SenderJournal, ReceiverJournal] | None = None,
    watching: ReceiverSettings | None = None,
) -> AsyncIterator[tuple[SenderSession, ReceiverSession]]:
    """A sender's and a receiver's session that have paired over a link in memory."""
    made: list[tuple[MemoryLink, MemoryLink]] = []

    def link_of(end: int) -> Callable[..., Any]:
        def make(**_: object) -> Any:
            if not made:
                made.append(memory_pair(to_receiver=to_receiver))
            return made[0][end]

        return make

    senders_room, receivers_room = RoomDouble(), RoomDouble()
    monkeypatch.setattr("sender.session.SignalingClient", senders_room)
    monkeypatch.setattr("receiver.session.SignalingClient", receivers_room)
    receivers_room.tell(Relayed("sender", {"type": "offer", "sdp": "v=0 offer"}))
    sending, receiving = journals or (SenderJournal(), ReceiverJournal())
    async with (
        asyncio.timeout(LIMIT_S),
        SenderSession(frames, settings, journal=sending, link_factory=link_of(0)) as sender,
    ):
        assert sender.code is not None
        code = str(sender.code)
        senders_room.tell(PeerJoined("receiver"))
        async with ReceiverSession(
            code, watching, journal=receiving, link_factory=link_of(1)
        ) as receiver:
            yield sender, receiver


@pytest.mark.parametrize("codec", ["h264", "h264-444", "lossless"])
async def test_every_picture_shown_over_a_lossy_path_is_the_one_that_was_encoded(
    monkeypatch: pytest.MonkeyPatch, codec: str
) -> None:
    reference, shown = Reference(), list[int]()
    feed = Feed(make=ULTRASOUND.picture, count=90, interval_s=0.01)
    settings = SenderSettings(codec=codec, device="cpu")
    damage = FrameImpairment(seed=3, loss=0.08, duplicate=0.05, reorder=0.1)
    receiving = ReceiverJournal()
    async with in_memory(
        monkeypatch,
        feed.frames(),
        settings,
        to_receiver=damage,
        journals=(SenderJournal(), receiving),
    ) as (sender, receiver):
        reference.follow(sender)
        async for frame in receiver:
            assert reference.matches(frame), f"frame {frame.frame.index} is corrupted"
            shown.append(frame.frame.index)
    assert shown == sorted(shown)
    assert len(shown) >= 20
    assert len(reference.keys) >= 2, "frames were lost, and no key frame was made"
    assert shown[-1] > reference.keys[1], "the stream did not go on after a loss"
    drops = receiving.drops
    assert drops.get(DropReason.DECODE_FAILED, 0) == 0
    assert drops.get(DropReason.MALFORMED, 0) == 0


async def test_a_path_that_narrows_and_widens_is_told_at_both_ends_in_the_same_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    rate = 20_000_000

    def path(_link: MemoryLink) -> PathEstimate:
        return PathEstimate(rate, 40_000_000, 0, 0.01, True)

    monkeypatch.setattr(MemoryLink, "path", property(path))
    logs = tmp_path / "s.jsonl", tmp_path / "r.jsonl"
    journals = SenderJournal(JsonLinesLog(logs[0])), ReceiverJournal(JsonLinesLog(logs[1]))
    feed = Feed(make=ULTRASOUND.picture, interval_s=0.02)
    settings = SenderSettings(codec="h264", device="cpu", fps=50.0)
    async with in_memory(monkeypatch, feed.frames(), settings, journals=journals) as (_, receiver):
        async for frame in receiver:
            if frame.frame.index >= 20 and rate == 20_000_000:
                rate = 600_000
            if "lowered" in receiver.journal.quality_reason and rate == 600_000:
                rate = 30_000_000
            if "raised" in receiver.journal.quality_reason:
                break
    sent, shown = (read_log(log) for log in logs)
    told = [(event.event, event.detail) for event in shown.quality_changes]
    assert ("quality lowered", "path 0.6 Mbit/s") in told
    assert any(event.endswith("raised") for event, _ in told)
    ours = [(event.event, event.detail) for event in sent.quality_changes]
    assert ours[: len(told)] == told
    assert {line.receiver for line in sent.paths} == {1}
    assert {line.receiver for line in shown.paths} == {None}


async def test_auto_goes_over_to_whole_colour_and_back_as_the_path_allows_and_shows_nothing_wrong(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    rate = 60_000_000

    def path(_link: MemoryLink) -> PathEstimate:
        return PathEstimate(rate, 10_000_000, 0, 0.0, True)

    monkeypatch.setattr(MemoryLink, "path", property(path))
    monkeypatch.setattr("sender.streamcodec.STAND_NS", 200_000_000)
    monkeypatch.setattr("sender.streamcodec.REST_NS", 200_000_000)
    logs = tmp_path / "s.jsonl", tmp_path / "r.jsonl"
    journals = SenderJournal(JsonLinesLog(logs[0])), ReceiverJournal(JsonLinesLog(logs[1]))
    reference, codecs = Reference(), list[str]()
    feed = Feed(make=ENDOSCOPY.picture, interval_s=0.02)
    settings = SenderSettings(codec="auto", device="cpu", fps=50.0, quality=50)
    damage = FrameImpairment(seed=3, loss=0.02)
    async with in_memory(
        monkeypatch, feed.frames(), settings, to_receiver=damage, journals=journals
    ) as (sender, receiver):
        reference.follow(sender)
        async for frame in receiver:
            assert reference.matches(frame), f"frame {frame.frame.index} is corrupted"
            if not codecs or codecs[-1] != frame.codec:
                codecs.append(frame.codec)
            if frame.codec == "h264-444":
                rate = 300_000
            elif len(codecs) == 3:
                break
    assert codecs == ["h264", "h264-444", "h264"]
    for log in logs:
        told = [event.event for event in read_log(log).events]
        changes = [event for event in told if event.startswith("codec changed")]
        assert changes == ["codec changed to h264-444", "codec changed to h264"]
    assert journals[1].drops.get(DropReason.DECODE_FAILED, 0) == 0


async def test_a_frozen_picture_comes_once_more_bit_for_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    feed = Feed(make=ULTRASOUND.picture)
    settings = SenderSettings(codec="h264", device="cpu")
    async with in_memory(monkeypatch, feed.frames(), settings) as (_, receiver):
        async for frame in receiver:
            if frame.frame.index >= 10:
                assert frame.psnr_db is not None
                still = await receiver.still(frame.frame.index)
                assert still is not None
                assert still.psnr_db is None
                assert np.array_equal(still.frame.image, ULTRASOUND.picture(frame.frame.index))
                break


async def test_the_strip_in_the_picture_agrees_with_what_the_log_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    feed = Feed(make=ULTRASOUND.picture, count=20)
    settings = SenderSettings(codec="h264", device="cpu", strip=True, bitrate_bps=2_000_000)
    count = 0
    async with in_memory(monkeypatch, feed.frames(), settings) as (_, receiver):
        async for frame in receiver:
            now_ns = time.monotonic_ns()
            strip = read_strip(frame.frame.image)
            assert strip is not None
            assert strip.index == frame.frame.index
            assert frame.latency_ms is not None and frame.latency_bound_ms is not None
            by_picture_ms = (now_ns - strip.captured_at_ns) / 1e6
            assert by_picture_ms >= frame.latency_ms - frame.latency_bound_ms - 0.001
            count += 1
    assert count >= 10


async def test_h264_over_real_peers_loses_nothing_and_its_stages_add_up(
    ends: Ends, tmp_path: Any
) -> None:
    log = tmp_path / "r.jsonl"
    reference, shown = Reference(), 0
    feed = Feed(make=ULTRASOUND.picture, count=60, interval_s=0.03)
    async with (
        asyncio.timeout(LIMIT_S),
        SenderSession(feed.frames(), ends.sending(codec="h264")) as sender,
    ):
        reference.follow(sender)
        journal = ReceiverJournal(JsonLinesLog(log))
        async with ReceiverSession(
            str(sender.code), ends.receiving(playout_delay_ms=1.0), journal=journal
        ) as receiver:
            async for frame in receiver:
                assert reference.matches(frame)
                assert frame.codec == "h264"
                shown += 1
        await sender.finished()
    assert shown >= 30
    for line in read_log(log).frames:
        assert isinstance(line, FrameLine)
        stages = line.stages_ms.model_dump()
        assert None not in stages.values()
        assert sum(stages.values()) == pytest.approx(line.latency_ms, abs=0.02)
