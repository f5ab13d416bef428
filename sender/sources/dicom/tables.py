"""Look-up tables of a DICOM file: modality and VOI LUTs (C.11.1, C.11.2), palettes (C.7.6.3.1.5).

Tables are read as they are found rather than as they are announced: entries of 8 bits in words of
16 or side by side, descriptors whose number of bits does not fit the entries, a first value that
was written with the wrong sign, fewer entries than announced.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from sender.sources.dicom.elements import is_big_endian, raw, wholes
from shared.errors import SourceFailed

__all__ = ["LookupTable", "Palette"]

MAX_ENTRIES = 1 << 16  # what a descriptor can announce

_COLOURS = ("Red", "Green", "Blue")
_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2  # C.7.9.2: opcodes of a segmented table

Words = NDArray[np.uint16]
Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class LookupTable:
    """Entries, as the bytes of an array of uint16, for the values from `first` on."""

    first: int
    entries: bytes
    bits: int

    @classmethod
    def of(cls, item: Dataset, inputs: Span, *, big_endian: bool) -> LookupTable | None:
        """Return the table in an item of a LUT sequence, None where it has no usable data.

        `inputs` are the least and the greatest value that may be looked up.
        """
        descriptor = wholes(item, "LUTDescriptor")
        count, first, bits = _described(descriptor)
        entries = _entries(raw(item, "LUTData"), count, bits, big_endian=big_endian)
        if entries is None:
            return None
        first = _first_mapped(first, len(entries), inputs)
        return cls(first, entries.tobytes(), _real_bits(bits, int(entries.max())))

    def looked_up(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return the entries for `values`; those beyond either end take its entry (C.11.2.1.1)."""
        entries = np.frombuffer(self.entries, np.uint16)
        at = np.clip(np.rint(np.nan_to_num(values)) - self.first, 0, len(entries) - 1)
        return np.asarray(entries[at.astype(np.intp)], np.float64)

    @property
    def peak(self) -> float:
        """What an entry that stands for white holds."""
        return float((1 << self.bits) - 1)


@dataclass(frozen=True, slots=True, eq=False)
class Palette:
    """Colours, uint8 `(entries, 3)`, for the values from `first` on."""

    first: int
    colours: NDArray[np.uint8]

    @classmethod
    def of(cls, header: Dataset, inputs: Span) -> Palette:
        """Return the file's palette.  Transparency is not looked at.

        Raises `SourceFailed` where the file holds none.
        """
        big_endian = is_big_endian(header)
        channels: list[tuple[Words, int]] = []
        first = 0
        red = wholes(header, "RedPaletteColorLookupTableDescriptor")
        for colour in _COLOURS:
            own = wholes(header, f"{colour}PaletteColorLookupTableDescriptor")
            count, first_mapped, bits = _described(own or red)
            if colour == "Red":
                first = first_mapped  # the standard has all three alike
            entries = _entries(
                raw(header, f"{colour}PaletteColorLookupTableData"),
                count,
                bits,
                big_endian=big_endian,
            )
            if entries is None:
                segments = raw(header, f"Segmented{colour}PaletteColorLookupTableData")
                entries = _expanded(segments, count, bits, big_endian=big_endian)
            if entries is None:
                raise SourceFailed(
                    "the DICOM file is in palette colour, but its palette is missing or empty",
                    hint="export it anew from where it comes from, as RGB if there is a choice",
                )
            channels.append((entries, bits))
        # One depth for all three: a channel may be dark by itself.
        brightest = max(int(entries.max()) for entries, _ in channels)
        depth = _real_bits(max(bits for _, bits in channels), brightest)
        length = max(len(entries) for entries, _ in channels)
        colours = np.zeros((length, 3), np.uint8)
        for index, (entries, _) in enumerate(channels):
            eight = _eight_bits(entries, depth)
            colours[: len(eight), index] = eight
            colours[len(eight) :, index] = eight[-1]
        return cls(_first_mapped(first, length, inputs), colours)

    def looked_up(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the colours of `values`, one axis more; those beyond an end take its colour."""
        at = np.clip(values.astype(np.int64) - self.first, 0, len(self.colours) - 1)
        return np.asarray(self.colours[at])


def _described(descriptor: tuple[int, ...]) -> tuple[int, int, int]:
    """Return a descriptor's number of entries, first value mapped and bits an entry.

    Read with either sign, since its VR depends on an element that may be missing or wrong.
    """
    count, first, bits = (*descriptor, 0, 0, 0)[:3] if descriptor else (0, 0, 0)
    return (count & 0xFFFF) or MAX_ENTRIES, first, bits & 0xFFFF


def _first_mapped(first: int, length: int, inputs: Span) -> int:
    """Return the first value mapped with the sign under which more of `inputs` is in the table.

    The element's VR, US or SS, is to follow the sign of the samples; many files write a negative
    value as an unsigned one.
    """

    def covered(start: int) -> float:
        return min(inputs[1], start + length - 1) - max(inputs[0], start)

    signed = (first + 0x8000) % 0x10000 - 0x8000
    return max((first, signed, first & 0xFFFF), key=covered)


def _entries(data: Any, count: int, bits: int, *, big_endian: bool) -> Words | None:
    """Return a table's entries, at most `count`, None where there are none.

    Entries of 8 bits lie side by side, or each in a word of 16 (C.7.6.3.1.6, its note).
    """
    words = _words(data, big_endian=big_endian)
    if words is None:
        return None
    # Two to a word, the first in the lower byte, whichever byte the file puts first.
    packed = bits <= 8 and len(words) < count
    found = words.astype("<u2").view(np.uint8).astype(np.uint16) if packed else words
    return found[:count]


def _words(data: Any, *, big_endian: bool) -> Words | None:
    """Return the words of an element that is read as bytes or as numbers, depending on its VR."""
    if data is None:
        return None
    if isinstance(data, bytes | bytearray):
        data = bytes(data) + b"\0" * (len(data) % 2)
        words = np.frombuffer(data, ">u2" if big_endian else "<u2").astype(np.uint16)
    else:
        try:
            words = (np.atleast_1d(np.asarray(data, np.int64)) & 0xFFFF).astype(np.uint16)
        except (TypeError, ValueError, OverflowError):
            return None
    return words if len(words) else None


def _real_bits(announced: int, brightest: int) -> int:
    """Return how many bits the entries have, where what is announced can't be."""
    if not 1 <= announced <= 16 or brightest >> announced:
        return max(8, brightest.bit_length())
    if announced > 8 and not brightest >> (announced - 8):
        return 8  # entries of 8 bits, announced as 16: all would be black
    return announced


def _eight_bits(entries: Words, bits: int) -> NDArray[np.uint8]:
    if bits >= 8:
        return (entries >> (bits - 8)).astype(np.uint8)
    return np.asarray(np.rint(entries * (255.0 / ((1 << bits) - 1))), np.uint8)


def _expanded(data: Any, count: int, bits: int, *, big_endian: bool) -> Words | None:
    """Return a segmented table (C.7.9.2) written out, None where there are no entries."""
    words = _words(data, big_endian=big_endian)
    if words is None:
        return None
    eight = bits <= 8
    stream = (words.astype("<u2").view(np.uint8) if eight else words).tolist()
    expansion = _Expansion(stream, count, eight=eight)
    expansion.run(0, None)
    return np.array(expansion.out[:count], np.uint16) if expansion.out else None


class _Expansion:
    """A segmented table that is being written out, up to `count` entries.

    `left` bounds how many segments are looked at: each is to give an entry, yet they may be empty.
    """

    def __init__(self, stream: list[int], count: int, *, eight: bool) -> None:
        self._stream = stream
        self._count = count
        self._eight = eight
        self._left = 2 * count
        self.out: list[int] = []

    def run(self, at: int, segments: int | None, *, nested: bool = False) -> None:
        """Write out `segments` segments from `at` on (None: all)."""
        stream, out = self._stream, self.out
        while at + 2 < len(stream) and len(out) < self._count and segments != 0 and self._left:
            self._left -= 1
            opcode, length = stream[at], stream[at + 1]
            at += 2
            if opcode == _DISCRETE:
                out.extend(stream[at : at + length])
                at += length
            elif opcode == _LINEAR:
                start, end = (out[-1] if out else 0), stream[at]
                steps = np.arange(1, length + 1) / max(1, length)
                out.extend(np.rint(start + (end - start) * steps).astype(int).tolist())
                at += 1
            elif opcode == _INDIRECT and not nested:  # of an indirect segment there is no copy
                width, bits = (4, 8) if self._eight else (2, 16)
                # The offset in bytes: 32 bits, the lower end first.
                parts = stream[at : at + width]
                offset = sum(part << bits * index for index, part in enumerate(parts))
                self.run(offset if self._eight else offset // 2, length, nested=True)
                at += width
            else:
                return  # padding, or nothing that the standard knows
            if segments is not None:
                segments -= 1
