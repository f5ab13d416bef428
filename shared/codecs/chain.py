"""Payloads that build on the one before: how they are numbered, and what may follow what.

A chain is a key picture and those that follow it, each of which changes the picture before it.
Payload, big-endian: format u8, chain u16, position u32 (0: the key picture), CRC-32 u32; then the
picture as its codec writes it.  The CRC is over format, chain, position, the picture's width u16,
height u16 and channels u8 as announced, and the coded picture.  With that a decoder notices by
itself a picture that is missing, repeated, damaged, of another chain or not as announced, and
never shows what depends on it.

This file knows no codec.
"""

from __future__ import annotations

import secrets
import struct
import zlib

import av
from av.codec.context import Flags
from av.video.codeccontext import VideoCodecContext

from shared.codecs.codec import cores
from shared.codecs.planes import PlaneReader, padded
from shared.errors import DecodeFailed
from shared.frame import Image
from shared.wire import check_announced

__all__ = ["ChainDecoder", "ChainReader", "ChainWriter", "Shape", "shape_of"]

Shape = tuple[int, int, int]
"""Width and height in pixels, channels."""

_PLACE = struct.Struct(">BHI")  # format, chain, position
_CRC = struct.Struct(">I")
_SHAPE = struct.Struct(">HHB")
_DATA = _PLACE.size + _CRC.size
_CHAINS = 1 << 16


def shape_of(image: Image) -> Shape:
    """The shape of a checked image, as it is announced."""
    return int(image.shape[1]), int(image.shape[0]), 1 if image.ndim == 2 else 3


class ChainWriter:
    """The encoder's side: gives each picture its place."""

    def __init__(self, format_number: int) -> None:
        self._format = format_number
        self._chain = secrets.randbelow(_CHAINS)  # a new encoder does not go on another's chain
        self._position = 0

    def pack(self, data: bytes, *, shape: Shape, key: bool) -> bytes:
        """Return the payload of the next picture, coded as `data`."""
        if key:
            self._chain = (self._chain + 1) % _CHAINS
            self._position = 0
        else:
            self._position += 1
        place = _PLACE.pack(self._format, self._chain, self._position)
        return b"".join((place, _CRC.pack(_checksum(place, shape, data)), data))


class ChainReader:
    """The decoder's side: says what may be decoded now."""

    def __init__(self, format_number: int) -> None:
        self._format = format_number
        self._next: tuple[int, int] | None = None

    def unpack(
        self, payload: bytes | bytearray | memoryview, *, shape: Shape, key: bool
    ) -> memoryview:
        """Return the coded picture in `payload` if it can be decoded now.

        Raises `DecodeFailed` otherwise; what was decoded so far is still good then.
        """
        view = memoryview(payload)
        if len(view) <= _DATA:
            raise DecodeFailed("the payload is cut short")
        place, data = view[: _PLACE.size], view[_DATA:]
        number, chain, position = _PLACE.unpack(place)
        if number != self._format:
            raise DecodeFailed("the payload has an unknown format")
        if _CRC.unpack_from(view, _PLACE.size) != (_checksum(place, shape, data),):
            raise DecodeFailed("the payload is damaged, or not of the announced size")
        if key != (position == 0):
            raise DecodeFailed("the payload is not the kind of picture it was announced as")
        if not key and (chain, position) != self._next:
            raise DecodeFailed("the picture builds on one that was not decoded just before it")
        self._next = (chain, position + 1)
        return data

    def broken(self) -> None:
        """Take only a key picture from now on: the one just unpacked did not decode."""
        self._next = None


def _checksum(place: bytes | memoryview, shape: Shape, data: bytes | memoryview) -> int:
    return zlib.crc32(data, zlib.crc32(_SHAPE.pack(*shape), zlib.crc32(place)))


_BLOCK = 64  # pixels a side; H.264 counts a picture in blocks of 16, hardware in larger ones
_THREADS_FROM = 640 * 480  # pixels; below, waking a second thread takes longer than it saves
_MAX_THREADS = 4


class ChainDecoder:
    """See `shared.codecs.codec.Decoder`; `decoder` is FFmpeg's name of it."""

    def __init__(self, name: str, decoder: str, format_number: int, *, halved: bool) -> None:
        self.name = name
        self._decoder = decoder
        self._halved = halved
        self._chain = ChainReader(format_number)
        self._shape: Shape | None = None
        self._context: VideoCodecContext | None = None
        self._reader: PlaneReader | None = None

    def decode(
        self,
        payload: bytes | bytearray | memoryview,
        *,
        width: int,
        height: int,
        channels: int,
        key: bool = True,
    ) -> Image:
        check_announced(width, height, channels)
        shape = (width, height, channels)
        data = self._chain.unpack(payload, shape=shape, key=key)
        try:
            if key:
                self._start(shape)
            if self._context is None or self._reader is None or shape != self._shape:
                raise DecodeFailed("the picture is of another size than the one that it builds on")
            return self._decode(self._context, self._reader, bytes(data))
        except DecodeFailed:
            self.forget()
            raise

    def forget(self) -> None:
        """Take only a key picture from now on."""
        self._chain.broken()
        self._context = None

    def _start(self, shape: Shape) -> None:
        """Begin a chain: nothing of the one before may reach it."""
        if self._context is not None and shape == self._shape:
            self._context.flush_buffers()
            return
        width, height, channels = shape
        self._context = self._open(*padded(width, height, halved=self._halved))
        self._reader = PlaneReader(width, height, channels, halved=self._halved)
        self._shape = shape

    @staticmethod
    def _decode(context: VideoCodecContext, reader: PlaneReader, data: bytes) -> Image:
        try:
            frames = context.decode(av.Packet(data))
        except (av.FFmpegError, OSError, ValueError):
            raise DecodeFailed("the payload is damaged") from None
        if len(frames) != 1 or frames[0].is_corrupt:
            raise DecodeFailed("the payload does not hold one whole picture")
        return reader.read(frames[0])

    def _open(self, width: int, height: int) -> VideoCodecContext:
        try:
            context = av.CodecContext.create(self._decoder, "r")
        except (av.FFmpegError, ValueError):
            raise DecodeFailed(f"this FFmpeg has no decoder {self._decoder}") from None
        if not isinstance(context, VideoCodecContext):
            raise DecodeFailed(f"this FFmpeg has no decoder {self._decoder}")
        context.flags |= int(Flags.low_delay)
        threads = cores() if width * height >= _THREADS_FROM else 1
        context.thread_type = "SLICE"
        context.thread_count = min(threads, _MAX_THREADS)
        most = -(-width // _BLOCK) * -(-height // _BLOCK) * _BLOCK * _BLOCK
        context.options = {"max_pixels": str(most), "err_detect": "explode", "ec": "0"}
        context.open()
        return context
