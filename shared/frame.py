"""The values that travel along the pipeline, one type per step, all immutable.

A source's picture becomes a `Frame`; an encoder makes it an `EncodedFrame`.  Sealing turns that
into bytes (`shared.wire`, `shared.crypto.sealing`); the receiver walks the same steps backwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.errors import BadInput

__all__ = [
    "COUNTED_TO_DB",
    "MAX_SIDE",
    "MIN_SIDE",
    "EncodedFrame",
    "Frame",
    "Gap",
    "Image",
    "Rect",
    "checked_image",
]

Image = NDArray[np.uint8]
"""Grey `(height, width)` or RGB `(height, width, 3)`, uint8, C-contiguous."""

MIN_SIDE = 16  # pixels; below this no codec here is worth its header
MAX_SIDE = 4096  # pixels; the long side of DCI 4K

COUNTED_TO_DB = 100.0
"""Where encoders stop counting their own error: such a picture is equal, or nearly so.

In a picture of 640x480 one sample may be off by one.
"""


def checked_image(image: Image) -> Image:
    """Return `image` as C-contiguous uint8 `(H, W)` or `(H, W, 3)`, or raise `BadInput`."""
    if image.dtype != np.uint8:
        raise BadInput(f"a frame must be uint8, not {image.dtype}")
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim != 2 and not (image.ndim == 3 and image.shape[2] == 3):
        raise BadInput(f"a frame must be (height, width) or (height, width, 3), not {image.shape}")
    height, width = image.shape[:2]
    if not (MIN_SIDE <= height <= MAX_SIDE and MIN_SIDE <= width <= MAX_SIDE):
        raise BadInput(
            f"a frame must be {MIN_SIDE} to {MAX_SIDE} pixels a side, not {width}x{height}"
        )
    return np.ascontiguousarray(image)


@dataclass(frozen=True, slots=True)
class Rect:
    """A rectangle of pixels: left column `x`, top row `y`, `width` and `height` of at least 1."""

    x: int
    y: int
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.x < 0 or self.y < 0 or self.width < 1 or self.height < 1:
            raise BadInput(
                "a mask must start inside the picture and be at least 1 pixel wide and high",
                hint="write it as x,y,w,h in pixels from the top left corner",
            )

    def clipped(self, width: int, height: int) -> Rect:
        """Return the part inside a `width` x `height` picture; raises `BadInput` if none is."""
        if self.x >= width or self.y >= height:
            raise BadInput(
                f"the mask {self.x},{self.y},{self.width},{self.height} lies outside the "
                f"{width}x{height} picture and would hide nothing",
                hint="write masks as x,y,w,h in pixels of the picture as it is shown",
            )
        return Rect(
            self.x,
            self.y,
            min(self.width, width - self.x),
            min(self.height, height - self.y),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of a source, or one picture shown by a receiver.

    `index` counts the source's frames from 0 (looping goes on counting).  `captured_at_ns` is
    the `time.monotonic_ns()` of the machine that holds the frame (a receiver maps the sender's
    clock onto its own).  `image` is not to be written to.  At a sender, `masks` are blacked out
    before anything else is done with the picture.  A frame is `repeated` where its source stands
    still: the picture was delivered before, at `captured_at_ns`, and is sent once more.
    """

    index: int
    captured_at_ns: int
    image: Image
    masks: tuple[Rect, ...] = ()
    repeated: bool = False

    @property
    def height(self) -> int:
        return int(self.image.shape[0])

    @property
    def width(self) -> int:
        return int(self.image.shape[1])

    @property
    def channels(self) -> int:
        return 1 if self.image.ndim == 2 else 3


@dataclass(frozen=True, slots=True)
class Gap:
    """A frame of the source that has no picture: `why` is a line for the person, without a name."""

    index: int
    why: str


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """A frame's picture as `codec` wrote it.

    `psnr_db` is the peak signal-to-noise ratio of the decoded picture against the original in
    dB (peak 255, over all channels), or None where the two are equal bit for bit.  `key`: it
    decodes on its own; otherwise it needs the encoder's previous output decoded just before it.
    """

    codec: str
    width: int
    height: int
    channels: int
    payload: bytes
    psnr_db: float | None
    key: bool = True

    @property
    def lossless(self) -> bool:
        return self.psnr_db is None
