"""Frames that are not compressed, or only byte by byte: native, RLE, deflated (PS3.5 8.2, G).

Grey and palette samples come as they are stored, colour comes as RGB.  RLE is read by Pillow, which
knows its PackBits from TIFF.  Memory is taken by the file's rows and columns, which were checked.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from PIL import Image as Pillow
from pydicom.dataset import Dataset

from sender.sources.dicom.elements import whole, word
from sender.sources.dicom.samples import Samples
from shared.errors import SourceFailed
from shared.frame import MAX_SIDE

__all__ = [
    "RLE",
    "BadFrame",
    "Decode",
    "Layout",
    "as_rgb",
    "deflated",
    "native",
    "rgb_of_ycbcr",
    "run_lengths",
]

RLE = "1.2.840.10008.1.2.5"  # the transfer syntax

Decode = Callable[[bytes], Samples]
"""One frame's bytes in, its samples `(rows, columns)` or RGB `(rows, columns, 3)` out."""


class BadFrame(Exception):
    """One frame can't be decoded; the text says why, with no value of the file."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the samples of a frame are stored (PS3.3 C.7.6.3).

    `pitch`: two pixels side by side share their colour where the frame is stored uncompressed, in
    rows of so many pixels; 0: each pixel has its own.
    """

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    dtype: np.dtype[Any]
    photometric: str
    by_plane: bool
    pitch: int

    @classmethod
    def of(cls, header: Dataset, *, keyword: str = "PixelData", big_endian: bool = False) -> Layout:
        """Raises `SourceFailed`, naming the element, for what can't be a picture here."""
        photometric = word(header, "PhotometricInterpretation")
        rows, columns = whole(header, "Rows") or 0, whole(header, "Columns") or 0
        if not (1 <= rows <= MAX_SIDE and 1 <= columns <= MAX_SIDE):
            raise SourceFailed(
                f"Rows and Columns of the DICOM file are not from 1 to {MAX_SIDE}",
                hint="pictures of that size can't be sent",
            )
        grey = photometric.startswith(("MONOCHROME", "PALETTE"))
        samples = whole(header, "SamplesPerPixel") or (1 if grey else 3)
        if not grey and not photometric.startswith(("RGB", "YBR_")):
            raise SourceFailed("PhotometricInterpretation of the DICOM file has no reader here")
        if samples != (1 if grey else 3):
            raise SourceFailed(
                "SamplesPerPixel and PhotometricInterpretation of the DICOM file do not fit each "
                "other"
            )
        floats = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}
        bits = floats.get(keyword) or whole(header, "BitsAllocated")
        if bits is None:
            raise SourceFailed("BitsAllocated is missing in the DICOM file")
        if bits not in (1, 8, 16, 32, 64) or (bits == 1 and samples != 1):
            raise SourceFailed(
                f"there is no reader here for samples of {bits} bits (BitsAllocated of the DICOM "
                "file), but for 1, 8, 16, 32 and 64, in colour from 8 on",
                hint="convert the file first, for example with GDCM's gdcmconv --raw",
            )
        kind = "f" if keyword != "PixelData" else "ui"[whole(header, "PixelRepresentation") == 1]
        dtype = np.dtype("u1" if bits == 1 else f"{'>' if big_endian else '<'}{kind}{bits // 8}")
        by_plane = samples > 1 and whole(header, "PlanarConfiguration") == 1
        pitch = columns if samples == 3 and "_42" in photometric else 0
        stored = whole(header, "BitsStored") or bits
        stored = stored if 1 <= stored <= bits else bits
        return cls(rows, columns, samples, bits, stored, dtype, photometric, by_plane, pitch)

    @property
    def pixels(self) -> int:
        return self.rows * self.columns

    @property
    def stored_bits(self) -> int:
        """The bits of an uncompressed frame."""
        if self.pitch:  # two of three samples a pixel
            return -(-self.rows * self.pitch // 2) * 4 * self.bits_allocated
        return self.pixels * self.samples * self.bits_allocated


def native(frame: bytes, layout: Layout) -> Samples:
    """Return the samples of an uncompressed frame."""
    rows, columns, pixels = layout.rows, layout.columns, layout.pixels
    if len(frame) * 8 < layout.stored_bits:
        raise BadFrame("it is cut short")
    if layout.bits_allocated == 1:
        bits = np.unpackbits(np.frombuffer(frame, np.uint8), count=pixels, bitorder="little")
        return bits.reshape(rows, columns)
    stored = np.frombuffer(frame, layout.dtype, layout.stored_bits // layout.bits_allocated)
    if layout.samples == 1:
        return stored.reshape(rows, columns)
    if layout.pitch:  # C.7.6.3.1.2: Y, Y, Cb, Cr for every two pixels
        pairs = stored.reshape(-1, 4)
        flat = np.empty((len(pairs) * 2, 3), stored.dtype)
        flat[:, 0] = pairs[:, :2].reshape(-1)
        flat[:, 1:] = np.repeat(pairs[:, 2:], 2, axis=0)
        samples = flat[: rows * layout.pitch].reshape(rows, layout.pitch, 3)[:, :columns]
    elif layout.by_plane:
        samples = stored.reshape(3, rows, columns).transpose(1, 2, 0)
    else:
        samples = stored.reshape(rows, columns, 3)
    return as_rgb(samples, layout, layout.bits_stored)


def as_rgb(samples: Samples, layout: Layout, bits: int) -> Samples:
    """Bring YCbCr samples of `bits` bits to RGB where the file says that they are YCbCr."""
    if not layout.photometric.startswith("YBR"):
        return np.ascontiguousarray(samples)
    return rgb_of_ycbcr(samples, bits, partial="PARTIAL" in layout.photometric)


def rgb_of_ycbcr(samples: Samples, bits: int, *, partial: bool = False) -> Samples:
    """C.7.6.3.1.2, ITU-R BT.601: of full range, or `partial`, of the range of studios."""
    peak, step = float((1 << bits) - 1), 2.0 ** (bits - 8)
    luma, chroma = (peak / (219 * step), peak / (224 * step)) if partial else (1.0, 1.0)
    matrix = np.array([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]])
    matrix = matrix * np.array([luma, chroma, chroma])
    zero = np.array([16 * step if partial else 0, 128 * step, 128 * step])
    affine = np.column_stack([matrix, -matrix @ zero])
    stored = np.ascontiguousarray(samples, samples.dtype.newbyteorder("="))
    if bits == 8 * stored.dtype.itemsize and bits <= 16:
        return np.asarray(cv2.transform(stored, affine))  # rounds and clips
    rgb = np.asarray(stored @ affine[:, :3].T + affine[:, 3], np.float64)
    return np.asarray(np.rint(np.clip(rgb, 0, peak)), stored.dtype)


def deflated(frame: bytes, layout: Layout) -> Samples:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        return native(inflater.decompress(frame, -(-layout.stored_bits // 8)), layout)
    except zlib.error:
        raise BadFrame("its deflated data are damaged") from None


def run_lengths(frame: bytes, layout: Layout) -> Samples:
    """PS3.5 annex G: a segment for each byte of each sample, the highest byte first."""
    depth = -(-layout.bits_allocated // 8)
    count = layout.samples * depth
    if len(frame) < 64:
        raise BadFrame("it has no RLE header")
    claimed, *offsets = struct.unpack("<16I", frame[:64])
    if claimed != count or not all(64 <= offset < len(frame) for offset in offsets[:count]):
        raise BadFrame("its RLE header does not fit the header of the file")
    nbytes = layout.pixels if layout.bits_allocated > 1 else -(-layout.pixels // 8)
    # Segments come in any order and end where the next in the frame begins.
    ends = sorted([*offsets[:count], len(frame)])
    planes = []
    for offset in offsets[:count]:
        packed = frame[offset : ends[ends.index(offset) + 1]]
        try:
            plane = Pillow.frombytes("L", (nbytes, 1), packed, "packbits", "L")
        except (ValueError, OSError):
            raise BadFrame("its RLE data are damaged or cut short") from None
        planes.append(np.asarray(plane, np.uint8).reshape(-1))
    if layout.bits_allocated == 1:
        return native(planes[0].tobytes(), layout)
    shape = (layout.rows, layout.columns)
    words = [
        np.stack(planes[i : i + depth], axis=-1).view(layout.dtype.newbyteorder(">"))
        if depth > 1
        else planes[i].view(layout.dtype)
        for i in range(0, count, depth)
    ]
    if layout.samples == 1:
        return words[0].reshape(shape)
    if depth == 1:
        merged = cv2.merge([word.reshape(shape) for word in words])
        return as_rgb(np.asarray(merged), layout, 8)
    samples = np.stack([word.reshape(shape) for word in words], axis=-1)
    return as_rgb(samples, layout, layout.bits_stored)
