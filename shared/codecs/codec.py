"""What an encoder and a decoder are, whatever the codec.

Neither is thread-safe: an end of a session holds its own and calls it from one thread at a time
(never from the event loop).  Different instances may run at once.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from shared.errors import BadInput
from shared.frame import EncodedFrame, Image

__all__ = [
    "DEFAULT_QUALITY",
    "DEFAULT_TARGET",
    "SPARE_PIXELS_A_CORE",
    "Decoder",
    "Encoder",
    "EncoderTarget",
    "cores",
]

SPARE_PIXELS_A_CORE = 20e6
"""Pixels a second and core up to which pictures may be taken pains with.

H.264's better settings and a decode for the PSNR take 10 ns a pixel of grey, several times that of
colour.  Above, a graphics processor may encode H.264, if there is one.
"""


@lru_cache(maxsize=1)  # it does not change, and is asked for every frame
def cores() -> int:
    """How many processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # not everywhere
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


DEFAULT_QUALITY = 90  # JPEG's scale: about 42 dB on B-mode ultrasound


@dataclass(frozen=True, slots=True)
class EncoderTarget:
    """What an encoder should aim at from the next picture on.

    `bitrate_bps`: payload bits a second (None: as `quality` says); `fps`: pictures a second that
    will be encoded; `quality`: 1 to 100.  Raises `BadInput` for a value out of range.
    """

    bitrate_bps: int | None = None
    fps: float = 30.0
    quality: int = DEFAULT_QUALITY

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise BadInput(f"the quality must be 1 to 100, not {self.quality}")
        if not 0 < self.fps <= 1000:
            raise BadInput(f"an encoder can't aim at {self.fps} frames a second")
        if self.bitrate_bps is not None and self.bitrate_bps <= 0:
            raise BadInput("a bitrate must be above zero")

    @property
    def frame_bytes(self) -> float | None:
        """The bytes that a picture may take on average, or None without a bitrate."""
        return None if self.bitrate_bps is None else self.bitrate_bps / 8 / self.fps


DEFAULT_TARGET = EncoderTarget()


class Encoder(Protocol):
    """Pictures in, payloads out."""

    name: str

    def encode(self, image: Image, *, key: bool = False) -> EncodedFrame:
        """Encode one picture, uint8 `(H, W)` or `(H, W, 3)` RGB, and measure its PSNR.

        `psnr_db` of the result compares the picture with what a decoder will make of the payload.
        With `key` the result decodes on its own; the first picture and one whose size or channel
        count differs from the one before always do.  Raises `BadInput` for a picture that
        `shared.frame.checked_image` refuses.
        """
        ...

    def retarget(self, target: EncoderTarget) -> None:
        """Aim at `target` from the next picture on.

        Cheap enough to call before every picture; makes no key frame if that can be avoided.
        """
        ...


class Decoder(Protocol):
    """Payloads in, pictures out."""

    name: str

    def decode(
        self,
        payload: bytes | bytearray | memoryview,
        *,
        width: int,
        height: int,
        channels: int,
        key: bool = True,
    ) -> Image:
        """Decode one payload announced as `width` x `height` with 1 or 3 channels.

        A picture that is not `key` is decoded on top of the one decoded just before: the caller
        sees to it that this is the encoder's previous output.  A payload that is refused before
        it is decoded (damaged, or out of its turn) changes nothing; after any other `DecodeFailed`
        only a key picture is taken.  The result is a new C-contiguous uint8 array.

        Raises `DecodeFailed` for a damaged payload, for one whose picture is not as announced, and
        for one that is not key where there is nothing to decode it on; nothing is allocated on the
        word of the payload alone.
        """
        ...
