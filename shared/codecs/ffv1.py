"""FFV1 version 3 (RFC 9043), intra-only, through PyAV: the exact codec for colour.

RGB goes through FFV1's reversible colour transform, in slices that several cores code at once.

Payload, big-endian: format u8, channels u8, width u16, height u16, length of the configuration
record u16, CRC-32 of the decoded samples u32; then the configuration record (RFC 9043, 4.3), then
the frame.  Each payload carries its record, about 40 bytes, so that it decodes on its own.
"""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from typing import cast

import av
import cv2
import numpy as np
from av.video.codeccontext import VideoCodecContext

from shared.codecs.codec import cores
from shared.codecs.ffv1record import slices_of
from shared.errors import BadInput, DecodeFailed
from shared.frame import Image

__all__ = ["FORMAT", "Ffv1Decoder", "Ffv1Encoder"]

_HEADER = struct.Struct(">BBHHHI")  # format, channels, width, height, record length, CRC-32
FORMAT = 1
_MAX_RECORD = 256  # bytes; FFV1's record with the settings below takes about 40
_PIXEL_FORMATS = {1: "gray", 3: "bgr0"}  # bgr0: what FFV1 takes for 8-bit RGB; the fourth is void
_FINE_SLICES_FROM = 1 << 20  # pixels; above, cores matter more than the bytes that slices cost
_COARSE_SLICES, _FINE_SLICES = 4, 16
_MOST_SLICES = 64  # that a decoder takes up states for
_MAX_THREADS = 8  # more bring nothing at 16 slices


def _threads(pixels: int) -> int:
    """Return how many threads to code a picture of so many `pixels` with."""
    return max(1, min(_slices(pixels), cores(), _MAX_THREADS))


def _slices(pixels: int) -> int:
    return _FINE_SLICES if pixels >= _FINE_SLICES_FROM else _COARSE_SLICES


class Ffv1Encoder:
    """Holds one context for each run of equal picture sizes."""

    def __init__(self) -> None:
        self._shape: tuple[int, ...] = ()
        self._context: VideoCodecContext | None = None
        self._record = b""
        self._pts = 0

    def encode(self, image: Image) -> bytes:
        """Return the payload of a checked image."""
        if self._context is None or image.shape != self._shape:
            self._context = self._open(image.shape)
            self._shape = image.shape
        height, width = int(image.shape[0]), int(image.shape[1])
        channels = 1 if image.ndim == 2 else 3
        packets = self._context.encode(self._frame(image, channels))
        if len(packets) != 1:  # intra-only with slice threads: one in, one out
            raise BadInput("this FFmpeg's FFV1 encoder holds frames back; it can't be used live")
        header = _HEADER.pack(
            FORMAT, channels, width, height, len(self._record), zlib.crc32(image.data)
        )
        return b"".join((header, self._record, bytes(packets[0])))

    def _open(self, shape: tuple[int, ...]) -> VideoCodecContext:
        height, width = shape[0], shape[1]
        context = av.CodecContext.create("ffv1", "w")
        context.width, context.height = width, height
        context.pix_fmt = _PIXEL_FORMATS[1 if len(shape) == 2 else 3]
        context.time_base = Fraction(1, 1000)
        context.gop_size = 1
        context.options = {
            "level": "3",
            "coder": "0",  # Golomb-Rice: half the time of the range coder for 5 % more bytes
            "context": "0",
            "slices": str(_slices(width * height)),
            "slicecrc": "0",  # the CRC over the samples says more
        }
        context.thread_type = "SLICE"  # frame threads would hold frames back
        context.thread_count = _threads(width * height)
        context.open()
        self._record = bytes(context.extradata or b"")
        return context

    def _frame(self, image: Image, channels: int) -> av.VideoFrame:
        frame = av.VideoFrame(image.shape[1], image.shape[0], _PIXEL_FORMATS[channels])
        if channels == 1:
            np.copyto(_samples(frame, 1), image)
        else:
            cv2.cvtColor(image, cv2.COLOR_RGB2BGRA, dst=_samples(frame, 4))
        frame.pts = self._pts
        self._pts += 1
        return frame


class Ffv1Decoder:
    """Holds one context for each run of equal configuration."""

    def __init__(self) -> None:
        self._configuration: tuple[int, int, int, bytes] | None = None
        self._context: VideoCodecContext | None = None

    def decode(self, data: bytes, *, width: int, height: int, channels: int) -> Image:
        """Return the picture in a payload announced as that large; raises `DecodeFailed`."""
        if len(data) <= _HEADER.size:
            raise DecodeFailed("the lossless payload is cut short")
        kind, held_channels, held_width, held_height, record_size, crc = _HEADER.unpack_from(data)
        if kind != FORMAT:
            raise DecodeFailed("the lossless payload has an unknown format")
        if (held_width, held_height, held_channels) != (width, height, channels):
            raise DecodeFailed("the lossless payload holds another size than announced")
        body = _HEADER.size + record_size
        if not 0 < record_size <= _MAX_RECORD or body >= len(data):
            raise DecodeFailed("the lossless payload has a malformed configuration record")
        configuration = (width, height, channels, data[_HEADER.size : body])
        image = self._decode(configuration, data[body:])
        if zlib.crc32(image.data) != crc:
            raise DecodeFailed("the lossless payload does not give the picture it was made from")
        return image

    def _decode(self, configuration: tuple[int, int, int, bytes], data: bytes) -> Image:
        width, height, channels, _ = configuration
        try:
            if self._context is None or configuration != self._configuration:
                self._context = self._open(configuration)
                self._configuration = configuration
            frames = self._context.decode(av.Packet(data))
        except (av.FFmpegError, OSError, ValueError):
            self._context = None  # nothing of a damaged frame may reach the next one
            raise DecodeFailed("the lossless payload is damaged") from None
        if len(frames) != 1:
            self._context = None
            raise DecodeFailed("the lossless payload does not hold one picture")
        frame = frames[0]
        found = (frame.width, frame.height, frame.format.name)
        if found != (width, height, _PIXEL_FORMATS[channels]):
            raise DecodeFailed("the lossless payload decodes to another kind of picture")
        if channels == 1:
            return _samples(frame, 1).copy()
        return np.asarray(cv2.cvtColor(_samples(frame, 4), cv2.COLOR_BGRA2RGB), np.uint8)

    @staticmethod
    def _open(configuration: tuple[int, int, int, bytes]) -> VideoCodecContext:
        width, height, _, record = configuration
        if slices_of(record) > _MOST_SLICES:
            raise DecodeFailed("the lossless payload has more slices than a picture needs")
        context = av.CodecContext.create("ffv1", "r")
        context.width, context.height = width, height
        context.extradata = record
        context.thread_type = "SLICE"
        context.thread_count = _threads(width * height)
        context.open()
        return context


def _samples(frame: av.VideoFrame, bytes_per_pixel: int) -> Image:
    """Return the frame's only plane as a view `(H, W)` or `(H, W, bytes_per_pixel)`.

    Rows keep the frame's own stride, so that nothing is copied.
    """
    plane = frame.planes[0]
    buffer = cast("bytearray", plane)  # a plane is a writable buffer, which PyAV's types don't say
    if bytes_per_pixel == 1:
        strides: tuple[int, ...] = (plane.line_size, 1)
        shape: tuple[int, ...] = (frame.height, frame.width)
    else:
        strides = (plane.line_size, bytes_per_pixel, 1)
        shape = (frame.height, frame.width, bytes_per_pixel)
    return np.ndarray(shape, np.uint8, buffer, strides=strides)
