"""Which bits of a decoded word are the sample (DICOM PS3.5 section 8.1.1, PS3.3 C.7.6.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from sender.sources.dicom.elements import number, whole

__all__ = ["SampleLayout", "Samples"]

Samples = NDArray[Any]
"""Words `(H, W)` or `(H, W, 3)` as a decoder gives them.  Bits beside the sample may hold anything
(overlays of old files do): a decoder must not clear or shift any of them."""


@dataclass(frozen=True, slots=True)
class SampleLayout:
    """Where in a word a sample of `bits` bits lies: `shift` bits above the lowest one.

    `signed`: in two's complement of `bits` bits, whatever stands above them.
    """

    bits: int
    shift: int
    signed: bool

    @classmethod
    def of(cls, header: Dataset) -> SampleLayout:
        """Return the layout that the header names; what is missing or impossible is the usual."""
        allocated = whole(header, "BitsAllocated") or 0
        bits = whole(header, "BitsStored") or 0
        if not 1 <= bits <= 64:
            bits = allocated if 1 <= allocated <= 64 else 8
        if 1 <= allocated < bits:
            bits = allocated
        high = whole(header, "HighBit")
        top = allocated or bits
        shift = high - bits + 1 if high is not None and bits - 1 <= high < top else 0
        return cls(bits, shift, whole(header, "PixelRepresentation") == 1)

    @property
    def span(self) -> tuple[int, int]:
        """The least and the greatest value that a sample can have."""
        if self.signed:
            return -(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1
        return 0, (1 << self.bits) - 1

    def values(self, words: Samples) -> Samples:
        """Return the samples in `words`: int64, or float64 where the words are floating point."""
        if words.dtype.kind == "b":
            words = words.astype(np.uint8)
        if words.dtype.kind not in "iu":
            return words.astype(np.float64)
        itemsize = words.dtype.itemsize
        bits, shift = self.bits, self.shift
        if shift + bits > 8 * itemsize:  # a decoder that gives samples without what is beside them
            bits, shift = min(bits, 8 * itemsize), 0
        native = np.ascontiguousarray(words, words.dtype.newbyteorder("="))
        unsigned = native.view(f"u{itemsize}")
        kind = unsigned.dtype.type
        found = ((unsigned >> kind(shift)) & kind((1 << bits) - 1)).astype(np.int64)
        if self.signed and bits == self.bits and bits < 64:
            sign = 1 << (bits - 1)
            found = (found ^ sign) - sign
        return np.asarray(found)

    def padding(self, header: Dataset) -> tuple[int, int] | None:
        """Return the least and the greatest value that mean "no picture here" (C.7.5.1.1.2).

        None where the header names none.
        """
        ends = [
            # Signed values are often written as unsigned ones, and the other way round.
            self._wrapped(int(end))
            for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")
            if (end := number(header, keyword)) is not None
        ]
        return (min(ends), max(ends)) if ends else None

    def _wrapped(self, value: int) -> int:
        low, high = self.span
        return value if low <= value <= high else (value - low) % (high - low + 1) + low
