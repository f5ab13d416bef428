"""The frames of a DICOM file as bytes: how many there really are, and each one read by its number.

How many the file says it has (NumberOfFrames) is one witness; the pixel data are the other, and are
believed.
"""

from __future__ import annotations

import dataclasses
import struct
from typing import Protocol

import numpy as np

from sender.sources.dicom.elements import whole
from sender.sources.dicom.file import DicomFile
from sender.sources.dicom.fragments import frames_of, parse_items
from sender.sources.dicom.uncompressed import RLE, BadFrame, Layout
from shared.errors import SourceFailed

__all__ = ["Frames", "frames_in"]

MAX_FRAME_BYTES = 256 << 20  # of a compressed frame: the largest picture, uncompressed, has 128 MiB


class Frames(Protocol):
    """`count` is how many frames are there; `layout` is how each is stored."""

    count: int
    layout: Layout
    remarks: tuple[str, ...]

    def read(self, ordinal: int) -> bytes:
        """Return the bytes of a frame; called by any thread.  Raises `BadFrame`."""
        ...


def frames_in(file: DicomFile, layout: Layout) -> Frames:
    """Raises `SourceFailed` where the pixel data hold no whole frame."""
    claimed = whole(file.header, "NumberOfFrames")
    claimed = claimed if claimed and claimed > 0 else None
    kind = _Encapsulated if file.encapsulated else _Native
    return kind(file, layout, claimed)


def _counted(count: int, claimed: int | None) -> tuple[str, ...]:
    if claimed is None or count == claimed:
        return ()
    less = "fewer" if count < claimed else "more"
    pictures, those = ("picture", "it is") if count == 1 else ("pictures", "those are")
    return (f"the file holds {count} {pictures}, {less} than it says: {those} played",)


class _Native:
    """Uncompressed frames, one after the other."""

    def __init__(self, file: DicomFile, layout: Layout, claimed: int | None) -> None:
        self._file = file
        nbytes = file.end - file.start
        self.layout = _as_long_as(layout, nbytes, claimed or 1)
        self._bits = self.layout.stored_bits
        self.count = nbytes * 8 // self._bits
        # PS3.5 8.1.1: 8-bit samples in words of a big-endian file are swapped in pairs.
        self._swapped = file.big_endian and file.words and layout.bits_allocated <= 8
        if not self.count:
            raise SourceFailed(
                "the pixel data of the DICOM file end within the first picture",
                hint="the file was cut short: fetch it anew",
            )
        self.remarks = _counted(self.count, claimed)

    def read(self, ordinal: int) -> bytes:
        first, last = ordinal * self._bits, (ordinal + 1) * self._bits
        start, end = first // 8, -(-last // 8)
        if self._swapped:
            start, end, skipped = start // 2 * 2, -(-end // 2) * 2, start % 2
            words = _read(self._file, start, min(end, self._file.end - self._file.start))
            words += b"\0" * (len(words) % 2)
            data = np.frombuffer(words, ">u2").astype("<u2").tobytes()[skipped:]
        else:
            data = _read(self._file, start, end)
        if first % 8 == 0:
            return data
        # Frames of one bit a pixel do not always begin with a byte.
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        return np.packbits(bits[first % 8 :], bitorder="little").tobytes()


def _read(file: DicomFile, start: int, end: int) -> bytes:
    try:
        return file.contents.at(file.start + start, end - start)
    except (OSError, ValueError):  # gone, or closed meanwhile
        raise BadFrame("the file can't be read there") from None


def _as_long_as(layout: Layout, nbytes: int, count: int) -> Layout:
    """Return the layout, of those that files take for one with shared colours, that fits."""
    if not layout.pitch:
        return layout
    usual = layout.stored_bits // 8 * count
    for other in (
        dataclasses.replace(layout, pitch=0),
        dataclasses.replace(layout, pitch=layout.columns + layout.columns % 2),
    ):
        exact = other.stored_bits // 8 * count
        if nbytes in (exact, exact + exact % 2) and nbytes not in (usual, usual + usual % 2):
            return other
    return layout


class _Encapsulated:
    """Compressed frames, in fragments."""

    def __init__(self, file: DicomFile, layout: Layout, claimed: int | None) -> None:
        self._file = file
        self.layout = layout
        try:
            items = parse_items(file.contents.at, file.start, file.end)
        except OSError:
            raise SourceFailed("the DICOM file can't be read to its end") from None
        self._frames = frames_of(
            items,
            claimed,
            extended=_extended_offsets(file),
            single=file.transfer_syntax == RLE,
        )
        self.count = len(self._frames)
        remarks = _counted(self.count, claimed)
        if not items.complete:
            remarks += ("the pixel data break off: what is there is played",)
        self.remarks = remarks

    def read(self, ordinal: int) -> bytes:
        fragments = self._frames[ordinal]
        if sum(fragment.nbytes for fragment in fragments) > MAX_FRAME_BYTES:
            raise BadFrame("its compressed data are longer than any picture")
        try:
            return b"".join(self._file.contents.at(f.at, f.nbytes) for f in fragments)
        except (OSError, ValueError):
            raise BadFrame("the file can't be read there") from None


def _extended_offsets(file: DicomFile) -> tuple[int, ...]:
    table = file.header.get("ExtendedOffsetTable")
    if not isinstance(table, bytes):
        return ()
    return struct.unpack(f"<{len(table) // 8}Q", table[: len(table) // 8 * 8])
