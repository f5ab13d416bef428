"""How many bits the pictures of a stream take: the least that is worth sending, the most of use.

Both are for a source frame of a given scale, and follow from the person's wishes and from what the
frames so far came to.  What an inter codec makes of a bitrate is its own affair; what a JPEG or a
lossless picture comes to is learnt.

Pure: sizes of frames in, bits out.
"""

from __future__ import annotations

import math
from fractions import Fraction

from sender.rate.jpeg import jpeg_size
from sender.rate.plan import StreamFacts, Wishes
from shared.frame import COUNTED_TO_DB

__all__ = ["Demand"]

# Payload bits a pixel.  Ultrasound needs 0.6 to 1 Mbit/s at 640x480 and 30 fps: 0.065 to 0.11.
FULL_BPP = 0.8  # x264's crf 18 on speckle, the hardest material there is
COARSE_BPP, FINE_BPP = 0.05, 0.15  # where `smooth` and `sharp` begin to give way in another way
COARSE_QUALITY, FINE_QUALITY = 30, 70  # the same for JPEG
DB_PER_DOUBLING = 3.0  # what twice the bits gain, on all material here at usable rates
LEARN = 0.2  # weight of the newest frame in what is learnt; ten frames are forgotten


class Demand:
    """Of one stream."""

    def __init__(self, facts: StreamFacts, wishes: Wishes) -> None:
        self._facts = facts
        self._wishes = wishes
        self._bits_a_pixel: float | None = None
        self._unit_bits: float | None = None
        self._bpp_psnr: tuple[float, float] | None = None  # log2 of bits a pixel, and its PSNR

    @property
    def bits_a_pixel(self) -> float | None:
        """What the last frames came to, None before the first."""
        return self._bits_a_pixel

    @property
    def unit_bits(self) -> float | None:
        """Bits a pixel at quality 90 (lossless: at all), None before the first frame."""
        return self._unit_bits

    def learn(self, nbytes: int, pixels: int, psnr_db: float | None, quality: int) -> None:
        """A frame of `pixels` came to `nbytes`; `quality` is what a JPEG was asked for."""
        bits_a_pixel = 8 * nbytes / pixels
        unit = bits_a_pixel
        if not (self._facts.inter or self._facts.lossless):
            unit = bits_a_pixel / jpeg_size(quality)
        self._bits_a_pixel = _learnt(self._bits_a_pixel, bits_a_pixel)
        self._unit_bits = _learnt(self._unit_bits, unit)
        if psnr_db is not None and psnr_db < COUNTED_TO_DB and bits_a_pixel > 0:
            log_bits = math.log2(bits_a_pixel)
            before = self._bpp_psnr or (log_bits, psnr_db)
            self._bpp_psnr = _learnt(before[0], log_bits), _learnt(before[1], psnr_db)

    def least(self, scale: Fraction, fps: float) -> float:
        """Bits that a picture should have at least, of a source that gives `fps` a second."""
        pixels = self._facts.pixels(scale)
        smooth = self._wishes.prefer == "smooth"
        if self._facts.lossless:
            return (self._unit_bits or 0.0) * pixels
        if self._facts.inter:
            floor = (COARSE_BPP if smooth else FINE_BPP) * pixels
        else:
            quality = min(COARSE_QUALITY if smooth else FINE_QUALITY, self._wishes.quality)
            floor = self.of_jpeg(quality, scale)
        return min(max(floor, self.psnr_bits() * pixels), self.most(scale, fps))

    def most(self, scale: Fraction, fps: float) -> float:
        """Bits beyond which a picture would not gain, or may not have."""
        pixels = self._facts.pixels(scale)
        if self._facts.inter and not self._facts.lossless:
            full = FULL_BPP * pixels
        elif self._unit_bits is None:
            full = math.inf
        else:
            share = 1.0 if self._facts.lossless else jpeg_size(self._wishes.quality)
            full = self._unit_bits * share * pixels
        return min(full, self.asked(fps))

    def asked(self, fps: float) -> float:
        """Bits of a picture at the bitrate that the person asked for at most."""
        asked = self._wishes.bitrate_bps
        return math.inf if asked is None else asked / fps

    def psnr_bits(self) -> float:
        """Bits a pixel that the wished-for PSNR takes, by what the last frames came to."""
        if self._wishes.min_psnr_db is None or self._bpp_psnr is None:
            return 0.0
        log_bits, psnr_db = self._bpp_psnr
        missing_db = self._wishes.min_psnr_db - psnr_db
        return float(2 ** (log_bits + missing_db / DB_PER_DOUBLING))

    def of_jpeg(self, quality: int, scale: Fraction) -> float:
        """Bits of a JPEG at `quality`; 0 before the first frame."""
        return (self._unit_bits or 0.0) * jpeg_size(quality) * self._facts.pixels(scale)


def _learnt(before: float | None, newest: float) -> float:
    return newest if before is None else before + LEARN * (newest - before)
