"""A session may last for days: what a receiver keeps of each frame does not add up."""

from __future__ import annotations

import gc
import tracemalloc

from receiver.journal import ReceiverJournal
from receiver.ledger import Ledger
from receiver.pipeline import OpeningPipeline
from shared.clock import ClockEstimate
from shared.codecs import open_encoder
from shared.control import TimingRow
from shared.crypto.keyschedule import EpochSecret, derive_epoch
from shared.crypto.sealing import Sealer
from shared.link import ReceivedFrame
from shared.telemetry.records import DropReason
from shared.wire import SENDER_ID, FrameMetadata, pack_inner
from tests.doubles import ShakeBackend, ShakeGenerator, SteppingClock, picture

INTERVAL_NS = 33_000_000
FRAMES_AN_EPOCH = 200
CLOCK = ClockEstimate(offset_ns=0, bound_ns=1000, rtt_ns=2000)


class Receiver:
    """Everything that a session does with a frame, without its tasks."""

    def __init__(self) -> None:
        self._clock = SteppingClock()
        self._pipeline = OpeningPipeline(ShakeBackend(), sender=SENDER_ID, clock_ns=self._clock)
        self._ledger = Ledger(began_at_ns=0)
        self.journal = ReceiverJournal(clock_ns=self._clock)
        self._picture = open_encoder("jpeg").encode(picture(0))
        self._index = 0

    def stream(self, frames: int) -> None:
        for _ in range(frames):
            if self._index % FRAMES_AN_EPOCH == 0:
                self._enter_epoch(self._index // FRAMES_AN_EPOCH + 1)
            self._frame(self._index)
            self._index += 1

    def close(self) -> None:
        self._pipeline.close()

    def _enter_epoch(self, epoch: int) -> None:
        keys = derive_epoch(bytes(32), epoch, SENDER_ID)
        self._pipeline.enter_epoch(EpochSecret(epoch, bytes(32), "time"))
        self.journal.epoch_entered(epoch, "time")
        self._sealer = Sealer(keys, SENDER_ID, ShakeGenerator(keys.keystream_key))

    def _frame(self, index: int) -> None:
        self._clock.now_ns = now_ns = (index + 1) * INTERVAL_NS
        size = self._picture.width, self._picture.height, self._picture.channels
        stages = {"capture": 0, "mask": 0, "encode": 0}
        metadata = FrameMetadata(index, now_ns - 20_000_000, "jpeg", *size, 40.0, stages)
        inner = pack_inner(metadata, self._picture.payload)
        sealed = self._sealer.seal(self._sealer.draw(len(inner)), inner)
        (decoded,) = self._pipeline.process(ReceivedFrame(sealed, now_ns)).shown
        self._ledger.arrived(decoded.arrival)
        if index % 7 == 0:
            assert self._ledger.forget(index)
            self.journal.dropped(DropReason.SUPERSEDED, index)
            return
        line = self._ledger.shown(index, now_ns, CLOCK)
        assert line is not None
        self.journal.counted(line)
        epoch, counter = decoded.arrival.key
        figures = {"keystream_us": 1, "seal_us": 1, "send_us": 1}
        late = TimingRow(epoch=epoch, counter=counter, **figures)
        early = TimingRow(epoch=epoch, counter=counter + 1, **figures)
        self._ledger.timed([late, early])
        for whole in self._ledger.take():
            self.journal.write(whole)


def test_a_receiver_takes_no_more_memory_the_longer_the_stream() -> None:
    receiver = Receiver()
    tracemalloc.start()
    try:
        receiver.stream(5 * FRAMES_AN_EPOCH)  # until all that is bounded is full
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        receiver.stream(4 * FRAMES_AN_EPOCH)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        receiver.close()
    assert after - before < 20_000  # 25 bytes a frame: less than any object takes
