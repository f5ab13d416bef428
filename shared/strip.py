"""A strip of black and white cells in the picture itself: its frame index and its capture time.

What comes out at the far end, on a screen or in a saved picture, so tells by itself which frame it
is and how old: latency from glass to glass, measured on the picture and not on anybody's word, and
the same way for other programs' streams.  It covers two rows of the picture's top and is there
for measurements alone.

The strip is 64 cells wide, whatever the picture's width, and two square cells high, so that it can
be read back after scaling.  Its 128 bits, row by row and most significant first: index u32,
capture time i64 (ns), CRC-32 (zlib's) of these twelve bytes.  Without that checksum nothing is
read.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from shared.errors import BadInput
from shared.frame import Image

__all__ = [
    "COLUMNS",
    "MIN_WIDTH",
    "ROWS",
    "Strip",
    "draw_strip",
    "read_strip",
    "strip_fits",
    "strip_height",
]

COLUMNS, ROWS = 64, 2  # cells: 128 bits
MIN_WIDTH = 4 * COLUMNS  # pixels: cells of less than four pixels a side do not survive coding
BLACK, WHITE = 16, 235  # the same in full and in limited range (ITU-R BT.601), if it gets mixed up
MIN_CONTRAST = 64  # grey levels between the two kinds of cells; a flat picture has no strip

_FIELDS = struct.Struct(">Iq")
_CHECKSUM = struct.Struct(">I")
_U32 = 2**32
_OFFSETS = np.array([-0.2, 0.0, 0.2])  # sides of a cell from its middle


@dataclass(frozen=True, slots=True)
class Strip:
    """What a strip says: the frame's index (modulo 2³²) and when it was captured (ns)."""

    index: int
    captured_at_ns: int


def strip_height(width: int) -> int:
    """How many rows of pixels the strip covers in a picture that is `width` pixels wide."""
    return max(1, round(ROWS * width / COLUMNS))


def strip_fits(image: Image) -> bool:
    """Whether `image` is large enough for the strip to be read back from it."""
    height, width = image.shape[:2]
    return bool(width >= MIN_WIDTH and height >= strip_height(width))


def draw_strip(image: Image, index: int, captured_at_ns: int) -> None:
    """Draw the strip over the top of `image`, uint8 `(H, W)` or `(H, W, 3)`, in place.

    `captured_at_ns` is the clock of whoever is to read it: within one machine the monotonic one.
    Raises `BadInput` for a picture that is too small to hold the strip.
    """
    height, width = image.shape[:2]
    rows = strip_height(width)
    if not strip_fits(image):
        raise BadInput(
            f"a {width}x{height} picture is too small for the measuring strip",
            hint=f"it needs {MIN_WIDTH} pixels in width",
        )
    fields = _FIELDS.pack(index % _U32, captured_at_ns)
    data = fields + _CHECKSUM.pack(zlib.crc32(fields))
    bits = np.unpackbits(np.frombuffer(data, np.uint8)).reshape(ROWS, COLUMNS)
    cells = np.where(bits == 1, np.uint8(WHITE), np.uint8(BLACK))
    drawn = np.take(cells, _drawn_from(width), axis=1)
    if image.ndim == 3:
        drawn = np.repeat(drawn, 3, axis=1).reshape(ROWS, width, 3)
    for row in range(ROWS):
        image[-(-row * rows // ROWS) : -(-(row + 1) * rows // ROWS)] = drawn[row]


def read_strip(image: Image) -> Strip | None:
    """Read the strip at the top of `image`, uint8 `(H, W)` or `(H, W, 3)`; None if there is none.

    The picture may have been coded with loss and scaled (both ways alike); it must begin at the
    picture's own edges, without a border.
    """
    height, width = image.shape[:2]
    if width < COLUMNS or height < strip_height(width):
        return None
    cells = _cells(image)
    low, high = int(cells.min()), int(cells.max())
    if high - low < MIN_CONTRAST:
        return None
    data = np.packbits(cells > (low + high) / 2).tobytes()
    fields, checksum = data[: _FIELDS.size], data[_FIELDS.size :]
    if _CHECKSUM.pack(zlib.crc32(fields)) != checksum:
        return None
    return Strip(*_FIELDS.unpack(fields))


@lru_cache(maxsize=4)
def _drawn_from(width: int) -> NDArray[np.intp]:
    """The column of cells that each column of pixels belongs to."""
    return np.arange(width) * COLUMNS // width


@lru_cache(maxsize=4)
def _middles(width: int, height: int) -> tuple[NDArray[np.intp], ...]:
    """Where to look in a picture of that size: nine pixels in each cell's middle, as an index."""
    side = width / COLUMNS
    down = (np.arange(ROWS)[:, None] + 0.5 + _OFFSETS) * side
    across = (np.arange(COLUMNS)[:, None] + 0.5 + _OFFSETS) * side
    rows = np.clip(down.astype(int), 0, height - 1).ravel()
    columns = np.clip(across.astype(int), 0, width - 1).ravel()
    return np.ix_(rows, columns)


def _cells(image: Image) -> NDArray[np.float64]:
    """The mean grey of each cell's middle, `(ROWS, COLUMNS)`: edges are where coding blurs."""
    height, width = image.shape[:2]
    samples = image[_middles(width, height)]
    split = samples.reshape(ROWS, len(_OFFSETS), COLUMNS, len(_OFFSETS), -1)
    sums = split.sum(axis=(1, 3, 4), dtype=np.int64)
    return np.asarray(sums / split[0, :, 0].size, np.float64)
