"""From a picture as it is stored to the picture as it is shown: pixel aspect, turning, mirroring.

A file may say that its picture is to be turned (EXIF, a video's display matrix) and that its
pixels are not square.  Whoever looks at it, and whoever draws a mask, means the picture as shown;
a codec's blocks lie in the picture as stored.  This file takes pictures one way and rectangles both
ways.

Pure.  Sizes are (width, height) in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np

from shared.errors import BadInput
from shared.frame import MAX_SIDE, Image, Rect

__all__ = ["Geometry", "orientation_by"]

# EXIF 2.32, tag Orientation: swap rows and columns first, then mirror left-right, then top-bottom.
_STEPS: dict[int, tuple[bool, bool, bool]] = {
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),  # a quarter turn clockwise
    7: (True, True, True),
    8: (True, False, True),  # a quarter turn counter-clockwise
}
_ORIENTATIONS = {steps: orientation for orientation, steps in _STEPS.items()}


def orientation_by(*, swapped: bool, mirrored: bool, flipped: bool) -> int:
    """Return EXIF's orientation that swaps axes, then mirrors left-right, then top-bottom."""
    return _ORIENTATIONS[swapped, mirrored, flipped]


@dataclass(frozen=True, slots=True)
class Geometry:
    """How a stored `width` x `height` picture is shown.

    `orientation` is EXIF's, 1 to 8.  `pixel_aspect` is the width of a stored pixel over its
    height; pixels become square by stretching the side that is too short.  `block` is the side of
    the grid on which the source was compressed with loss, in stored pixels; 1: without loss.
    `reach` is how far beyond a block its pixels were smeared by what smooths the blocks' edges.
    """

    width: int
    height: int
    orientation: int = 1
    pixel_aspect: Fraction = Fraction(1)
    block: int = 1
    reach: int = 0

    def __post_init__(self) -> None:
        if (
            self.orientation not in _STEPS
            or self.pixel_aspect <= 0
            or min(self.block - 1, self.reach) < 0
        ):
            raise BadInput("a picture's orientation, pixel aspect or block size is impossible")

    @property
    def shown_size(self) -> tuple[int, int]:
        """The (width, height) of the picture as it is shown."""
        across, down = self._square_size
        return (down, across) if _STEPS[self.orientation][0] else (across, down)

    def shown(self, image: Image) -> Image:
        """Return a stored picture, uint8 `(H, W)` or `(H, W, 3)`, as it is shown, C-contiguous."""
        if self._square_size != (self.width, self.height):
            resized = cv2.resize(image, self._square_size, interpolation=cv2.INTER_LINEAR)
            image = np.asarray(resized, np.uint8)
        swapped, mirrored, flipped = _STEPS[self.orientation]
        if swapped:
            image = image.swapaxes(0, 1)
        if mirrored:
            image = image[:, ::-1]
        if flipped:
            image = image[::-1]
        return np.ascontiguousarray(image)

    def to_shown(self, rect: Rect) -> Rect:
        """Return where a rectangle of the stored picture is shown, whole pixels outwards."""
        x0, y0, x1, y1 = self._stretched(rect)
        swapped, mirrored, flipped = _STEPS[self.orientation]
        if swapped:
            x0, y0, x1, y1 = y0, x0, y1, x1
        width, height = self.shown_size
        if mirrored:
            x0, x1 = width - x1, width - x0
        if flipped:
            y0, y1 = height - y1, height - y0
        return _clipped(x0, y0, x1, y1, width, height)

    def to_stored(self, rect: Rect) -> Rect:
        """Return where a rectangle of the shown picture is stored, whole pixels outwards."""
        x0, y0, x1, y1 = rect.x, rect.y, rect.x + rect.width, rect.y + rect.height
        swapped, mirrored, flipped = _STEPS[self.orientation]
        width, height = self.shown_size
        if flipped:
            y0, y1 = height - y1, height - y0
        if mirrored:
            x0, x1 = width - x1, width - x0
        if swapped:
            x0, y0, x1, y1 = y0, x0, y1, x1
        across, down = self._square_size
        x0, y0, x1, y1 = max(0, x0), max(0, y0), min(across, x1), min(down, y1)
        return self._unstretched(x0, y0, x1, y1)

    def grown(self, rect: Rect) -> Rect:
        """Return `rect`, of the shown picture, grown to all that its pixels can have marked.

        Compression with loss carries a picture's edges through the whole of a block and, where the
        codec smooths blocks, beyond; stretching carries each pixel into its neighbours.
        """
        stored = self.to_stored(rect)
        side = self.block
        # Neighbours that were mixed in by smoothing, and by stretching, see `shown`.
        spill = self.reach + int(self._square_size != (self.width, self.height))
        x0 = stored.x // side * side - spill
        y0 = stored.y // side * side - spill
        x1 = -(-(stored.x + stored.width) // side) * side + spill
        y1 = -(-(stored.y + stored.height) // side) * side + spill
        return self.to_shown(_clipped(x0, y0, x1, y1, self.width, self.height))

    @property
    def _square_size(self) -> tuple[int, int]:
        """The size with square pixels, before turning."""
        aspect = self.pixel_aspect
        if aspect == 1:
            return self.width, self.height
        across, down = (aspect, Fraction(1)) if aspect > 1 else (Fraction(1), 1 / aspect)
        longest = max(self.width * across, self.height * down)
        fit = min(Fraction(1), MAX_SIDE / longest) if longest > MAX_SIDE else Fraction(1)
        return max(1, round(self.width * across * fit)), max(1, round(self.height * down * fit))

    def _stretched(self, rect: Rect) -> tuple[int, int, int, int]:
        across, down = self._square_size
        return _scaled(rect, Fraction(across, self.width), Fraction(down, self.height))

    def _unstretched(self, x0: int, y0: int, x1: int, y1: int) -> Rect:
        across, down = self._square_size
        rect = Rect(x0, y0, max(1, x1 - x0), max(1, y1 - y0))
        corners = _scaled(rect, Fraction(self.width, across), Fraction(self.height, down))
        return _clipped(*corners, self.width, self.height)


def _scaled(rect: Rect, across: Fraction, down: Fraction) -> tuple[int, int, int, int]:
    """The corners of `rect` scaled, whole pixels outwards."""
    x1, y1 = rect.x + rect.width, rect.y + rect.height
    return (
        int(rect.x * across // 1),
        int(rect.y * down // 1),
        -int(-x1 * across // 1),
        -int(-y1 * down // 1),
    )


def _clipped(x0: int, y0: int, x1: int, y1: int, width: int, height: int) -> Rect:
    x0, y0 = min(max(0, x0), width - 1), min(max(0, y0), height - 1)
    return Rect(x0, y0, max(1, min(x1, width) - x0), max(1, min(y1, height) - y0))
