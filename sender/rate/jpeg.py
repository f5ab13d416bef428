"""The quality of a JPEG: how its size follows from it, and which one to ask for without flicker.

JPEG has no bitrate, so the quality is what rate control turns.

Pure: sizes and times in, a quality (1 to 100) out.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise

from sender.rate.caution import Caution

__all__ = ["LOWEST_QUALITY", "QUALITY_STEP", "JpegQuality", "jpeg_quality", "jpeg_size"]

LOWEST_QUALITY = 10
QUALITY_STEP = 5  # less can't be seen, and would only flicker
OVERSHOOT, SPARE = 1.1, 0.9  # what is tolerated above the budget, and asked for below it

# Size of a JPEG by its quality, against quality 90: measured on speckle and on endoscopy, which
# agree within a few per cent between 20 and 94.
JPEG_SIZES = (
    (1, 0.05), (10, 0.15), (20, 0.22), (30, 0.28), (40, 0.33), (50, 0.38), (60, 0.43), (70, 0.52),
    (75, 0.57), (80, 0.66), (85, 0.78), (90, 1.0), (94, 1.32), (97, 1.9), (100, 2.9),
)  # fmt: skip


def _interpolated(quality: int) -> float:
    for (low, small), (high, large) in pairwise(JPEG_SIZES):
        if quality <= high:
            return float(small * (large / small) ** ((quality - low) / (high - low)))
    raise AssertionError(quality)


_SIZES = [_interpolated(quality) for quality in range(1, 101)]


def jpeg_size(quality: int) -> float:
    """The size of a JPEG against that at quality 90."""
    return _SIZES[quality - 1]


def jpeg_quality(size: float) -> int:
    """The highest quality whose JPEG is no larger than `size`, against that at quality 90."""
    return max(1, bisect_right(_SIZES, size))


class JpegQuality:
    """The quality of one stream's pictures; begins with the highest."""

    def __init__(self, highest: int) -> None:
        self._highest = highest
        self._caution = Caution()
        self.value = highest

    def settle(self, now_ns: int, size: float, floor: int = LOWEST_QUALITY) -> None:
        """Take a quality of at least `floor` for pictures of `size`, against those at 90."""
        floor = min(max(floor, LOWEST_QUALITY), self._highest)
        fitting = min(max(jpeg_quality(size), floor), self._highest)
        if self.value < floor or (
            fitting < self.value and jpeg_size(self.value) > OVERSHOOT * size
        ):
            if fitting < self.value:
                self._caution.fell(now_ns)
            self.value = fitting
        elif self._caution.may_rise(now_ns) and fitting > self.value:
            safe = min(jpeg_quality(SPARE * size), self._highest)
            if safe >= min(self.value + QUALITY_STEP, self._highest):
                self._caution.rose(now_ns)
                self.value = safe
