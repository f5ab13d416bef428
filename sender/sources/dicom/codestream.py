"""What a compressed picture says of itself, before anything is decoded: JPEG, JPEG-LS, JPEG 2000,
JPEG XL.

Its size is checked against the file's header first, so that a few bytes can't make a decoder fill
the memory; its colour marks say whether its three components are RGB or YCbCr.

Pure.  Markers: ITU-T T.81 B.1, T.87 C.1, T.800 A.4, ISO/IEC 18181-1.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

__all__ = ["Jpeg", "begins", "ends", "jpeg_2000_of", "jpeg_of", "jpeg_xl_size"]

_J2K_START = b"\xff\x4f\xff\x51"  # SOC, then SIZ
_JP2_START = b"\x00\x00\x00\x0cjP  "
_JXL_START = b"\xff\x0a"
_JXL_BOXED = b"\x00\x00\x00\x0cJXL "
_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_FRAMES = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}  # SOF0 to 15, and JPEG-LS
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length
_SOS = 0xDA


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
    `transform` is what the Adobe marker says, None without one.  `plain` is the same picture
    without comments, application data and colour marks; `scan_at` is where in it the first scan
    begins.
    """

    process: int
    precision: int
    rows: int
    columns: int
    components: bytes
    jfif: bool
    transform: int | None
    plain: bytes
    scan_at: int

    @property
    def named_rgb(self) -> bool:
        """Whether its components are named R, G and B."""
        return self.components.upper() == b"RGB"

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
    frame: tuple[int, int, int, int, bytes] | None = None
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


def _frame(segment: bytes) -> tuple[int, int, int, int, bytes] | None:
    if len(segment) < 10 or len(segment) < 10 + 3 * segment[9]:
        return None
    precision, rows, columns, count = struct.unpack_from(">BHHB", segment, 4)
    return segment[1], precision, rows, columns, segment[10 : 10 + 3 * count : 3]


def jpeg_2000_of(data: bytes) -> tuple[int, int, int, bool] | None:
    """Return the rows, columns, components of a JPEG 2000 picture, and whether it transforms
    colours itself; None where it makes no sense."""
    start = data.find(_J2K_START, 0, 4096)  # after the boxes of a JP2 file, where it has them
    if start < 0 or len(data) < start + 42:
        return None
    right, bottom, left, top = struct.unpack_from(">4I", data, start + 8)
    components = struct.unpack_from(">H", data, start + 40)[0]
    at = start + 4 + struct.unpack_from(">H", data, start + 4)[0]
    while at + 10 <= len(data) and data[at] == 0xFF and data[at + 1] != 0x90:  # to the first tile
        if data[at + 1] == 0x52:  # COD: its style, order, layers (two bytes), transform
            return bottom - top, right - left, components, data[at + 8] == 1
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
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
