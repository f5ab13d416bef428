"""The decoder of every codec whose pictures build on one another: one payload in, one picture out.

FFmpeg decodes in the calling thread or by slices, never by frames, so that nothing is held back.
Errors are errors: what FFmpeg could only conceal is refused, and then only a key picture is taken.
A picture's size is checked against the announced one before memory is taken for it.
"""

from __future__ import annotations

import av
from av.codec.context import Flags
from av.video.codeccontext import VideoCodecContext

from shared.codecs.chain import ChainReader, Shape
from shared.codecs.codec import check_announced
from shared.codecs.machine import cores
from shared.codecs.planes import PlaneReader, padded
from shared.errors import DecodeFailed
from shared.frame import Image

__all__ = ["ChainDecoder"]

_BLOCK = 64  # pixels; codecs count a picture in blocks of 16 (H.264) to 64 (AV1) a side
_THREADS_FROM = 640 * 480  # pixels; below, waking a second thread takes longer than it saves
_MAX_THREADS = 4


class ChainDecoder:
    """See `shared.codecs.codec.Decoder`; `decoder` is FFmpeg's name of it."""

    def __init__(
        self, name: str, decoder: str, format_number: int, *, halved: bool, least_side: int = 1
    ) -> None:
        self._least_side = least_side
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
        halved, least = self._halved, self._least_side
        self._context = self._open(*padded(width, height, halved=halved, least_side=least))
        self._reader = PlaneReader(width, height, channels, halved=halved, least_side=least)
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
