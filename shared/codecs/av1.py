"""AV1 through SVT-AV1, low delay, decoded by dav1d: fewest bytes where the picture hardly changes.

SVT-AV1's constant bitrate has no bound for one picture: a key picture, and the first picture of a
moving scene, may take several times their share.  Nor does it take another bitrate while it runs:
a change by more than a fifth down or a half up begins a new stream with a key picture.  On a narrow
path `shared.codecs.h264` keeps its word better; docs/BENCHMARKS.md has both side by side.

`psnr_db` comes from decoding each payload.  Pictures smaller than the encoder takes are padded.
"""

from __future__ import annotations

import math
import os
from fractions import Fraction

import av
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

from shared.codecs.chain import ChainWriter, shape_of
from shared.codecs.chaindecoder import ChainDecoder
from shared.codecs.codec import DEFAULT_TARGET, EncoderTarget
from shared.codecs.machine import cores
from shared.codecs.planes import COLOURSPACE, FULL_RANGE, PlaneWriter
from shared.errors import BadInput
from shared.frame import EncodedFrame, Image, checked_image
from shared.quality import psnr_db

__all__ = ["Av1Decoder", "Av1Encoder"]

_NAME = "av1"
_FORMAT_OBU = 3
_LEAST_SIDE = 64  # pixels; what SVT-AV1 takes
_CLOCK = 30  # pictures a second that the encoder is told; the bitrate it is told is scaled to it
_NEVER = 1 << 20  # pictures between periodic key pictures
_DOWN, _UP = 0.8, 1.5  # of the stream's bitrate: a target outside begins a new stream
_FLOOR_BPS, _CEILING_BPS = 16_000, 100_000_000  # the encoder takes no more than the second
_MAX_THREADS = 4
_SETTINGS = "pred-struct=1:rtc=1:scd=0:lookahead=0:enable-overlays=0"


class Av1Encoder:
    """See `shared.codecs.codec.Encoder`."""

    name = _NAME

    def __init__(self, target: EncoderTarget = DEFAULT_TARGET) -> None:
        self._target = target
        self._chain = ChainWriter(_FORMAT_OBU)
        self._stream: _Stream | None = None

    def retarget(self, target: EncoderTarget) -> None:
        self._target = target

    def encode(self, image: Image, *, key: bool = False) -> EncodedFrame:
        image = checked_image(image)
        if self._stream is None or not self._stream.suits(image, self._target, key=key):
            self._stream = _Stream(image, self._target)
        data, is_key = self._stream.encode(image, key=key)
        width, height, channels = shape = shape_of(image)
        payload = self._chain.pack(data, shape=shape, key=is_key)
        shown = self._stream.decoder.decode(
            payload, width=width, height=height, channels=channels, key=is_key
        )
        psnr = psnr_db(image, shown)
        return EncodedFrame(self.name, width, height, channels, payload, psnr, is_key)


class Av1Decoder(ChainDecoder):
    """See `shared.codecs.codec.Decoder`."""

    def __init__(self) -> None:
        super().__init__(_NAME, "libdav1d", _FORMAT_OBU, halved=True, least_side=_LEAST_SIDE)


class _Stream:
    """One open encoder, for pictures of one shape at one quality and about one bitrate."""

    def __init__(self, image: Image, target: EncoderTarget) -> None:
        self._shape = image.shape
        self._quality = target.quality
        self._bitrate_bps = _told_bps(target)
        self._pts = 0
        self._planes = PlaneWriter(*shape_of(image), halved=True, least_side=_LEAST_SIDE)
        self._context = self._open()
        self.decoder = Av1Decoder()

    def suits(self, image: Image, target: EncoderTarget, *, key: bool) -> bool:
        """Whether the next picture can be encoded here."""
        if image.shape != self._shape or (key and target.quality != self._quality):
            return False
        mine, wanted = self._bitrate_bps, _told_bps(target)
        if mine is None or wanted is None:
            return mine == wanted
        return wanted == mine if key else _DOWN * mine <= wanted <= _UP * mine

    def encode(self, image: Image, *, key: bool) -> tuple[bytes, bool]:
        """The packet of `image`, and whether it is a key picture."""
        frame = self._planes.write(image)
        frame.pts = self._pts
        frame.pict_type = PictureType.I if key else PictureType.NONE
        self._pts += 1
        packets = self._context.encode(frame)
        if len(packets) != 1:
            raise BadInput("this FFmpeg's SVT-AV1 holds pictures back; it can't be used live")
        return bytes(packets[0]), packets[0].is_keyframe

    def _open(self) -> VideoCodecContext:
        frame = self._planes.frame
        # Its log goes to standard error, past every log level, unless told so before it is opened.
        os.environ.setdefault("SVT_LOG", "0")
        threads = min(cores(), _MAX_THREADS)
        try:
            context = av.CodecContext.create("libsvtav1", "w")
            context.width, context.height = frame.width, frame.height
            context.pix_fmt = frame.format.name
            context.time_base, context.framerate = Fraction(1, _CLOCK), Fraction(_CLOCK)
            context.gop_size = _NEVER
            context.color_range, context.colorspace = FULL_RANGE, COLOURSPACE
            settings = f"{_SETTINGS}:lp={threads}"
            options = {"preset": "12"}
            if self._bitrate_bps is None:
                options["crf"] = str(_crf(self._quality))
            else:
                context.bit_rate = self._bitrate_bps
                settings += f":rc=2:min-qp={_crf(self._quality)}"
            context.options = {**options, "svtav1-params": settings}
            context.open()
        except (av.FFmpegError, ValueError):
            raise BadInput("this FFmpeg has no SVT-AV1 for it", hint="use another codec") from None
        return context


def _crf(quality: int) -> int:
    """The encoder's rate factor (1 to 63) for `quality` (1 to 100): 20 for 90, 50 for 50."""
    return min(63, max(1, round(20 * math.pow((100 - quality) / 10, 0.57))))


def _told_bps(target: EncoderTarget) -> int | None:
    """The bitrate that gives each picture its share, at the rate that it takes them to come."""
    if target.bitrate_bps is None:
        return None
    return int(min(max(target.bitrate_bps / target.fps * _CLOCK, _FLOOR_BPS), _CEILING_BPS))
