"""What a compressed picture says of itself, before anything is decoded: JPEG, JPEG-LS, JPEG 2000,
JPEG XL.

Its size is checked against the file's header first, so that a few bytes can't make a decoder fill
the memory; its colour marks say whether its three components are RGB or YCbCr.

Pure.  Markers: ITU-T T.81 B.1, T.87 C.1, T.800 A.4, ISO/IEC 18181-1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from sender.sources.compression import Grid, grid_of, jpeg_grid

__all__ = [
    "Jpeg",
    "Jpeg2000",
    "begins",
    "ends",
    "jpeg_2000_of",
    "jpeg_of",
    "jpeg_xl_size",
    "stated_loss",
]

_J2K_START = b"\xff\x4f\xff\x51"  # SOC, then SIZ
_JP2_START = b"\x00\x00\x00\x0cjP  "
_JXL_START = b"\xff\x0a"
_JXL_BOXED = b"\x00\x00\x00\x0cJXL "
_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_FRAMES = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}  # SOF0 to 15, and JPEG-LS
_LOSSLESS_FRAMES = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length
_SOS = 0xDA
_JPEG_LS = 0xF7
_COD, _COC = 0x52, 0x53  # how all components, and how one, of a JPEG 2000 picture are coded


def begins(head: bytes) -> bool:
    """Whether a compressed picture of any kind begins with `head`, at least 12 bytes."""
    if head[:2] == _SOI:
        return head[2:3] == b"\xff"
    return head.startswith((_J2K_START, _JP2_START, _JXL_START, _JXL_BOXED))


def ends(tail: bytes) -> bool:
    """Whether a JPEG, JPEG-LS or JPEG 2000 picture ends with `tail` (and padding)."""
    return tail.rstrip(b"\x00\xff").endswith(_EOI) or tail.rstrip(b"\x00").endswith(_EOI)


@dataclass(frozen=True, slots=True)
class Jpeg:
    """A JPEG or JPEG-LS picture by its markers.

    `process` is the last byte of its frame marker: 0xC0 is baseline, 0xC3 lossless, 0xF7 JPEG-LS.
    `sampling` is how many pixels a side a sample of its sparsest component covers.  `transform` is
    what the Adobe marker says, None without one.  `plain` is the same picture without comments,
    application data and colour marks; `scan_at` is where in it the first scan begins.
    """

    process: int
    precision: int
    rows: int
    columns: int
    components: bytes
    sampling: int
    jfif: bool
    transform: int | None
    plain: bytes
    scan_at: int

    @property
    def named_rgb(self) -> bool:
        """Whether its components are named R, G and B."""
        return self.components.upper() == b"RGB"

    @property
    def near(self) -> int:
        """By how much a sample of a JPEG-LS picture may be off (T.87 C.2.3)."""
        at = self.scan_at + 4
        return self.plain[at + 1 + 2 * self.plain[at]] if at + 8 <= len(self.plain) else 0

    def marked(self, *, ycbcr: bool) -> bytes:
        """Return the picture with one mark that tells every decoder its colours."""
        adobe = b"\xff\xee\x00\x0eAdobe" + struct.pack(">HHHB", 100, 0, 0, int(ycbcr))
        return self.plain[: self.scan_at] + adobe + self.plain[self.scan_at :]


def jpeg_of(data: bytes) -> Jpeg | None:
    """Return what the JPEG picture `data` says up to its first scan, None for nonsense."""
    if data[:2] != _SOI:
        return None
    kept = [_SOI]
    at, end = 2, len(data)
    frame: tuple[int, int, int, int, bytes, int] | None = None
    jfif, transform = False, None
    while at + 4 <= end:
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:  # fill bytes
            at += 1
            continue
        if marker in _BARE:
            at += 2
            continue
        nbytes = struct.unpack_from(">H", data, at + 2)[0]
        segment = data[at : at + 2 + nbytes]
        if nbytes < 2 or len(segment) < 2 + nbytes:
            return None
        if marker == _SOS:
            break
        if marker in _FRAMES:
            frame = _frame(segment)
        if marker == 0xE0 and segment[4:8] == b"JFIF":
            jfif = True
        elif marker == 0xEE and segment[4:9] == b"Adobe" and nbytes >= 14:
            transform = segment[15]
        # JPEG-LS keeps a colour transform of its own in APP8.
        elif not (0xE0 <= marker <= 0xEF or marker == 0xFE) or marker == 0xE8:
            kept.append(segment)
        at += 2 + nbytes
    if frame is None:
        return None
    before = b"".join(kept)
    return Jpeg(*frame, jfif, transform, before + data[at:], len(before))


def _frame(segment: bytes) -> tuple[int, int, int, int, bytes, int] | None:
    if len(segment) < 10 or len(segment) < 10 + 3 * segment[9]:
        return None
    precision, rows, columns, count = struct.unpack_from(">BHHB", segment, 4)
    components, factors = segment[10 : 10 + 3 * count : 3], segment[11 : 10 + 3 * count : 3]
    sampling = max((max(both >> 4, both & 15) for both in factors), default=1) if count > 1 else 1
    return segment[1], precision, rows, columns, components, sampling


@dataclass(frozen=True, slots=True)
class Jpeg2000:
    """A JPEG 2000 picture by its main header.

    `precision` is its first component's, in bits.  `transforms_colour`: its decoder gives RGB.
    `reversible`: its wavelets are those that lose nothing (T.800 A.6.1).
    """

    rows: int
    columns: int
    components: int
    precision: int
    transforms_colour: bool
    reversible: bool


def jpeg_2000_of(data: bytes) -> Jpeg2000 | None:
    """Return what the JPEG 2000 picture `data` says of itself, None where it makes no sense."""
    start = data.find(_J2K_START, 0, 4096)  # after the boxes of a JP2 file, where it has them
    if start < 0 or len(data) < start + 43:
        return None
    right, bottom, left, top = struct.unpack_from(">4I", data, start + 8)
    components, depth = struct.unpack_from(">HB", data, start + 40)
    segments = list(_segments(data, start))
    # COD: its style, order, layers (two bytes), transform, levels, block (three bytes), wavelet.
    coding = next((segment for marker, segment in segments if marker == _COD), b"")
    if len(coding) < 14:
        return None
    # How single components are coded, COC: the component's number, its style, then as above.
    at = {_COD: 13, _COC: 10 if components <= 256 else 11}
    wavelets = [segment[at[marker] :][:1] for marker, segment in segments if marker in at]
    return Jpeg2000(
        rows=bottom - top,
        columns=right - left,
        components=components,
        precision=(depth & 0x7F) + 1,  # Ssiz; its top bit is the sign
        transforms_colour=coding[8] == 1,
        reversible=all(wavelet == b"\1" for wavelet in wavelets),
    )


def _segments(data: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    """The markers of JPEG 2000's main header after the first, to the first tile's."""
    at = start + 2
    while at + 10 <= len(data) and data[at] == 0xFF and data[at + 1] != 0x90:
        nbytes = 2 + struct.unpack_from(">H", data, at + 2)[0]
        yield data[at + 1], data[at : at + nbytes]
        at += nbytes


def stated_loss(data: bytes) -> Grid | None:
    """Return the grid on which the picture `data` was compressed with loss; None: it says nothing.

    JPEG by its process, JPEG-LS by how near a sample must be (T.87 C.2.3), JPEG 2000 by its
    wavelets: with the irreversible one nothing comes back as it was.  With the other it may still
    have been cut to a size; nothing in its header tells.
    """
    if (jpeg := jpeg_of(data)) is not None:
        if jpeg.process == _JPEG_LS:
            return None if jpeg.near == 0 else grid_of("jpegls")
        return None if jpeg.process in _LOSSLESS_FRAMES else jpeg_grid(max(1, jpeg.sampling))
    if (jpeg_2000 := jpeg_2000_of(data)) is not None:
        return None if jpeg_2000.reversible else grid_of("jpeg2000")
    return None


def jpeg_xl_size(data: bytes) -> tuple[int, int] | None:
    """Return the rows and columns of a JPEG XL picture (18181-1 D.2), None if none are found."""
    if data.startswith(_JXL_BOXED):
        whole, part = data.find(b"jxlc", 0, 4096), data.find(b"jxlp", 0, 4096)
        at = whole + 4 if whole >= 0 else part + 8  # a part begins with its number
        if (whole < 0 and part < 0) or data[at : at + 2] != _JXL_START:
            return None
        data = data[at:]
    bits = int.from_bytes(data[2:18], "little")

    def take(count: int) -> int:
        nonlocal bits
        value = bits & (1 << count) - 1
        bits >>= count
        return value

    small = take(1)

    def side() -> int:
        return (take(5) + 1) * 8 if small else take((9, 13, 18, 30)[take(2)]) + 1

    rows = side()
    ratio = take(3)
    if ratio == 0:
        return rows, side()
    up, down = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
    return rows, rows * up // down
