"""From a link through the pipeline: in order, in the worker's thread, and never held for ever."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from receiver.pipeline import DecodedFrame, FrameOutcome, OpeningPipeline
from receiver.reception import Reception, patience_ns
from shared import control
from shared.clock import ClockEstimate
from shared.codecs import Encoder, open_encoder
from shared.crypto.keyschedule import EpochSecret, derive_epoch
from shared.crypto.sealing import Sealer
from shared.errors import AuthenticationFailed, FrameRejected, MalformedFrame, PeerGone
from shared.link import ReceivedFrame
from shared.link.memory import MemoryLink, memory_pair
from shared.telemetry.records import DropReason
from shared.wire import SENDER_ID, FrameMetadata, pack_inner
from tests.doubles import LIMIT_S, ShakeBackend, ShakeGenerator, picture, turns, until

pytestmark = pytest.mark.jumping_clock

SECRET = EpochSecret(1, bytes(32), "start")
PATIENT_NS = 60_000_000_000  # longer than any test
MISSING = DropReason.MISSING_REFERENCE


class WatchedPipeline(OpeningPipeline):
    """Notes how long each frame may be held, and where the work is done."""

    def __init__(self) -> None:
        super().__init__(ShakeBackend(), sender=SENDER_ID)
        self.patience: list[int] = []
        self.threads: set[str] = set()
        self.outcomes: list[FrameOutcome] = []
        self.rejected: list[FrameRejected] = []

    def process(self, received: ReceivedFrame, patience_ns: int = 0) -> FrameOutcome:
        self.patience.append(patience_ns)
        self.threads.add(threading.current_thread().name)
        try:
            return self._noted(super().process(received, patience_ns))
        except FrameRejected as error:
            self.rejected.append(error)
            raise

    def expire(self) -> FrameOutcome:
        self.threads.add(threading.current_thread().name)
        return self._noted(super().expire())

    def _noted(self, outcome: FrameOutcome) -> FrameOutcome:
        self.outcomes.append(outcome)
        return outcome


@dataclass
class Surroundings:
    """What a reception tells of frames, all in one."""

    link: MemoryLink
    awaited: int | None = None
    handed_over: list[int] = field(default_factory=list)
    counted: list[DropReason] = field(default_factory=list)
    asked: list[control.ControlMessage] = field(default_factory=list)

    def dropped(self, reason: DropReason, _index: int | None = None) -> None:
        self.counted.append(reason)

    def hand_over(self, decoded: DecodedFrame) -> None:
        self.handed_over.append(decoded.metadata.index)

    def send(self, message: control.ControlMessage) -> None:
        self.asked.append(message)


@dataclass
class Bench:
    """A reception at work, and the sender's end of its link."""

    sender: MemoryLink
    receiver: MemoryLink
    pipeline: WatchedPipeline
    reception: Reception
    running: asyncio.Task[None]
    around: Surroundings
    _sealer: Sealer = field(init=False)
    _encoder: Encoder = field(init=False, default_factory=lambda: open_encoder("lossless"))

    def __post_init__(self) -> None:
        keys = derive_epoch(SECRET.secret, SECRET.epoch, SENDER_ID)
        self._sealer = Sealer(keys, SENDER_ID, ShakeGenerator(keys.keystream_key))

    @property
    def outcomes(self) -> list[FrameOutcome]:
        return self.pipeline.outcomes

    @property
    def rejected(self) -> list[FrameRejected]:
        return self.pipeline.rejected

    @property
    def shown(self) -> list[int]:
        return [shown.metadata.index for o in self.outcomes for shown in o.shown]

    @property
    def dropped(self) -> list[tuple[DropReason, int]]:
        return [one for outcome in self.outcomes for one in outcome.dropped]

    def sealed(self, index: int, on: int | None = None) -> bytes:
        encoded = self._encoder.encode(picture(index), key=on is None)
        assert encoded.key == (on is None)
        size = encoded.width, encoded.height, encoded.channels
        stages = {"capture": 0, "mask": 0, "encode": 0}
        metadata = FrameMetadata(
            index, 0, "lossless", *size, encoded.psnr_db, stages, depends_on=on
        )
        inner = pack_inner(metadata, encoded.payload)
        return self._sealer.seal(self._sealer.draw(len(inner)), inner)

    async def send(self, *frames: bytes) -> None:
        for frame in frames:
            await self.sender.writable()
            await self.sender.send_frame(frame)

    async def becomes(self, condition: Callable[[], bool]) -> None:
        await until(lambda: condition() or self.running.done())
        assert condition()


@asynccontextmanager
async def receiving() -> AsyncIterator[Bench]:
    sender, receiver = memory_pair(lost_after_s=LIMIT_S)
    receiver.accept_frames()
    pipeline = WatchedPipeline()
    pipeline.enter_epoch(SECRET)
    around: Any = Surroundings(receiver)
    worker = ThreadPoolExecutor(1, thread_name_prefix="worker")
    reception = Reception(around, pipeline, worker, journal=around, showing=around, stills=around)
    running = asyncio.create_task(reception.run())
    try:
        async with asyncio.timeout(LIMIT_S):
            await sender.connected()
            yield Bench(sender, receiver, pipeline, reception, running, around)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await reception.stop()
        await sender.close()
        await receiver.close()
        worker.shutdown()
        pipeline.close()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held waits for what it builds on, and for nothing else."""
    monkeypatch.setattr("receiver.reception.MIN_PATIENCE_NS", PATIENT_NS)
    monkeypatch.setattr("receiver.reception.MAX_PATIENCE_NS", PATIENT_NS)


async def test_frames_are_opened_and_decoded_in_the_workers_thread_in_their_order() -> None:
    async with receiving() as bench:
        for index in range(5):
            await bench.send(bench.sealed(index))
        await bench.becomes(lambda: len(bench.outcomes) == 5)
        assert bench.shown == [0, 1, 2, 3, 4]
        assert bench.pipeline.threads == {"worker_0"}


async def test_a_frame_that_is_refused_is_told_as_such_and_the_next_one_comes() -> None:
    async with receiving() as bench:
        altered = bytearray(bench.sealed(0))
        altered[-1] ^= 1
        await bench.send(bytes(altered), b"no frame", bench.sealed(1))
        await bench.becomes(lambda: bool(bench.outcomes))
        assert [type(error) for error in bench.rejected] == [AuthenticationFailed, MalformedFrame]
        assert bench.shown == [1]


async def test_it_ends_as_the_link_does() -> None:
    async with receiving() as bench:
        await bench.sender.close()
        assert await bench.running is None
    async with receiving() as bench:
        bench.receiver.kill()
        with pytest.raises(PeerGone):
            await bench.running


async def test_a_frame_is_held_by_the_round_trip_of_the_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SimpleNamespace(estimate=None)
    async with receiving() as bench:
        monkeypatch.setattr(bench.receiver, "clock", clock)
        for index, rtt_ns in enumerate((None, 60_000_000, 90_000_000)):
            if rtt_ns is not None:
                clock.estimate = ClockEstimate(offset_ns=0, bound_ns=0, rtt_ns=rtt_ns)
            await bench.send(bench.sealed(index))
            await bench.becomes(lambda index=index: len(bench.outcomes) == index + 1)
        known = [patience_ns(rtt_ns) for rtt_ns in (0, 60_000_000, 90_000_000)]
        assert bench.pipeline.patience == known
        assert len(set(known)) == 3


async def test_a_frame_is_held_until_its_reference_comes(patient: None) -> None:
    async with receiving() as bench:
        zero, one, two = bench.sealed(0), bench.sealed(1, on=0), bench.sealed(2, on=1)
        await bench.send(zero, two)
        await bench.becomes(lambda: len(bench.outcomes) == 2)
        emptied = asyncio.create_task(bench.reception.emptied())
        await turns()
        assert bench.shown == [0]
        await bench.send(one)
        await bench.becomes(lambda: bench.shown == [0, 1, 2])
        assert bench.dropped == []
        await bench.reception.emptied()  # at once: the time of what was held counts no more
        emptied.cancel()


async def test_a_frame_whose_reference_never_comes_is_given_up_without_another_one_coming() -> None:
    async with receiving() as bench:
        zero, _, two, three = (bench.sealed(i, on=i - 1 if i else None) for i in range(4))
        await bench.send(zero, two, three)
        await bench.becomes(lambda: len(bench.dropped) == 2)
        assert bench.dropped == [(MISSING, 2), (MISSING, 3)]
        assert bench.outcomes[-1].wants_key == 3
        # And so is one that comes later: it is waited for anew.
        await bench.send(bench.sealed(4))
        await bench.send(bench.sealed(6, on=5))
        await bench.becomes(lambda: len(bench.dropped) == 3)
        assert bench.dropped[-1] == (MISSING, 6)
        assert bench.pipeline.threads == {"worker_0"}


async def test_at_the_end_it_is_waited_until_nothing_is_held() -> None:
    async with receiving() as bench:
        await bench.reception.emptied()  # nothing was
        zero, two = bench.sealed(0), bench.sealed(2, on=1)
        await bench.send(zero, two)
        await bench.sender.close()
        await bench.running
        await bench.reception.emptied()
        assert bench.dropped == [(MISSING, 2)]


async def test_once_stopped_nothing_more_is_given_up() -> None:
    async with receiving() as bench:
        await bench.send(bench.sealed(0), bench.sealed(2, on=1))
        await bench.becomes(lambda: len(bench.outcomes) == 2)
        tasks = asyncio.all_tasks()
        await bench.reception.stop()
        await bench.reception.stop()
        assert len(asyncio.all_tasks()) == len(tasks) - 1
        assert bench.dropped == []
