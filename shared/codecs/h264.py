"""H.264 (ITU-T H.264) through libx264: the codec for paths that JPEG does not fit on.

Rate control is x264's constant bitrate with a buffer of one picture, so that no picture, not even
a key picture, is larger than its share of the path.  `quality` is the ceiling: where the bitrate
allows more, the quantiser stays at the one that belongs to it and the rest is not used.  The
bitrate changes from picture to picture without a key picture.  (How: the context is opened at a
bitrate that no picture reaches; libx264 is told of a changed `bit_rate` before each picture, and a
stream that began with equal mean and peak rate keeps them equal, with a buffer no smaller than one
picture's share.)

`psnr_db` comes from decoding each payload, in RGB for colour.  Where a decode would take too much
of the machine, and for grey with the quick settings, it comes from x264's own reconstruction.  For
grey that is exact where the bitrate does not bind; where it does, x264 goes by the first try at a
row that it codes twice: a few pictures are up to 0.6 dB too high, and the mean by 0.1 at most.  Of
a tenth of a bit a pixel that is the double, so there the better settings, and a decode, come at
once where there is the time for them.  For colour the loss of the conversion is added: within
0.6 dB, and up to 1.5 dB too low where the bitrate binds hard.  x264 stops counting at 100 dB,
which is one sample in 640x480 off by one: only below that can it tell that a picture is exact.

Pictures too many or too large for libx264's better settings go to a hardware encoder, if there is
one that passes its trial (`shared.codecs.hardware`); if it fails later, libx264 goes on.
"""

from __future__ import annotations

import logging
import math
import struct

import av
import numpy as np

from shared.codecs.chain import ChainDecoder, ChainWriter, shape_of
from shared.codecs.codec import DEFAULT_TARGET, SPARE_PIXELS_A_CORE, EncoderTarget, cores
from shared.codecs.hardware import HardwareH264, working_hardware
from shared.codecs.planes import PlaneReader, PlaneWriter
from shared.codecs.x264 import CLOCK, X264, VideoPacket
from shared.errors import BadInput, DecodeFailed
from shared.frame import COUNTED_TO_DB, EncodedFrame, Image, checked_image
from shared.quality import PEAK, psnr_db

__all__ = ["H264Decoder", "H264Encoder", "quantiser"]

_LOG = logging.getLogger(__name__)

NAME, NAME_444 = "h264", "h264-444"
_FORMAT_ANNEX_B = 1

_CEILING_BPS = 2_000_000_000  # more than any picture takes: a bitrate that binds nothing
_FLOOR_BPS = 16_000  # x264 counts in whole kbit/s
_COARSEST = 51  # quantiser
_STEP = 24.0  # quantiser step at quality 50; at 90 colour then has 43 to 48 dB
_QUALITY_STEP = 6  # quantiser; a change of quality below a halving waits for the next key picture

# Bits a pixel that the bitrate gives.  Where there are enough, libx264's quick settings: they take
# a third of the time at either end for up to 1 dB.  Where there are few, that is worth 3 ms.
_ROOMY, _TIGHT = 0.8, 0.35
_PRESSED = 0.15  # below, a change to the better settings is worth a key picture

_FINE = {"preset": "superfast", "aq-mode": "0", "weightp": "0"}
_QUICK = {"preset": "ultrafast"}
_RATE = {
    "maxrate": str(_CEILING_BPS),
    "bufsize": "1000",  # bits; x264 raises it to one picture's share, at every rate
}
# Chroma 6 quantisers finer than x264 would have it: PSNR in RGB rises by 0.5 dB at equal bitrates,
# and flat colours keep to two levels.  For 4:4:4 x264 starts out 6 coarser than for 4:2:0.
_CHROMA = {True: {"chromaoffset": "-6"}, False: {"chromaoffset": "-12"}}  # by "halved"
_RECHECK = 30  # pictures between measurements of what the colour conversion loses


def quantiser(quality: int) -> int:
    """The quantiser (1 to 51) whose step is that of JPEG at `quality` (1 to 100), about."""
    scale = (100 - quality) / 50 if quality >= 50 else 50 / quality
    step = max(_STEP * scale, 0.5)
    return min(_COARSEST, max(1, round(4 + 6 * math.log2(step))))


class H264Encoder:
    """See `shared.codecs.codec.Encoder`."""

    def __init__(self, target: EncoderTarget = DEFAULT_TARGET, *, halved: bool = True) -> None:
        self.name = NAME if halved else NAME_444
        self._halved = halved
        self._target = target
        self._chain = ChainWriter(_FORMAT_ANNEX_B)
        self._stream: _Stream | None = None
        self._hardware = halved

    def retarget(self, target: EncoderTarget) -> None:
        self._target = target

    def encode(self, image: Image, *, key: bool = False) -> EncodedFrame:
        image = checked_image(image)
        try:
            return self._encode(image, key=key)
        except (BadInput, DecodeFailed):
            if self._stream is None or not self._stream.hardware:
                raise
        _LOG.warning("the hardware encoder failed; going on with libx264")
        self._hardware, self._stream = False, None
        return self._encode(image, key=True)

    def _encode(self, image: Image, *, key: bool) -> EncodedFrame:
        stream = self._stream
        fine = _fine(image, self._target, stream is not None and stream.fine)
        finest = quantiser(self._target.quality)
        pressed = _bits_a_pixel(image, self._target) < _PRESSED
        if stream is None or not stream.suits(image, finest, fine=fine, pressed=pressed, key=key):
            stream = self._stream = _Stream(
                image,
                self._target,
                halved=self._halved,
                hardware=self._hardware,
                fine=fine,
                finest=finest,
            )
        packet = stream.encode(image, self._target, key=key)
        width, height, channels = shape = shape_of(image)
        payload = self._chain.pack(bytes(packet), shape=shape, key=packet.is_keyframe)
        return EncodedFrame(
            codec=self.name,
            width=width,
            height=height,
            channels=channels,
            payload=payload,
            psnr_db=stream.psnr_db(image, packet, payload),
            key=packet.is_keyframe,
        )


class H264Decoder(ChainDecoder):
    """See `shared.codecs.codec.Decoder`."""

    def __init__(self, *, halved: bool = True) -> None:
        super().__init__(NAME if halved else NAME_444, "h264", _FORMAT_ANNEX_B, halved=halved)


class _Stream:
    """One open libx264, for pictures of one shape at one quality."""

    def __init__(
        self,
        image: Image,
        target: EncoderTarget,
        *,
        halved: bool,
        hardware: bool,
        fine: bool,
        finest: int,
    ) -> None:
        self.fine = fine
        self._shape = image.shape
        self._quantiser = finest
        self._count = 0
        width, height, channels = shape_of(image)
        self._planes = PlaneWriter(width, height, channels, halved=halved)
        spare = _time_to_spare(image, target)
        coder = None if spare or not hardware else self._open_hardware(target)
        edged = (width, height) != (self._planes.frame.width, self._planes.frame.height)
        decode = spare and (fine or channels == 3 or edged)  # x264 counts a padded edge too
        self.hardware = coder is not None
        self._coder = coder or X264(
            self._planes.frame,
            {**(_FINE if fine else _QUICK), **_RATE, **_CHROMA[halved]},
            bitrate_bps=_CEILING_BPS,
            quantisers=(self._quantiser, _COARSEST),
            psnr=not decode,
        )
        self._decoder = H264Decoder(halved=halved) if decode or self.hardware else None
        self._reader = PlaneReader(width, height, channels, halved=halved)
        self._conversion_mse = 0.0

    def _open_hardware(self, target: EncoderTarget) -> HardwareH264 | None:
        encoder = working_hardware()
        if encoder is None:
            return None
        rate, finest = _told_bps(target), self._quantiser
        try:
            return HardwareH264(encoder, self._planes.frame, bitrate_bps=rate, finest=finest)
        except BadInput:
            return None

    def suits(self, image: Image, finest: int, *, fine: bool, pressed: bool, key: bool) -> bool:
        """Whether the next picture can be encoded here."""
        # Where the path narrows, a key picture is the last thing it needs: wait for the next one.
        if fine != self.fine and not self.hardware and (self.fine or key or pressed):
            return False
        change = abs(finest - self._quantiser)
        return image.shape == self._shape and change < (1 if key else _QUALITY_STEP)

    def encode(self, image: Image, target: EncoderTarget, *, key: bool) -> VideoPacket:
        """The packet of `image`."""
        self._count += 1
        frame = self._planes.write(image)
        return self._coder.encode(frame, key=key, bitrate_bps=_told_bps(target))

    def psnr_db(self, image: Image, packet: VideoPacket, payload: bytes) -> float | None:
        """The PSNR of what a decoder makes of `packet`, the latest one."""
        if self._decoder is not None:
            width, height, channels = shape_of(image)
            key = packet.is_keyframe
            shown = self._decoder.decode(
                payload, width=width, height=height, channels=channels, key=key
            )
            return psnr_db(image, shown)
        errors = _squared_errors(packet)
        if image.ndim == 2 and errors[0] == 0:
            return None
        if image.ndim == 3 and (self._count - 1) % _RECHECK == 0:
            converted = psnr_db(image, self._reader.read(self._planes.frame))
            self._conversion_mse = 0.0 if converted is None else _mse(converted)
        return _psnr(_coding_mse(errors, self._planes.frame, image) + self._conversion_mse)


def _pixels(image: Image) -> int:
    return int(image.shape[0] * image.shape[1])


def _time_to_spare(image: Image, target: EncoderTarget) -> bool:
    """Whether this machine has the time for libx264's better settings and for a decode."""
    return _pixels(image) * target.fps <= SPARE_PIXELS_A_CORE * cores()


def _fine(image: Image, target: EncoderTarget, before: bool) -> bool:
    """Whether to spend time on bits: `before` is what was decided for the picture before."""
    if not _time_to_spare(image, target):
        return False
    return _bits_a_pixel(image, target) < (_ROOMY if before else _TIGHT)


def _bits_a_pixel(image: Image, target: EncoderTarget) -> float:
    """What the bitrate gives; without one, all that it takes."""
    if target.bitrate_bps is None:
        return math.inf
    return target.bitrate_bps / target.fps / _pixels(image)


def _told_bps(target: EncoderTarget) -> int:
    """The bitrate that gives each picture its share, at the rate that x264 takes them to come."""
    if target.bitrate_bps is None:
        return _CEILING_BPS
    wanted = target.bitrate_bps / target.fps * CLOCK
    return int(min(max(wanted, _FLOOR_BPS), _CEILING_BPS))


_STATS = struct.Struct("<IBB2x")  # AV_PKT_DATA_QUALITY_STATS: quality, picture type, error count
_LEAST_MSE = PEAK**2 / 10 ** (COUNTED_TO_DB / 10)  # of what x264 counts
_TO_RGB = np.array([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]])  # from Y, Cb, Cr


def _squared_errors(packet: VideoPacket) -> tuple[int, ...]:
    """What coding added to each plane, by x264's count; 0: nothing.

    FFmpeg makes it from a PSNR, which x264 ends at 100 dB: of a plane of 77,000 samples or more
    the least that it can be is then above 0, and stands for anything below.
    """
    stats = bytes(packet.get_sidedata("quality_stats"))
    _, _, count = _STATS.unpack_from(stats)
    return struct.unpack_from(f"<{count}Q", stats, _STATS.size)


def _coding_mse(errors: tuple[int, ...], frame: av.VideoFrame, image: Image) -> float:
    """The mean squared error that coding added, in the samples of `image`.

    Errors of luma and chroma are taken to be independent of one another.
    """
    mse: list[float] = []
    for error, plane in zip(errors, frame.planes, strict=False):
        samples = plane.width * plane.height
        mse.append(error / samples if error > round(_LEAST_MSE * samples) else 0.0)
    if image.ndim == 2:
        return mse[0]
    return float(np.mean(_TO_RGB**2 @ np.array(mse)))


def _mse(decibels: float) -> float:
    return PEAK * PEAK / float(10.0 ** (decibels / 10))


def _psnr(mse: float) -> float:
    if mse <= 0:
        return COUNTED_TO_DB
    return min(10.0 * math.log10(PEAK * PEAK / mse), COUNTED_TO_DB)
