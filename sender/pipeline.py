"""A frame's way through the sender: mask -> encode -> seal, with the time of every step.

Synchronous and run in one worker thread of the session, since codecs, the keystream and the AEAD
are all work for a processor.  It owns the epoch in force, so that no frame is ever sealed under
two.  It refuses to seal when the epoch is too old.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sender.privacy import Rect, apply_masks
from shared.codecs import Encoder
from shared.crypto.keyschedule import EpochKeys, SenderSchedule
from shared.crypto.sealing import Sealer
from shared.errors import BadInput
from shared.frame import EncodedFrame, Frame, checked_image
from shared.keystream.ahead import KeystreamAhead
from shared.keystream.backend import Backend
from shared.wire import FrameMetadata, pack_inner

__all__ = ["Pipeline", "SealedFrame"]

MAX_EARLY_NS = 1_000_000_000  # a stamp taken a moment ahead is rounded to now
MAX_LATE_NS = 3600 * 1_000_000_000  # the wire has room for 71 minutes


@dataclass(frozen=True, slots=True)
class SealedFrame:
    """One frame ready to be sent; `stages_us` are consecutive and start at `captured_at_ns`."""

    index: int
    epoch: int
    counter: int
    captured_at_ns: int
    sealed_at_ns: int
    encoded: EncodedFrame
    sealed: bytes
    stages_us: dict[str, int]


class Pipeline:
    """Turns frames into sealed bytes under the epoch in force."""

    def __init__(
        self,
        encoder: Encoder,
        backend: Backend,
        *,
        sender: int,
        masks: Sequence[Rect] = (),
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._encoder = encoder
        self._backend = backend
        self._sender = sender
        self._masks = tuple(masks)
        self._clock_ns = clock_ns
        self._epoch: _Epoch | None = None

    @property
    def epoch(self) -> int | None:
        """The number of the epoch in force, or None before the first."""
        return None if self._epoch is None else self._epoch.number

    def enter_epoch(self, schedule: SenderSchedule, epoch: int) -> None:
        """Put `epoch` of `schedule` in force for every frame from now on.

        Raises `BadInput` unless it is newer than the one in force: counters begin again at 0.
        """
        if self._epoch is not None and epoch <= self._epoch.number:
            raise BadInput("an epoch must be newer than the one in force")
        keys = schedule.keys(epoch, self._clock_ns())
        ahead = KeystreamAhead(self._backend.keyed(keys.keystream_key))
        previous, self._epoch = self._epoch, _Epoch(keys, self._sender, ahead, schedule)
        if previous is not None:
            previous.ahead.close()

    def process(self, frame: Frame) -> SealedFrame:
        """Mask, encode and seal `frame`.

        Raises `BadInput` for a picture that no codec here takes, `UnknownEpoch` once the epoch in
        force is too old to seal under.
        """
        epoch = self._epoch
        if epoch is None:
            raise BadInput("no epoch is in force: nothing can be sealed yet")
        taken_up = self._clock_ns()
        _check_capture_time(frame, taken_up)
        epoch.schedule.keys(epoch.number, taken_up)
        image = apply_masks(checked_image(frame.image), self._masks)
        masked = self._clock_ns()
        encoded = self._encoder.encode(image)
        encoded_at = self._clock_ns()
        stages_us = {
            "capture": max(0, taken_up - frame.captured_at_ns) // 1000,
            "mask": (masked - taken_up) // 1000,
            "encode": (encoded_at - masked) // 1000,
        }
        inner = pack_inner(
            FrameMetadata(
                index=frame.index,
                captured_at_ns=frame.captured_at_ns,
                codec=encoded.codec,
                width=encoded.width,
                height=encoded.height,
                channels=encoded.channels,
                psnr_db=encoded.psnr_db,
                stages_us=dict(stages_us),
            ),
            encoded.payload,
        )
        pad = epoch.sealer.draw(len(inner))
        drawn_at = self._clock_ns()
        sealed = epoch.sealer.seal(pad, inner)
        sealed_at = self._clock_ns()
        stages_us["keystream"] = (drawn_at - encoded_at) // 1000
        stages_us["seal"] = (sealed_at - drawn_at) // 1000
        return SealedFrame(
            index=frame.index,
            epoch=epoch.number,
            counter=pad.counter,
            captured_at_ns=frame.captured_at_ns,
            sealed_at_ns=sealed_at,
            encoded=encoded,
            sealed=sealed,
            stages_us=stages_us,
        )

    def close(self) -> None:
        """Forget the keys and stop the keystream's worker."""
        epoch, self._epoch = self._epoch, None
        if epoch is not None:
            epoch.ahead.close()


def _check_capture_time(frame: Frame, now_ns: int) -> None:
    if not -MAX_EARLY_NS <= now_ns - frame.captured_at_ns <= MAX_LATE_NS:
        raise BadInput(
            "a frame's capture time is not of this machine's monotonic clock",
            hint="stamp frames with time.monotonic_ns() at the moment of capture",
        )


class _Epoch:
    def __init__(
        self, keys: EpochKeys, sender: int, ahead: KeystreamAhead, schedule: SenderSchedule
    ) -> None:
        self.number = keys.epoch
        self.ahead = ahead
        self.schedule = schedule
        self.sealer = Sealer(keys, sender, ahead)
