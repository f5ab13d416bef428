"""From the bytes of one frame to its samples, by transfer syntax (PS3.5 8.2, A.4).

Grey and palette samples come as they are stored, colour comes as RGB.  Each decoder is the fastest
that is right: libjpeg for JPEG, Pillow for RLE (whose PackBits it knows from TIFF), CharLS for
JPEG-LS, OpenJPEG for JPEG 2000, FFmpeg for JPEG lossless and of 12 bits, libjxl (extra `jpegxl`)
for JPEG XL.  What kind of JPEG a frame is, the frame says: files often name another.

A decoder is called by several threads.  It allocates by the file's rows and columns, which were
checked, never by what a compressed frame claims.
"""

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import av
import cv2
import gdcm
import jpeg_ls
import numpy as np
from openjpeg.utils import decode as j2k_decode
from PIL import Image as Pillow
from pydicom.dataset import Dataset
from pydicom.uid import UID

from sender.sources.dicom.codestream import Jpeg, jpeg_2000_of, jpeg_of, jpeg_xl_size
from sender.sources.dicom.elements import whole, word
from sender.sources.dicom.samples import Samples
from sender.sources.pictures.jpegdata import decoded as jpeg_decoded
from shared.errors import SourceFailed
from shared.frame import MAX_SIDE

__all__ = ["BadFrame", "Decode", "Layout", "decoder_of", "syntax_name"]

# What it logs of a damaged frame is told in our own words.
logging.getLogger("openjpeg").setLevel(logging.CRITICAL)

Decode = Callable[[bytes], Samples]
"""One frame's bytes in, its samples `(rows, columns)` or RGB `(rows, columns, 3)` out."""

# Newer than the dictionary of pydicom 3.0.
_NEW_NAMES = {
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    "1.2.840.10008.1.2.8.1": "Deflated Image Frame Compression",
}
_RLE = "1.2.840.10008.1.2.5"
_DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
_NATIVE_IN_ITEMS = "1.2.840.10008.1.2.1.98"


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
            raise SourceFailed("BitsAllocated of the DICOM file has no reader here")
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


def syntax_name(uid: UID | str | None) -> str:
    """Return the name of a transfer syntax, its UID where it has no name that is known."""
    if uid is None:
        return "an unnamed transfer syntax"
    return _NEW_NAMES.get(str(uid)) or str(UID(str(uid)).name)


def decoder_of(layout: Layout, transfer_syntax: UID | None, *, encapsulated: bool) -> Decode:
    """Return what decodes the frames of a file.

    Raises `SourceFailed` for an encoding that has no decoder here, saying what would decode it;
    the decoder itself raises `BadFrame`.
    """
    uid = str(transfer_syntax)
    if not encapsulated or uid == _NATIVE_IN_ITEMS:
        return lambda frame: native(frame, layout)
    if uid == _RLE:
        return lambda frame: _rle(frame, layout)
    if uid == _DEFLATED_FRAMES:
        return lambda frame: _deflated(frame, layout)
    # What says that it is not compressed, or says nothing, and is, is known by its content as well.
    if not (transfer_syntax is None or uid in _UNCOMPRESSED or uid.startswith(_JPEG_FAMILY)):
        raise SourceFailed(
            f"there is no decoder here for {syntax_name(uid)}",
            hint="convert the file first, with dcmtk's dcmdjpeg or GDCM's gdcmconv",
        )
    return lambda frame: _by_content(frame, layout)


_JPEG_FAMILY = "1.2.840.10008.1.2.4."
_UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")


def _by_content(frame: bytes, layout: Layout) -> Samples:
    if (jpeg := jpeg_of(frame)) is not None:
        return _jpeg(frame, jpeg, layout)
    if frame[:2] == b"\xff\xd8":
        raise BadFrame("its JPEG markers are damaged")
    if frame.startswith((b"\xff\x0a", b"\x00\x00\x00\x0cJXL ")):
        return _jpeg_xl(frame, layout)
    if (size := jpeg_2000_of(frame)) is not None:
        return _jpeg_2000(frame, layout, *size)
    raise BadFrame("it does not begin as a compressed picture does")


# -- uncompressed ---------------------------------------------------------------------------------


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
    return _as_rgb(samples, layout, layout.bits_stored)


def _as_rgb(samples: Samples, layout: Layout, bits: int) -> Samples:
    """Bring YCbCr samples of `bits` bits to RGB where the file says that they are YCbCr."""
    if not layout.photometric.startswith("YBR"):
        return np.ascontiguousarray(samples)
    return _rgb_of_ycbcr(samples, bits, partial="PARTIAL" in layout.photometric)


def _rgb_of_ycbcr(samples: Samples, bits: int, *, partial: bool = False) -> Samples:
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


# -- without loss, by bytes -----------------------------------------------------------------------


def _deflated(frame: bytes, layout: Layout) -> Samples:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        return native(inflater.decompress(frame, -(-layout.stored_bits // 8)), layout)
    except zlib.error:
        raise BadFrame("its deflated data are damaged") from None


def _rle(frame: bytes, layout: Layout) -> Samples:
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
        return _as_rgb(np.asarray(merged), layout, 8)
    samples = np.stack([word.reshape(shape) for word in words], axis=-1)
    return _as_rgb(samples, layout, layout.bits_stored)


# -- JPEG and its family --------------------------------------------------------------------------


def _check_size(rows: int, columns: int, samples: int, layout: Layout) -> None:
    if (rows, columns) != (layout.rows, layout.columns):
        raise BadFrame("its compressed picture has another size than Rows and Columns say")
    if samples != layout.samples:
        raise BadFrame("its compressed picture has other components than SamplesPerPixel says")


def _jpeg(frame: bytes, jpeg: Jpeg, layout: Layout) -> Samples:
    _check_size(jpeg.rows, jpeg.columns, len(jpeg.components), layout)
    if jpeg.process == 0xF7:
        return _jpeg_ls(frame, jpeg, layout)
    if jpeg.process in (0xC0, 0xC1, 0xC2) and jpeg.precision == 8:
        return _jpeg_of_8_bits(jpeg, layout)
    # FFmpeg takes a difference of 32768 between neighbours for none, and deep colour for another.
    if jpeg.process == 0xC3 and jpeg.precision > (15 if layout.samples == 1 else 8):
        return _by_gdcm(jpeg, layout)
    if jpeg.process in (0xC1, 0xC2, 0xC3):
        return _by_ffmpeg(jpeg, layout)
    raise BadFrame("it is a kind of JPEG (hierarchical or arithmetic) that has no decoder here")


def _holds_ycbcr(jpeg: Jpeg, layout: Layout) -> bool:
    """Whether the three components are YCbCr, by the picture itself and else by the file."""
    if jpeg.named_rgb:
        return False
    return layout.photometric.startswith("YBR") or jpeg.jfif or jpeg.transform == 1


def _jpeg_of_8_bits(jpeg: Jpeg, layout: Layout) -> Samples:
    data = jpeg.plain
    if layout.samples == 3:
        data = jpeg.marked(ycbcr=_holds_ycbcr(jpeg, layout))
    try:
        return jpeg_decoded(data, grey=layout.samples == 1)
    except SourceFailed:
        raise BadFrame("its JPEG data are damaged or cut short") from None


def _jpeg_ls(frame: bytes, jpeg: Jpeg, layout: Layout) -> Samples:
    try:
        # Without an end, CharLS looks for one for many seconds where data are cut short.
        data, info = jpeg_ls.decode_pixel_data(frame + b"\xff\xd9")
        dtype = np.dtype(np.uint8 if info["bits_per_sample"] <= 8 else "<u2")
        samples = np.frombuffer(data, dtype, layout.pixels * layout.samples)
    except Exception:  # pyjpegls raises RuntimeError, and ValueError where bytes are missing
        raise BadFrame("its JPEG-LS data are damaged or cut short") from None
    if layout.samples == 1:
        return _signed(samples.reshape(layout.rows, layout.columns), jpeg.precision, layout)
    if info["interleave_mode"] == 0:  # plane by plane
        planes = samples.reshape(3, layout.rows, layout.columns)
        samples = np.asarray(cv2.merge(list(planes)))
    samples = samples.reshape(layout.rows, layout.columns, 3)
    if layout.photometric.startswith("YBR") and not jpeg.named_rgb:
        return _rgb_of_ycbcr(samples, jpeg.precision)
    return samples


def _signed(samples: Samples, precision: int, layout: Layout) -> Samples:
    """Samples of files of signed ones are decoded as if unsigned: carry the sign bit up."""
    if layout.dtype.kind != "i" or samples.dtype.kind == "i":
        return samples
    unused = 8 * samples.dtype.itemsize - precision
    kind = np.dtype(f"i{samples.dtype.itemsize}")
    return np.asarray((samples << unused).view(kind) >> unused)


def _by_ffmpeg(jpeg: Jpeg, layout: Layout) -> Samples:
    """JPEG lossless, and grey JPEG of more than 8 bits, which FFmpeg spreads over 16."""
    codec = av.CodecContext.create("mjpeg", "r")
    codec.thread_count = 1
    codec.options = {"err_detect": "explode"}
    try:
        frames = [*codec.decode(av.Packet(jpeg.plain)), *codec.decode(None)]
    except av.FFmpegError:
        raise BadFrame("its JPEG data are damaged or cut short") from None
    if not frames:
        raise BadFrame("its JPEG data are damaged or cut short")
    kind = (layout.samples, frames[0].format.name)
    if kind not in ((1, "gray"), (1, "gray16le"), (3, "bgr24")):
        raise BadFrame("it is a kind of JPEG that has no decoder here")
    samples: Samples = frames[0].to_ndarray()
    if samples.shape[:2] != (layout.rows, layout.columns):
        raise BadFrame("its compressed picture has another size than Rows and Columns say")
    if layout.samples == 3:
        rgb = np.ascontiguousarray(samples[:, :, ::-1])
        # Without loss, colours are transformed only where the file says so.
        return rgb if jpeg.named_rgb else _as_rgb(rgb, layout, 8)
    if samples.dtype.itemsize == 2:
        samples = samples >> (16 - jpeg.precision)
    return _signed(samples, jpeg.precision, layout)


def _by_gdcm(jpeg: Jpeg, layout: Layout) -> Samples:
    """JPEG lossless of 16 bits, or in colour of more than 8."""
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(jpeg.plain)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((layout.columns, layout.rows, 1))
    image.SetDataElement(element)
    # Its own colour conversion is kept out of it: RGB comes as it is.
    photometric = "MONOCHROME2" if layout.samples == 1 else "RGB"
    kind = gdcm.PhotometricInterpretation.GetPIType(photometric)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    syntax = gdcm.TransferSyntax.GetTSType("1.2.840.10008.1.2.4.70")
    image.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    bits = jpeg.precision
    image.SetPixelFormat(gdcm.PixelFormat(layout.samples, 16, bits, bits - 1, 0))
    # GDCM hands bytes over as text, and None where it fails.
    data = (image.GetBuffer() or "").encode("utf-8", "surrogateescape")
    if len(data) != layout.pixels * layout.samples * 2:
        raise BadFrame("its JPEG data are damaged or cut short")
    samples = np.frombuffer(data, "<u2")
    if layout.samples == 1:
        return _signed(samples.reshape(layout.rows, layout.columns), bits, layout)
    rgb = samples.reshape(layout.rows, layout.columns, 3)
    return rgb if jpeg.named_rgb else _as_rgb(rgb, layout, bits)


def _jpeg_2000(
    frame: bytes, layout: Layout, rows: int, columns: int, components: int, transforms: bool
) -> Samples:
    _check_size(rows, columns, components, layout)
    try:
        samples = np.asarray(j2k_decode(frame))
    except Exception:  # RuntimeError, and others from its own parser
        raise BadFrame("its JPEG 2000 data are damaged or cut short") from None
    if layout.samples == 1:
        return _sign_as_told(samples.reshape(layout.rows, layout.columns), frame, layout)
    samples = np.ascontiguousarray(samples)
    # What the picture transforms itself comes as RGB, whatever the file says.
    if layout.photometric in ("YBR_FULL", "YBR_FULL_422") and not transforms:
        return _rgb_of_ycbcr(samples, layout.bits_stored)
    return samples


def _sign_as_told(samples: Samples, frame: bytes, layout: Layout) -> Samples:
    """Follow the file's PixelRepresentation where the picture's own sign differs from it."""
    if samples.dtype.kind == layout.dtype.kind:
        return samples
    precision = frame[frame.index(b"\xff\x4f\xff\x51") + 42] & 0x7F  # Ssiz; its top bit: signed
    unused = 8 * samples.dtype.itemsize - (precision + 1)
    kind = np.dtype(f"{layout.dtype.kind}{samples.dtype.itemsize}")
    return np.asarray((samples << unused).view(kind) >> unused)


def _jpeg_xl(frame: bytes, layout: Layout) -> Samples:
    try:
        from imagecodecs import jpegxl_decode
    except ImportError:
        raise SourceFailed(
            "the pictures are compressed by JPEG XL, whose decoder is not installed",
            hint="pip install 'veilscope[jpegxl]'",
        ) from None
    size = jpeg_xl_size(frame)
    if size is None:
        raise BadFrame("its JPEG XL header is damaged")
    _check_size(*size, layout.samples, layout)
    try:
        samples = np.asarray(jpegxl_decode(frame))
    except Exception:  # its own RuntimeError
        raise BadFrame("its JPEG XL data are damaged or cut short") from None
    shape = (layout.rows, layout.columns, layout.samples)[: 2 if layout.samples == 1 else 3]
    if samples.shape != shape:
        raise BadFrame("its compressed picture has another size or other components than it says")
    return _signed(samples, layout.bits_allocated, layout) if layout.samples == 1 else samples
