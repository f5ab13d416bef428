"""H.264 by a graphics processor, where there is one that does as it is told.

Drivers differ in what they make of the same settings, so an encoder is used only after it has coded
a short moving scene here: one picture out for each one in, a key picture when asked and only then,
no picture much above its share of the bitrate, also after a change of it, and a good picture out of
our own decoder.  What fails any of that is as good as not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext

from shared.codecs.chain import ChainDecoder, ChainWriter
from shared.codecs.planes import COLOURSPACE, FULL_RANGE, PlaneWriter
from shared.codecs.x264 import CLOCK, VideoPacket, submit
from shared.errors import BadInput, DecodeFailed
from shared.frame import Image
from shared.quality import psnr_db

__all__ = ["HARDWARE", "HardwareEncoder", "HardwareH264", "working_hardware"]


@dataclass(frozen=True, slots=True)
class HardwareEncoder:
    """FFmpeg's name of an encoder, and the settings that make it live."""

    name: str
    options: Mapping[str, str]


HARDWARE = (
    HardwareEncoder(
        "h264_nvenc",
        {
            "preset": "p3", "tune": "ull", "rc": "cbr", "zerolatency": "1", "delay": "0",
            "rc-lookahead": "0", "forced-idr": "1", "multipass": "disabled",
        },
    ),
    HardwareEncoder(
        "h264_qsv",
        {"preset": "veryfast", "async_depth": "1", "look_ahead": "0", "forced_idr": "1"},
    ),
)  # fmt: skip
"""In order of preference.  VA-API is not among them: its bitrate can't be changed as it runs."""

_NEVER = 1 << 30  # pictures between periodic key pictures
_PROBE_SIZE = (640, 480)
_PROBE_BPS = (4_000_000, 1_500_000)
_PROBE_FRAMES = 12  # at each bitrate
_MOST_OF_SHARE = 1.5  # how much more than its share a picture of the probe may take
_LEAST_PSNR_DB = 28.0


class HardwareH264:
    """One open encoder for frames like `frame`; the same face as `shared.codecs.x264.X264`.

    Raises `BadInput`, on opening and on encoding, for whatever the driver does not do.
    """

    def __init__(
        self, encoder: HardwareEncoder, frame: av.VideoFrame, *, bitrate_bps: int, finest: int
    ) -> None:
        self._pts = 0
        self._failed = f"{encoder.name} does not work here"
        try:
            context = av.CodecContext.create(encoder.name, "w")
            if not isinstance(context, VideoCodecContext):
                raise ValueError(encoder.name)
            context.width, context.height = frame.width, frame.height
            context.pix_fmt = frame.format.name
            context.time_base, context.framerate = Fraction(1, CLOCK), Fraction(CLOCK)
            context.gop_size, context.max_b_frames = _NEVER, 0
            context.color_range, context.colorspace = FULL_RANGE, COLOURSPACE
            context.bit_rate = bitrate_bps
            context.qmin, context.qmax = finest, 51
            context.options = dict(encoder.options)
            context.open()
        except (av.FFmpegError, ValueError, OSError):
            raise BadInput(self._failed) from None
        self._context = context

    def encode(
        self, frame: av.VideoFrame, *, key: bool, bitrate_bps: int | None = None
    ) -> VideoPacket:
        """Return the packet of `frame`, at another bitrate from now on if one is given."""
        pts, self._pts = self._pts, self._pts + 1
        try:
            packets = submit(self._context, frame, pts, key=key, bitrate_bps=bitrate_bps)
        except (av.FFmpegError, ValueError, OSError):
            raise BadInput(self._failed) from None
        if len(packets) != 1:
            raise BadInput(self._failed)
        return packets[0]


@cache
def working_hardware() -> HardwareEncoder | None:
    """The first of `HARDWARE` that passes its trial, found once a process; None if none does."""
    return next((encoder for encoder in HARDWARE if works(encoder)), None)


def works(encoder: HardwareEncoder) -> bool:
    """Whether `encoder` is there and does as it is told."""
    width, height = _PROBE_SIZE
    shape = (width, height, 1)
    planes = PlaneWriter(*shape, halved=True)
    chain, decoder = ChainWriter(1), ChainDecoder("trial", "h264", 1, halved=True)
    try:
        coder = HardwareH264(encoder, planes.frame, bitrate_bps=_PROBE_BPS[0], finest=18)
        for index in range(2 * _PROBE_FRAMES):
            picture = _scene(index)
            bitrate = _PROBE_BPS[index // _PROBE_FRAMES]
            key = index == _PROBE_FRAMES // 2
            packet = coder.encode(planes.write(picture), key=key, bitrate_bps=bitrate)
            settling = index % _PROBE_FRAMES < 2
            if packet.is_keyframe != (key or index == 0):
                return False
            if packet.size > bitrate / 8 / CLOCK * _MOST_OF_SHARE and not settling:
                return False
            payload = chain.pack(bytes(packet), shape=shape, key=packet.is_keyframe)
            shown = decoder.decode(
                payload, width=width, height=height, channels=1, key=packet.is_keyframe
            )
            psnr = psnr_db(picture, shown)
            if psnr is not None and psnr < _LEAST_PSNR_DB and not settling:
                return False
    except (BadInput, DecodeFailed):
        return False
    return True


def _scene(index: int) -> Image:
    """A smooth pattern that moves, with a bright bar crossing it: easy, but not the same twice."""
    width, height = _PROBE_SIZE
    x, y = np.meshgrid(np.arange(width) + 3 * index, np.arange(height) + index)
    picture = 128 + 60 * np.sin(x / 23) * np.cos(y / 31)
    picture[:, 10 * index : 10 * index + 20] = 240
    return picture.astype(np.uint8)
