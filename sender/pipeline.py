"""A frame's way through the sender: mask -> (scale) -> encode -> seal, with the time of every step.

Synchronous and run in one worker thread of the session, since codecs, the keystream and the AEAD
are all work for a processor.  It owns the epoch in force, so that no frame is ever sealed under
two.  It refuses to seal when the epoch is too old.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

import cv2
import numpy as np

from sender.masks.rectangles import apply_masks, share_hidden
from shared.codecs import Encoder, EncoderTarget, open_encoder
from shared.crypto.keyschedule import EpochKeys, SenderSchedule
from shared.crypto.sealing import Sealer
from shared.errors import BadInput
from shared.frame import MIN_SIDE, EncodedFrame, Frame, Image, Rect, checked_image
from shared.keystream.ahead import KeystreamAhead
from shared.keystream.backend import Backend
from shared.quality import PEAK, psnr_db
from shared.strip import draw_strip, strip_fits
from shared.wire import STAGES, FrameMetadata, pack_inner

__all__ = [
    "MAX_BYTES",
    "MAX_PICTURES",
    "RecentPictures",
    "SealedFrame",
    "SealingPipeline",
    "scaled_size",
]

MAX_EARLY_NS = 1_000_000_000  # a stamp taken a moment ahead is rounded to now
MAX_LATE_NS = 3600 * 1_000_000_000  # nothing waits for an hour; a source may stand still for days
MOST_US = 2**32 - 1  # the wire has room for 71 minutes


MAX_PICTURES = 60  # a person who freezes the picture means one of a moment ago: 2 s at 30 fps
MAX_BYTES = 128 * 1024 * 1024  # 0.7 s of 1920x1080 RGB at 30 fps


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    index: int
    captured_at_ns: int
    image: Image
    masks: tuple[Rect, ...]  # which `image` has already


class RecentPictures:
    """The last few pictures as they were before encoding, in case one is asked for once more,
    lossless; by frame index, and safe to use from several threads.

    They are masked already, and what was hidden of any picture after them is hidden of them too:
    text stands in several pictures before it is found.  What is kept is bounded in number and in
    bytes; the oldest goes first.
    """

    def __init__(self) -> None:
        self._pictures: deque[_Kept] = deque()
        self._nbytes = 0
        self._lock = threading.Lock()

    def add(
        self, index: int, captured_at_ns: int, image: Image, masks: tuple[Rect, ...] = ()
    ) -> None:
        """Keep the picture of frame `index`, of which `masks` are hidden.

        It is not copied, and must not be written to.
        """
        with self._lock:
            self._pictures.append(_Kept(index, captured_at_ns, image, masks))
            self._nbytes += image.nbytes
            while len(self._pictures) > 1 and (
                len(self._pictures) > MAX_PICTURES or self._nbytes > MAX_BYTES
            ):
                self._nbytes -= self._pictures.popleft().image.nbytes

    def get(self, index: int) -> tuple[int, Image] | None:
        """The capture time and the picture of frame `index`, if it is still held.

        All that was hidden of any picture since is hidden of it.  None, too, where a picture since
        has another size or is hidden whole: what of this one should be hidden is not known then.
        """
        with self._lock:
            kept = list(self._pictures)
        at = next((at for at, picture in enumerate(kept) if picture.index == index), None)
        if at is None:
            return None
        picture = kept[at]
        height, width = picture.image.shape[:2]
        # Those of pictures that follow each other are the same, nearly always.
        masks = dict.fromkeys(later.masks for later in kept[at + 1 :] if later.masks)
        masks.pop(picture.masks, None)
        since = tuple(dict.fromkeys(rect for rects in masks for rect in rects))
        whole = Rect(0, 0, width, height)
        if any(later.image.shape[:2] != (height, width) for later in kept[at + 1 :]):
            return None
        if any(share_hidden(rects, whole) == 1 for rects in masks):
            return None
        return picture.captured_at_ns, apply_masks(picture.image, since)


@dataclass(frozen=True, slots=True)
class SealedFrame:
    """One frame ready to be sent; `stages_us` are consecutive and start at `captured_at_ns`.

    `depends_on` is the index of the frame that a receiver must have decoded just before.  A `still`
    is a picture sent once more on request, a `repeated` one for want of a new one.
    """

    index: int
    epoch: int
    counter: int
    captured_at_ns: int
    sealed_at_ns: int
    encoded: EncodedFrame
    sealed: bytes
    stages_us: dict[str, int]
    depends_on: int | None = None
    still: bool = False
    repeated: bool = False


class SealingPipeline:
    """Turns frames into sealed bytes under the epoch in force.

    With `strip` each picture's index and capture time are drawn into it (`shared.strip`), if it is
    large enough.  An encoder must be given by `encode_with` before the first frame.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        sender: int,
        strip: bool = False,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._encoder: Encoder | None = None
        self._backend = backend
        self._sender = sender
        self._strip = strip
        self._clock_ns = clock_ns
        self._epoch: _Epoch | None = None
        self.encoded_index: int | None = None
        """The frame that was encoded last: who was sent it can decode the next one."""
        self.epoch: int | None = None
        """The number of the epoch in force, or None before the first."""
        self._recent = RecentPictures()
        self._still_encoder: Encoder | None = None

    def encode_with(self, encoder: Encoder) -> None:
        """Encode with `encoder` from the next frame on, which will be key."""
        self._encoder = encoder

    def enter_epoch(self, schedule: SenderSchedule, epoch: int) -> None:
        """Put `epoch` of `schedule` in force for every frame from now on.

        Raises `BadInput` unless it is newer than the one in force: counters begin again at 0.
        """
        if self._epoch is not None and epoch <= self._epoch.number:
            raise BadInput("an epoch must be newer than the one in force")
        keys = schedule.keys(epoch, self._clock_ns())
        ahead = KeystreamAhead(self._backend.keyed(keys.keystream_key))
        previous, self._epoch = self._epoch, _Epoch(keys, self._sender, ahead, schedule)
        self.epoch = epoch
        if previous is not None:
            previous.ahead.close()

    def process(
        self,
        frame: Frame,
        *,
        key: bool = False,
        target: EncoderTarget | None = None,
        scale: Fraction = Fraction(1),
    ) -> SealedFrame:
        """Mask, scale, encode and seal `frame`.

        With `key` it will decode on its own.  `target` (None: as before) is what the encoder aims
        at from now on.  Raises `BadInput` for a picture that no codec here takes, `UnknownEpoch`
        once the epoch in force is too old to seal under.
        """
        epoch = self._epoch
        encoder = self._encoder
        if epoch is None or encoder is None:
            raise BadInput("no epoch is in force: nothing can be sealed yet")
        taken_up = self._clock_ns()
        _check_capture_time(frame, taken_up)
        epoch.schedule.keys(epoch.number, taken_up)
        image = checked_image(frame.image)
        if frame.masks:
            image = apply_masks(image, frame.masks)
        if self._strip and strip_fits(image):
            image = image if frame.masks else image.copy()
            draw_strip(image, frame.index, frame.captured_at_ns)
        masked = self._clock_ns()
        if target is not None:
            encoder.retarget(target)
        smaller = _scaled(image, scale)
        encoded = encoder.encode(smaller, key=key)
        depends_on = None if encoded.key else self.encoded_index
        self.encoded_index = frame.index
        if smaller is not image:
            encoded = replace(encoded, psnr_db=_psnr_of_both(image, smaller, encoded.psnr_db))
        self._recent.add(frame.index, frame.captured_at_ns, image, frame.masks)
        encoded_at = self._clock_ns()
        stages_us = {
            "capture": min(max(0, taken_up - frame.captured_at_ns) // 1000, MOST_US),
            "mask": (masked - taken_up) // 1000,
            "encode": (encoded_at - masked) // 1000,
        }
        metadata = FrameMetadata(
            index=frame.index,
            captured_at_ns=frame.captured_at_ns,
            codec=encoded.codec,
            width=encoded.width,
            height=encoded.height,
            channels=encoded.channels,
            psnr_db=encoded.psnr_db,
            stages_us=dict(stages_us),
            depends_on=depends_on,
            repeated=frame.repeated,
        )
        return self._seal(epoch, metadata, encoded, stages_us, encoded_at)

    def encode_still(self, index: int) -> tuple[FrameMetadata, EncodedFrame] | None:
        """The picture of frame `index` as it was given to the encoder, lossless and in full size.

        What is hidden of the pictures after it is hidden of it too.  None if it is not held any
        more, or if what should be hidden of it is not known any more.  May be called from any
        thread, one at a time: it takes tens of milliseconds, in which the stream goes on.
        """
        recent = self._recent.get(index)
        if recent is None:
            return None
        if self._still_encoder is None:
            self._still_encoder = open_encoder("lossless")
        captured_at_ns, image = recent
        if self._strip and strip_fits(image):  # something may be hidden there by now
            image = image.copy()
            draw_strip(image, index, captured_at_ns)
        encoded = self._still_encoder.encode(image, key=True)
        metadata = FrameMetadata(
            index=index,
            captured_at_ns=captured_at_ns,
            codec=encoded.codec,
            width=encoded.width,
            height=encoded.height,
            channels=encoded.channels,
            psnr_db=encoded.psnr_db,
            stages_us=dict.fromkeys(STAGES, 0),
            still=True,
        )
        return metadata, encoded

    def seal_still(self, metadata: FrameMetadata, encoded: EncodedFrame) -> SealedFrame:
        """Seal what `encode_still` made, under the epoch in force; for the pipeline's thread."""
        epoch = self._epoch
        if epoch is None:
            raise BadInput("no epoch is in force: nothing can be sealed yet")
        now_ns = self._clock_ns()
        epoch.schedule.keys(epoch.number, now_ns)
        return self._seal(epoch, metadata, encoded, {}, now_ns)

    def _seal(
        self,
        epoch: _Epoch,
        metadata: FrameMetadata,
        encoded: EncodedFrame,
        stages_us: dict[str, int],
        encoded_at: int,
    ) -> SealedFrame:
        inner = pack_inner(metadata, encoded.payload)
        pad = epoch.sealer.draw(len(inner))
        if metadata.still:
            epoch.ahead.disregard_last()
        drawn_at = self._clock_ns()
        sealed = epoch.sealer.seal(pad, inner)
        sealed_at = self._clock_ns()
        stages_us["keystream"] = (drawn_at - encoded_at) // 1000
        stages_us["seal"] = (sealed_at - drawn_at) // 1000
        return SealedFrame(
            index=metadata.index,
            epoch=epoch.number,
            counter=pad.counter,
            captured_at_ns=metadata.captured_at_ns,
            sealed_at_ns=sealed_at,
            encoded=encoded,
            sealed=sealed,
            stages_us=stages_us,
            depends_on=metadata.depends_on,
            still=metadata.still,
            repeated=metadata.repeated,
        )

    def close(self) -> None:
        """Forget the keys and stop the keystream's worker."""
        epoch, self._epoch, self.epoch = self._epoch, None, None
        if epoch is not None:
            epoch.ahead.close()


def scaled_size(width: int, height: int, scale: Fraction) -> tuple[int, int]:
    """Width and height times `scale`: below 1 even numbers of at least 16 pixels."""
    if scale == 1:
        return width, height
    across, down = (max(MIN_SIDE, 2 * round(side * scale / 2)) for side in (width, height))
    return across, down


def _scaled(image: Image, scale: Fraction) -> Image:
    """`image` with sides of `scale` times its own."""
    if scale == 1:
        return image
    size = scaled_size(image.shape[1], image.shape[0], scale)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _psnr_of_both(image: Image, smaller: Image, coded_db: float | None) -> float | None:
    """The PSNR of a picture that was made smaller and then coded, against itself.

    What is lost by each is added, as independent errors are: the decoded picture enlarged again
    is not to be had here.
    """
    height, width = image.shape[:2]
    enlarged = cv2.resize(smaller, (width, height), interpolation=cv2.INTER_LINEAR)
    scaled_db = psnr_db(image, np.asarray(enlarged, np.uint8))
    known = [db for db in (scaled_db, coded_db) if db is not None]
    if not known:
        return None
    error = sum(PEAK**2 / 10 ** (db / 10) for db in known)
    return float(10 * np.log10(PEAK**2 / error))


def _check_capture_time(frame: Frame, now_ns: int) -> None:
    age_ns = now_ns - frame.captured_at_ns
    if age_ns < -MAX_EARLY_NS or (age_ns > MAX_LATE_NS and not frame.repeated):
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
