"""A frame's way from decoded to seen: when it is due, how old it is, and that it counts once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from receiver import showing as showing_module
from receiver.journal import ReceiverJournal
from receiver.pipeline import DecodedFrame, Receipt
from receiver.showing import CATCH_UP_MOST_NS, Showing
from shared.clock import ClockEstimate
from shared.control import TimingRow
from shared.link import Link
from shared.telemetry.log import JsonLinesLog
from shared.telemetry.reader import SessionLog, read_log
from shared.telemetry.records import DropReason, FrameLine, KeystreamIdentity
from shared.wire import FrameMetadata

MS = 1_000_000
NOW_NS = 10**15
CLOCK = ClockEstimate(offset_ns=500 * MS, bound_ns=2 * MS, rtt_ns=4 * MS)
DELAY_MS = 40.0
IDENTITY = KeystreamIdentity(family="bp", digest="ab" * 32, backend="cpu")
LIMIT_S = 30.0


@dataclass
class _Clock:
    estimate: ClockEstimate | None = CLOCK


@dataclass
class _Link:
    clock: _Clock = field(default_factory=_Clock)


class Shower:
    """A `Showing` at a moment that stands still, and what it has written down."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.link = _Link()
        self.journal = ReceiverJournal(JsonLinesLog(path))
        self.journal.session_started("7f3a", IDENTITY)

    def showing(self, delay_ms: float = 0.0) -> Showing:
        return Showing(cast(Link, self.link), self.journal, delay_ms)

    def read(self) -> SessionLog:
        self.journal.close()
        return read_log(self._path)


@pytest.fixture
def shower(tmp_path: Path) -> Iterator[Shower]:
    made = Shower(tmp_path / "receiver.jsonl")
    yield made
    made.journal.close()


@pytest.fixture
def due(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """When the frames are due that are given a moment, while the time is `NOW_NS`."""
    moments: list[int] = []

    class Clock:
        @staticmethod
        def monotonic_ns() -> int:
            return NOW_NS

    def put_at(_self: object, _decoded: object, due_ns: int, _nbytes: int) -> None:
        moments.append(due_ns)

    monkeypatch.setattr(showing_module, "time", Clock)
    monkeypatch.setattr(showing_module.Handover, "put_at", put_at)
    return moments


def decoded(index: int, *, captured_at_ns: int = NOW_NS) -> DecodedFrame:
    """Captured at that moment of this machine's clock, by the clock of the sender."""
    stages = {"capture": 100, "mask": 200, "encode": 3000}
    stamp_ns = captured_at_ns + CLOCK.offset_ns
    metadata = FrameMetadata(index, stamp_ns, "jpeg", 4, 4, 1, 41.5, stages)
    times = (captured_at_ns + at_ms * MS for at_ms in (10, 11, 12, 13))
    arrival = Receipt((1, index), metadata, len(b"sealed"), *times)
    return DecodedFrame(arrival, np.zeros((4, 4), np.uint8), b"sealed")


def timing(index: int) -> TimingRow:
    return TimingRow(counter=index, epoch=1, keystream_us=50, seal_us=150, send_us=1500)


def frame_lines(log: SessionLog) -> list[FrameLine]:
    return [line for line in log.frames if isinstance(line, FrameLine)]


async def taken(showing: Showing) -> DecodedFrame:
    async with asyncio.timeout(LIMIT_S):
        return await showing.handover.get()


async def test_without_a_delay_a_frame_is_handed_over_at_once(
    shower: Shower, due: list[int]
) -> None:
    showing, frame = shower.showing(), decoded(0)
    showing.hand_over(frame)
    assert await taken(showing) is frame
    assert due == []


def test_a_frame_is_due_its_delay_after_it_was_captured_by_this_machines_clock(
    shower: Shower, due: list[int]
) -> None:
    shower.showing(DELAY_MS).hand_over(decoded(0, captured_at_ns=NOW_NS - 25 * MS))
    assert due == [NOW_NS + 15 * MS]


def test_a_stamp_of_the_future_holds_a_frame_no_longer_than_the_delay(
    shower: Shower, due: list[int]
) -> None:
    shower.showing(DELAY_MS).hand_over(decoded(0, captured_at_ns=NOW_NS + 3_600_000 * MS))
    assert due == [NOW_NS + 40 * MS]


async def test_a_frame_that_waits_is_handed_over_once_it_is_due(shower: Shower) -> None:
    showing, frame = shower.showing(DELAY_MS), decoded(0, captured_at_ns=time.monotonic_ns())
    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
        playing = group.create_task(showing.handover.play())
        showing.hand_over(frame)
        assert await showing.handover.get() is frame
        playing.cancel()


def test_a_frame_is_presented_with_its_age_and_how_far_that_may_be_off(shower: Shower) -> None:
    frame = decoded(7)
    presented = shower.showing().present(frame, NOW_NS + 30 * MS)
    assert (presented.frame.index, presented.frame.captured_at_ns) == (7, NOW_NS)
    assert presented.frame.image is frame.image
    assert (presented.latency_ms, presented.latency_bound_ms) == (30.0, 2.0)
    assert (presented.psnr_db, presented.epoch, presented.codec) == (41.5, 1, "jpeg")
    assert presented.sealed == b"sealed"


def test_while_the_senders_clock_is_not_known_a_frame_counts_and_has_no_age(
    shower: Shower, due: list[int]
) -> None:
    shower.link.clock.estimate = None
    showing = shower.showing(DELAY_MS)
    frame = decoded(0)
    showing.hand_over(frame)
    assert due == [NOW_NS + 40 * MS]
    presented = showing.present(frame, NOW_NS)
    assert (presented.latency_ms, presented.latency_bound_ms) == (None, None)
    showing.shown(0, NOW_NS)
    showing.timed([timing(0)])
    showing.write_lines(everything=True)
    assert shower.journal.frames == 1
    [line] = frame_lines(shower.read())
    assert (line.latency_ms, line.latency_bound_ms, line.stages_ms.network) == (None, None, None)
    assert line.stages_ms.decode == 1.0


def test_a_frame_that_was_shown_gives_one_line_and_counts_once(shower: Shower) -> None:
    showing = shower.showing()
    showing.hand_over(decoded(0))
    showing.timed([timing(0)])
    for at_ms in (20, 25):
        showing.shown(0, NOW_NS + at_ms * MS)
    assert shower.journal.frames == 1
    [line] = frame_lines(shower.read())
    assert (line.frame, line.latency_ms, line.latency_bound_ms) == (0, 20.0, 2.0)
    assert line.bytes == len(b"sealed")


def test_a_frame_that_was_never_handed_over_counts_nothing(shower: Shower) -> None:
    showing = shower.showing()
    showing.shown(5, NOW_NS)
    showing.replaced(5)
    assert (shower.journal.frames, shower.journal.drops) == (0, {})


@pytest.mark.parametrize("reason", [DropReason.SUPERSEDED, DropReason.FROZEN])
def test_a_frame_that_is_replaced_before_it_was_shown_is_one_drop(
    shower: Shower, reason: DropReason
) -> None:
    showing = shower.showing()
    showing.hand_over(decoded(0))
    for _ in range(2):
        showing.replaced(0, reason)
    showing.shown(0, NOW_NS + 20 * MS)
    assert shower.journal.drops == {reason: 1}
    log = shower.read()
    assert [(drop.index, drop.reason) for drop in log.drops] == [(0, reason)]
    assert frame_lines(log) == []


def test_a_frame_that_is_replaced_after_it_was_shown_is_no_drop(shower: Shower) -> None:
    showing = shower.showing()
    showing.hand_over(decoded(0))
    showing.shown(0, NOW_NS + 20 * MS)
    showing.replaced(0)
    assert (shower.journal.frames, shower.journal.drops) == (1, {})


async def test_a_frame_that_nobody_takes_gives_way_to_the_next_and_is_a_drop(
    shower: Shower,
) -> None:
    showing = shower.showing()
    for index in range(3):
        showing.hand_over(decoded(index))
    assert (await taken(showing)).metadata.index == 2
    assert shower.journal.drops == {DropReason.SUPERSEDED: 2}


def test_a_line_is_written_once_the_sender_has_told_its_part(shower: Shower) -> None:
    written: list[Any] = []
    showing = shower.showing()
    for index in range(2):
        showing.hand_over(decoded(index))
        showing.shown(index, NOW_NS + 20 * MS)
    write, shower.journal.write = shower.journal.write, written.append  # type: ignore[method-assign]
    showing.write_lines()
    assert written == []
    showing.timed([timing(1)])
    assert [line.frame for line in written] == [1]
    assert written[0].stages_ms.send == 1.5
    showing.write_lines(everything=True)
    assert [line.frame for line in written] == [1, 0]
    assert written[1].stages_ms.send is None
    shower.journal.write = write  # type: ignore[method-assign]


def test_a_repeated_frame_is_due_after_those_that_wait_and_presented_with_its_true_age(
    shower: Shower, due: list[int]
) -> None:
    frame = decoded(0, captured_at_ns=NOW_NS - 90_000 * MS)
    metadata = replace(frame.metadata, repeated=True)
    frame = replace(frame, arrival=replace(frame.arrival, metadata=metadata))
    showing = shower.showing(DELAY_MS)
    showing.hand_over(frame)
    assert due == [NOW_NS + 40 * MS]
    presented = showing.present(frame, NOW_NS)
    assert presented.frame.repeated
    assert presented.latency_ms == 90_000.0


def run_of(count: int, apart_ms: int = 33) -> list[DecodedFrame]:
    """Frames that had to wait for the first of them, and come at once."""
    return [
        decoded(index, captured_at_ns=NOW_NS - (count - index) * apart_ms * MS)
        for index in range(count)
    ]


async def test_pictures_that_come_at_once_are_shown_one_soon_after_the_other(
    shower: Shower, due: list[int]
) -> None:
    showing, frames = shower.showing(), run_of(4)
    for frame in frames:
        showing.hand_over(frame)
    assert await taken(showing) is frames[0]
    assert due == [NOW_NS + n * CATCH_UP_MOST_NS for n in (1, 2, 3)]


async def test_a_fast_source_is_caught_up_with_at_twice_its_pace(
    shower: Shower, due: list[int]
) -> None:
    showing = shower.showing()
    for frame in run_of(4, apart_ms=4):
        showing.hand_over(frame)
    assert due == [NOW_NS + n * 2 * MS for n in (1, 2, 3)]


async def test_none_of_the_pictures_that_come_at_once_is_lost(shower: Shower) -> None:
    showing, frames = shower.showing(), run_of(3)
    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
        playing = group.create_task(showing.handover.play())
        for frame in frames:
            showing.hand_over(frame)
        assert [await showing.handover.get() for _ in frames] == frames
        playing.cancel()


def test_after_a_pause_a_picture_that_waited_is_a_drop_and_the_next_one_is_shown(
    shower: Shower, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_ns = [NOW_NS]

    class Clock:
        @staticmethod
        def monotonic_ns() -> int:
            return now_ns[0]

    monkeypatch.setattr(showing_module, "time", Clock)
    showing = Showing(cast(Link, shower.link), shower.journal, max_latency_ms=200.0)
    showing.hand_over(decoded(0, captured_at_ns=NOW_NS - 20 * MS))
    showing.shown(0, NOW_NS)
    now_ns[0] += 5_000 * MS
    showing.hand_over(decoded(1, captured_at_ns=NOW_NS + 13 * MS))
    showing.hand_over(decoded(2, captured_at_ns=now_ns[0] - 20 * MS))
    showing.shown(2, now_ns[0])
    assert shower.journal.drops == {DropReason.LATE: 1}
    assert shower.journal.frames == 2
    assert [(drop.index, drop.reason) for drop in shower.read().drops] == [(1, DropReason.LATE)]
