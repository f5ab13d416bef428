"""How many bits a second the stream may use, from what the paths to its receivers carry.

All receivers of a session get one and the same sealed stream, so one number must serve them all:
the slowest path that can carry a useful picture decides, and the others follow; a path below that
only loses frames.  The number falls at once with the path and rises slowly, after the path has
carried more for a while; each rise that had to be taken back makes the next one wait longer.  So a
path that wavers gives a steady picture at what it can always carry.

And what the pictures of a stream ask for: the least that is worth sending, the most of use, both
for a source frame of a given scale, from the person's wishes and from what the frames so far came
to.  What an inter codec makes of a bitrate is its own affair; what a JPEG or a lossless picture
comes to is learnt.

Pure: estimates, sizes and times in, rates and bits out.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Protocol

from sender.rate.plan import StreamFacts, Wishes
from shared.frame import COUNTED_TO_DB

__all__ = [
    "Caution",
    "Demand",
    "HEADROOM",
    "HOLD_NS",
    "JpegQuality",
    "LOWEST_QUALITY",
    "PathBudget",
    "QUALITY_STEP",
    "RatedPath",
    "jpeg_quality",
    "jpeg_size",
    "shared_rate",
]

RISE_EVERY_NS = 500_000_000
HOLD_NS = 2_000_000_000  # how long after a fall the first rise comes
LONGEST_HOLD_NS = 30_000_000_000
RELAPSE_NS = 6_000_000_000  # a fall this soon after a rise means that the rise was wrong


class Caution:
    """The rises and falls of one thing, such as the budget or the quality of a JPEG."""

    def __init__(self) -> None:
        self._may_rise_ns: int | None = None
        self._hold_ns = HOLD_NS
        self._rose_ns: int | None = None

    def may_rise(self, now_ns: int) -> bool:
        """Whether to raise now; asked while all is well."""
        if self._rose_ns is not None and now_ns - self._rose_ns > RELAPSE_NS:
            self._hold_ns = HOLD_NS  # the last raise has proved right
        return self._may_rise_ns is None or now_ns >= self._may_rise_ns

    def rose(self, now_ns: int) -> None:
        """It was raised."""
        self._may_rise_ns = now_ns + RISE_EVERY_NS
        self._rose_ns = now_ns

    def fell(self, now_ns: int) -> None:
        """It had to be lowered."""
        if self._rose_ns is not None and now_ns - self._rose_ns <= RELAPSE_NS:
            self._hold_ns = min(2 * self._hold_ns, LONGEST_HOLD_NS)
            self._rose_ns = None  # one relapse a raise, however many steps it falls in
        self._may_rise_ns = now_ns + self._hold_ns


HEADROOM = 0.85  # of the path: sizes of single frames scatter, and audio or pings want their share
SMOOTH_DOWN_NS = 200_000_000  # time constants of the estimate's smoothing
SMOOTH_UP_NS = 1_000_000_000
COLLAPSE = 0.7  # an estimate below this share of the smoothed one is believed at once
TOLERANCE = 0.95  # a budget that falls by less is no reason to change anything
RISE_FROM = 1.10  # a budget must exceed what is used by this much before more is used
RISE_BY = 1.30  # at most, with each rise
STEADY_NS = 1_500_000_000  # the least of so long is what more is used of


class RatedPath(Protocol):
    """What is known of the path to one receiver (`shared.link.PathEstimate`)."""

    @property
    def rate_bps(self) -> int: ...
    @property
    def rtt_ns(self) -> int: ...
    @property
    def queue_ns(self) -> int: ...
    @property
    def limited(self) -> bool: ...


def shared_rate(paths: Sequence[RatedPath], useful_bps: float) -> int | None:
    """The rate that decides among `paths`, in bits a second; None where none is measured.

    The lowest one of at least `useful_bps`; where all are below, the highest.
    """
    rates = [path.rate_bps for path in paths]
    if not rates:
        return None
    useful = [rate for rate in rates if rate >= useful_bps]
    return min(useful) if useful else max(rates)


class PathBudget:
    """Follows the deciding rate with hysteresis; see the top of this file."""

    def __init__(self) -> None:
        self.path_bps: float | None = None
        """The deciding rate, smoothed: what a reason names."""
        self.allowed_bps = 0.0
        """What may be used; 0 before the first `update`."""
        self._seen_ns = 0
        self._caution = Caution()
        self.starting = True
        """Whether the path has only been found to carry more, and never less, so far."""
        self._lately: deque[tuple[int, float]] = deque()

    def update(self, now_ns: int, rate_bps: int) -> float:
        """What may be used from now on, in bits a second, while the path carries `rate_bps`."""
        before = self.path_bps
        if before is None:
            self.path_bps = float(rate_bps)
            self.allowed_bps = HEADROOM * rate_bps
        else:
            rising = rate_bps > before
            elapsed_ns = max(0, now_ns - self._seen_ns)
            share = elapsed_ns / (elapsed_ns + (SMOOTH_UP_NS if rising else SMOOTH_DOWN_NS))
            collapsed = rate_bps < COLLAPSE * before
            self.path_bps = rate_bps if collapsed else before + share * (rate_bps - before)
            self._follow(now_ns, HEADROOM * self.path_bps)
        self._seen_ns = now_ns
        return self.allowed_bps

    def _follow(self, now_ns: int, budget: float) -> None:
        self._lately.append((now_ns, budget))
        while now_ns - self._lately[0][0] > STEADY_NS:
            self._lately.popleft()
        if budget < TOLERANCE * self.allowed_bps:
            self._caution.fell(now_ns)
            self.allowed_bps = budget
            self.starting = False
        elif self.starting:
            self.allowed_bps = max(budget, self.allowed_bps)  # the path is still being found out
        elif self._caution.may_rise(now_ns):
            steady = min(low for _, low in self._lately)
            if steady > RISE_FROM * self.allowed_bps:
                self._caution.rose(now_ns)
                self.allowed_bps = min(steady, RISE_BY * self.allowed_bps)


LOWEST_QUALITY = 10
QUALITY_STEP = 5  # less can't be seen, and would only flicker
OVERSHOOT, SPARE = 1.1, 0.9  # what is tolerated above the budget, and asked for below it

# Size of a JPEG by its quality, against quality 90: measured on speckle and on endoscopy, which
# agree within a few per cent between 20 and 94.
JPEG_SIZES = (
    (1, 0.05), (10, 0.15), (20, 0.22), (30, 0.28), (40, 0.33), (50, 0.38), (60, 0.43), (70, 0.52),
    (75, 0.57), (80, 0.66), (85, 0.78), (90, 1.0), (94, 1.32), (97, 1.9), (100, 2.9),
)  # fmt: skip


def _interpolated(quality: int) -> float:
    for (low, small), (high, large) in pairwise(JPEG_SIZES):
        if quality <= high:
            return float(small * (large / small) ** ((quality - low) / (high - low)))
    raise AssertionError(quality)


_SIZES = [_interpolated(quality) for quality in range(1, 101)]


def jpeg_size(quality: int) -> float:
    """The size of a JPEG against that at quality 90."""
    return _SIZES[quality - 1]


def jpeg_quality(size: float) -> int:
    """The highest quality whose JPEG is no larger than `size`, against that at quality 90."""
    return max(1, bisect_right(_SIZES, size))


class JpegQuality:
    """The quality of one stream's pictures; begins with the highest."""

    def __init__(self, highest: int) -> None:
        self._highest = highest
        self._caution = Caution()
        self.value = highest

    def settle(self, now_ns: int, size: float, floor: int = LOWEST_QUALITY) -> None:
        """Take a quality of at least `floor` for pictures of `size`, against those at 90."""
        floor = min(max(floor, LOWEST_QUALITY), self._highest)
        fitting = min(max(jpeg_quality(size), floor), self._highest)
        if self.value < floor or (
            fitting < self.value and jpeg_size(self.value) > OVERSHOOT * size
        ):
            if fitting < self.value:
                self._caution.fell(now_ns)
            self.value = fitting
        elif self._caution.may_rise(now_ns) and fitting > self.value:
            safe = min(jpeg_quality(SPARE * size), self._highest)
            if safe >= min(self.value + QUALITY_STEP, self._highest):
                self._caution.rose(now_ns)
                self.value = safe


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
        self.bits_a_pixel: float | None = None
        """What the last frames came to, None before the first."""
        self.unit_bits: float | None = None
        """Bits a pixel at quality 90 (lossless: at all), None before the first frame."""
        self._pixels: dict[Fraction, float] = {}  # by scale, of which there are few
        self._bpp_psnr: tuple[float, float] | None = None  # log2 of bits a pixel, and its PSNR

    def learn(self, nbytes: int, pixels: int, psnr_db: float | None, quality: int) -> None:
        """A frame of `pixels` came to `nbytes`; `quality` is what a JPEG was asked for."""
        bits_a_pixel = 8 * nbytes / pixels
        unit = bits_a_pixel
        if not (self._facts.inter or self._facts.lossless):
            unit = bits_a_pixel / jpeg_size(quality)
        self.bits_a_pixel = _learnt(self.bits_a_pixel, bits_a_pixel)
        self.unit_bits = _learnt(self.unit_bits, unit)
        if psnr_db is not None and psnr_db < COUNTED_TO_DB and bits_a_pixel > 0:
            log_bits = math.log2(bits_a_pixel)
            before = self._bpp_psnr or (log_bits, psnr_db)
            self._bpp_psnr = _learnt(before[0], log_bits), _learnt(before[1], psnr_db)

    def least(self, scale: Fraction, fps: float) -> float:
        """Bits that a picture should have at least, of a source that gives `fps` a second."""
        pixels = self._pixels_at(scale)
        smooth = self._wishes.prefer == "smooth"
        if self._facts.lossless:
            return (self.unit_bits or 0.0) * pixels
        if self._facts.inter:
            floor = (COARSE_BPP if smooth else FINE_BPP) * pixels
        else:
            quality = min(COARSE_QUALITY if smooth else FINE_QUALITY, self._wishes.quality)
            floor = self.of_jpeg(quality, scale)
        return min(max(floor, self.psnr_bits() * pixels), self.most(scale, fps))

    def most(self, scale: Fraction, fps: float) -> float:
        """Bits beyond which a picture would not gain, or may not have."""
        pixels = self._pixels_at(scale)
        if self._facts.inter and not self._facts.lossless:
            full = FULL_BPP * pixels
        elif self.unit_bits is None:
            full = math.inf
        else:
            share = 1.0 if self._facts.lossless else jpeg_size(self._wishes.quality)
            full = self.unit_bits * share * pixels
        return min(full, self.asked(fps))

    def asked(self, fps: float) -> float:
        """Bits of a picture at the bitrate that the person asked for at most."""
        asked = self._wishes.bitrate_bps
        return math.inf if asked is None else asked / fps

    def _pixels_at(self, scale: Fraction) -> float:
        pixels = self._pixels.get(scale)
        if pixels is None:
            pixels = self._pixels[scale] = self._facts.pixels(scale)
        return pixels

    def psnr_bits(self) -> float:
        """Bits a pixel that the wished-for PSNR takes, by what the last frames came to."""
        if self._wishes.min_psnr_db is None or self._bpp_psnr is None:
            return 0.0
        log_bits, psnr_db = self._bpp_psnr
        missing_db = self._wishes.min_psnr_db - psnr_db
        return float(2 ** (log_bits + missing_db / DB_PER_DOUBLING))

    def of_jpeg(self, quality: int, scale: Fraction) -> float:
        """Bits of a JPEG at `quality`; 0 before the first frame."""
        return (self.unit_bits or 0.0) * jpeg_size(quality) * self._pixels_at(scale)


def _learnt(before: float | None, newest: float) -> float:
    return newest if before is None else before + LEARN * (newest - before)
