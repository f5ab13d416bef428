"""libx264 through PyAV, set up for live pictures: one in, one out, key pictures only when asked.

No B-frames, no lookahead, one reference, sliced threads.  This file knows neither rates nor
qualities; those who open it add them.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import TypeAlias

import av
from av.codec.context import Flags
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType
from av.video.stream import VideoStream

from shared.codecs.codec import cores
from shared.codecs.planes import COLOURSPACE, FULL_RANGE
from shared.errors import BadInput

__all__ = ["CLOCK", "X264", "VideoPacket", "submit"]

VideoPacket: TypeAlias = "Packet[VideoStream]"

CLOCK = 30
"""Pictures a second that x264 is told, whatever the truth; bitrates given to it are scaled."""

_NEVER = 1 << 30  # pictures between periodic key pictures; x264's infinity
_SRGB_PRIMARIES, _SRGB_TRANSFER = 1, 13
_THREADS_FROM = 640 * 480  # pixels; below, more threads cost more than they save
_MAX_THREADS = 4


class X264:
    """One open encoder for frames like `frame` (its size, sampling and range).

    Raises `BadInput` if there is no libx264 here, or none that takes these settings.
    """

    def __init__(
        self,
        frame: av.VideoFrame,
        options: Mapping[str, str],
        *,
        bitrate_bps: int | None = None,
        quantisers: tuple[int, int] | None = None,
        psnr: bool = False,
    ) -> None:
        self._pts = 0
        try:
            context = av.CodecContext.create("libx264", "w")
            context.width, context.height = frame.width, frame.height
            context.pix_fmt = frame.format.name
            context.time_base, context.framerate = Fraction(1, CLOCK), Fraction(CLOCK)
            context.gop_size, context.max_b_frames = _NEVER, 0
            context.color_range, context.colorspace = FULL_RANGE, COLOURSPACE
            context.color_primaries, context.color_trc = _SRGB_PRIMARIES, _SRGB_TRANSFER
            if bitrate_bps is not None:
                context.bit_rate = bitrate_bps
            if quantisers is not None:
                context.qmin, context.qmax = quantisers
            if psnr:
                context.flags |= int(Flags.psnr)
            context.thread_type = "SLICE"
            many = frame.width * frame.height >= _THREADS_FROM
            context.thread_count = min(cores(), _MAX_THREADS) if many else 1
            context.options = {
                "tune": "zerolatency",
                "forced-idr": "1",
                "sc_threshold": "0",  # a cut is no reason for a key picture nobody asked for
                "refs": "1",
                **options,
            }
            context.open()
        except (av.FFmpegError, ValueError):
            raise BadInput("this FFmpeg has no libx264 for it", hint="use another codec") from None
        self._context = context

    def encode(
        self, frame: av.VideoFrame, *, key: bool, bitrate_bps: int | None = None
    ) -> VideoPacket:
        """Return the packet of `frame`, at another bitrate from now on if one is given."""
        pts, self._pts = self._pts, self._pts + 1
        packets = submit(self._context, frame, pts, key=key, bitrate_bps=bitrate_bps)
        if len(packets) != 1:
            raise BadInput("this FFmpeg's libx264 holds pictures back; it can't be used live")
        return packets[0]


def submit(
    context: VideoCodecContext,
    frame: av.VideoFrame,
    pts: int,
    *,
    key: bool,
    bitrate_bps: int | None,
) -> list[VideoPacket]:
    """Give `frame` to an encoder, at another bitrate from now on if one is given."""
    frame.pts = pts
    frame.pict_type = PictureType.I if key else PictureType.NONE
    if bitrate_bps is not None:
        context.bit_rate = bitrate_bps
    return context.encode(frame)
