"""Compressed frames: JPEG and its family, each told by what its own first bytes say.

What kind of JPEG a frame is, the frame says: files often name another.  Each decoder is the fastest
that is right: libjpeg for JPEG, CharLS for JPEG-LS, OpenJPEG for JPEG 2000, FFmpeg and GDCM for
JPEG lossless and of 12 bits, libjxl (extra `jpegxl`) for JPEG XL.
"""

from __future__ import annotations

import dataclasses
import logging

import av
import cv2
import gdcm
import jpeg_ls
import numpy as np
from openjpeg.utils import decode as j2k_decode

from sender.sources.dicom.codestream import Jpeg, Jpeg2000, jpeg_2000_of, jpeg_of, jpeg_xl_size
from sender.sources.dicom.samples import Samples
from sender.sources.dicom.uncompressed import BadFrame, Layout, as_rgb, rgb_of_ycbcr
from sender.sources.pictures.jpegdata import decoded as jpeg_decoded
from shared.errors import SourceFailed

__all__ = ["compressed"]

# What it logs of a damaged frame is told in our own words.
logging.getLogger("openjpeg").setLevel(logging.CRITICAL)


def compressed(frame: bytes, layout: Layout) -> Samples:
    if (jpeg := jpeg_of(frame)) is not None:
        if layout.samples == 3 and len(jpeg.components) == 1:
            # What is grey is grey, also in a file that says that its pictures have colours.
            grey = dataclasses.replace(layout, samples=1, photometric="MONOCHROME2", pitch=0)
            return np.repeat(_jpeg(frame, jpeg, grey)[:, :, None], 3, axis=2)
        return _jpeg(frame, jpeg, layout)
    if frame[:2] == b"\xff\xd8":
        raise BadFrame("its JPEG markers are damaged")
    if frame.startswith((b"\xff\x0a", b"\x00\x00\x00\x0cJXL ")):
        return _jpeg_xl(frame, layout)
    if (header := jpeg_2000_of(frame)) is not None:
        return _jpeg_2000(frame, header, layout)
    raise BadFrame("it does not begin as a compressed picture does")


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
        return _as_told(samples.reshape(layout.rows, layout.columns), jpeg.precision, layout)
    if info["interleave_mode"] == 0:  # plane by plane
        planes = samples.reshape(3, layout.rows, layout.columns)
        samples = np.asarray(cv2.merge(list(planes)))
    samples = samples.reshape(layout.rows, layout.columns, 3)
    if layout.photometric.startswith("YBR") and not jpeg.named_rgb:
        return rgb_of_ycbcr(samples, jpeg.precision)
    return samples


def _as_told(samples: Samples, precision: int, layout: Layout) -> Samples:
    """Follow the file's PixelRepresentation where samples of `precision` bits were decoded with
    another sign: carry the sign bit up, or clear what was."""
    if {samples.dtype.kind, layout.dtype.kind} != {"i", "u"}:
        return samples
    unused = 8 * samples.dtype.itemsize - precision
    kind = np.dtype(f"{layout.dtype.kind}{samples.dtype.itemsize}")
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
        return rgb if jpeg.named_rgb else as_rgb(rgb, layout, 8)
    if samples.dtype.itemsize == 2:
        samples = samples >> (16 - jpeg.precision)
    return _as_told(samples, jpeg.precision, layout)


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
        return _as_told(samples.reshape(layout.rows, layout.columns), bits, layout)
    rgb = samples.reshape(layout.rows, layout.columns, 3)
    return rgb if jpeg.named_rgb else as_rgb(rgb, layout, bits)


def _jpeg_2000(frame: bytes, header: Jpeg2000, layout: Layout) -> Samples:
    _check_size(header.rows, header.columns, header.components, layout)
    try:
        samples = np.asarray(j2k_decode(frame))
    except Exception:  # RuntimeError, and others from its own parser
        raise BadFrame("its JPEG 2000 data are damaged or cut short") from None
    if layout.samples == 1:
        return _as_told(samples.reshape(layout.rows, layout.columns), header.precision, layout)
    samples = np.ascontiguousarray(samples)
    # What the picture transforms itself comes as RGB, whatever the file says.
    if layout.photometric in ("YBR_FULL", "YBR_FULL_422") and not header.transforms_colour:
        return rgb_of_ycbcr(samples, layout.bits_stored)
    return samples


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
    return _as_told(samples, layout.bits_allocated, layout) if layout.samples == 1 else samples
