"""Rate control: what the encoder aims at, how many frames a second, how large a picture.

One controller from what the paths carry (`sender.budget`) to an `EncoderTarget`, a frame rate and a
scale of the picture.  What gives way first is the person's choice: with `smooth` the frame rate is
kept and the picture gets coarser, then smaller, then slower; with `sharp` the picture is kept and
comes less often.  Floors are kept before anything else: a picture of at least `min_psnr_db` and no
frame that takes longer to send than `max_latency_ms` leaves room for.  Where even the last rung is
too much, frames are lost and the picture is not made worse.

Pure: estimates, sizes and times in, a plan out, with the reason of each change in words that both
ends show.  It refuses to change anything without saying why.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from statistics import median
from typing import Literal

from sender.budget import HEADROOM, Caution, Path, PathBudget, shared_rate
from shared.codecs import EncoderTarget

__all__ = ["DEFAULT_LATENCY_MS", "Plan", "Preference", "RateController", "StreamFacts", "Wishes"]

Preference = Literal["smooth", "sharp"]

DEFAULT_LATENCY_MS = 200.0  # tele-ultrasound guidance works up to here (Bharath 2017)
MIN_FPS = 5.0  # fewer is no motion any more
START_BPS = 3_000_000  # of an inter codec until the path has been measured
# Payload bits a pixel.  Ultrasound needs 0.6 to 1 Mbit/s at 640x480 and 30 fps: 0.065 to 0.11.
FULL_BPP = 0.8  # x264's crf 18 on speckle, the hardest material there is
COARSE_BPP, FINE_BPP = 0.05, 0.15  # where `smooth` and `sharp` begin to give way in another way
COARSE_QUALITY, FINE_QUALITY, LOWEST_QUALITY = 30, 70, 10  # the same for JPEG
DB_PER_DOUBLING = 3.0  # what twice the bits gain, on all material here at usable rates
STEP_UP_MARGIN = 1.25  # a rung is climbed when the budget is so much more than it needs
STEP_UP_NS = 3_000_000_000
QUIET_NS = 3_000_000_000  # at the start the path is still being found out: that is no news
QUALITY_STEP = 5  # JPEG's scale: less can't be seen, and would only flicker
TELL_BELOW, TELL_ABOVE = 0.8, 1.25  # changes of the bitrate that are told
OVERSHOOT, SPARE = 1.1, 0.9  # JPEG: what is tolerated above the budget, and asked for below it
BUSY_OVER, BUSY_FROM = 15, 8  # frames whose median tells the encoder's pace; one slow one is none
SLOW, QUICK = 0.9, 0.6  # share of the frame interval that mask, encode and seal may take
LEARN = 0.2  # weight of the newest frame in what is learnt; ten frames are forgotten

# Size of a JPEG by its quality, against quality 90: measured on speckle and on endoscopy, which
# agree within a few per cent between 20 and 94.
JPEG_SIZES = (
    (1, 0.05), (10, 0.15), (20, 0.22), (30, 0.28), (40, 0.33), (50, 0.38), (60, 0.43), (70, 0.52),
    (75, 0.57), (80, 0.66), (85, 0.78), (90, 1.0), (94, 1.32), (97, 1.9), (100, 2.9),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """What is encoded, and how: `inter` as in `shared.codecs.Codec`, sizes in pixels."""

    codec: str
    inter: bool
    lossless: bool
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the person asked for: ceilings (`quality`, `bitrate_bps`), floors and a preference."""

    quality: int = 90
    bitrate_bps: int | None = None
    min_psnr_db: float | None = None
    max_latency_ms: float = DEFAULT_LATENCY_MS
    prefer: Preference = "smooth"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do from the next frame on.

    `fps` frames a second (with `thinned` that is fewer than the source gives), each scaled by
    `scale`, encoded to `target`.  `bitrate_bps` is
    what that comes to, None where nothing is known of it.  `changes` are the reasons of what is
    new in this plan, one line each.
    """

    target: EncoderTarget
    fps: float
    scale: Fraction = Fraction(1)
    thinned: bool = False
    bitrate_bps: int | None = None
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Rung:
    rate: Fraction  # of the source's frame rate
    scale: Fraction  # of the picture's sides


_ONE, _TWO_THIRDS, _HALF, _THIRD = Fraction(1), Fraction(2, 3), Fraction(1, 2), Fraction(1, 3)
_THREE_QUARTERS, _SIXTH = Fraction(3, 4), Fraction(1, 6)
_SMOOTH = (
    _Rung(_ONE, _ONE), _Rung(_ONE, _THREE_QUARTERS), _Rung(_ONE, _HALF),
    _Rung(_TWO_THIRDS, _HALF), _Rung(_HALF, _HALF), _Rung(_HALF, _THIRD), _Rung(_THIRD, _THIRD),
)  # fmt: skip
_SHARP = (
    _Rung(_ONE, _ONE), _Rung(_TWO_THIRDS, _ONE), _Rung(_HALF, _ONE), _Rung(_THIRD, _ONE),
    _Rung(_THIRD, _THREE_QUARTERS), _Rung(_THIRD, _HALF), _Rung(_THIRD, _THIRD),
)  # fmt: skip
_WHOLE = tuple(_Rung(rate, _ONE) for rate in (_ONE, _TWO_THIRDS, _HALF, _THIRD, _SIXTH))


class RateController:
    """The rate control of one session; see the top of this file.

    Tell it of each frame (`encoded`) and ask it before each (`update`).
    """

    def __init__(self, facts: StreamFacts, wishes: Wishes, fps: float) -> None:
        self._facts = facts
        self._wishes = wishes
        self._fps = fps
        self._budget = PathBudget()
        self._rungs: tuple[_Rung, ...] = _SMOOTH if wishes.prefer == "smooth" else _SHARP
        if facts.lossless or wishes.min_psnr_db is not None:
            self._rungs = _WHOLE  # a smaller picture would be neither lossless nor as good
        self._rung = 0
        self._climb_from_ns: int | None = None
        self._slow_rung = 0  # of `_WHOLE`: the frame rate that the encoder keeps up with
        self._quick_from_ns: int | None = None
        self._quality = wishes.quality
        self._quality_caution = Caution()
        self._unit_bits: float | None = None  # a pixel's at quality 90 (lossless: at all)
        self._bpp_psnr: tuple[float, float] | None = None  # log2 of bits a pixel, and its PSNR
        self._busy: deque[int] = deque(maxlen=BUSY_OVER)
        self._began_ns: int | None = None
        self._told: float | None = None  # the level (bitrate or quality) that the person knows
        self._told_rung = 0
        self._plan = self._first_plan()

    @property
    def plan(self) -> Plan:
        """The newest plan."""
        return self._plan

    def encoded(
        self, nbytes: int, psnr_db: float | None, busy_ns: int, *, width: int, height: int
    ) -> None:
        """A frame of the newest plan came to `nbytes`; mask, encode and seal took `busy_ns`."""
        bits_a_pixel = 8 * nbytes / (width * height)
        unit = bits_a_pixel
        if not (self._facts.inter or self._facts.lossless):
            unit = bits_a_pixel / _jpeg_size(self._plan.target.quality)
        self._unit_bits = _learnt(self._unit_bits, unit)
        self._busy.append(busy_ns)
        if psnr_db is not None and bits_a_pixel > 0:
            before = self._bpp_psnr or (math.log2(bits_a_pixel), psnr_db)
            self._bpp_psnr = (
                _learnt(before[0], math.log2(bits_a_pixel)),
                _learnt(before[1], psnr_db),
            )

    def update(self, now_ns: int, paths: Sequence[Path], fps: float) -> Plan:
        """The plan for the next frame, of a source that gives `fps` frames a second.

        `paths` are those of the receivers whose path has been measured.
        """
        self._fps = fps
        encoder_change = self._keep_up(now_ns)
        rate_bps = shared_rate(paths, self._least_bps())
        if rate_bps is None:
            self._plan = replace(
                self._first_plan(), changes=() if encoder_change is None else (encoder_change,)
            )
            return self._plan
        allowed = self._budget.update(now_ns, rate_bps)
        self._take_rung(now_ns, allowed)
        rung = self._rungs[self._rung]
        frame_bits = min(allowed / self._rate_of(rung), self._in_time(paths), self._asked_bits())
        self._plan = self._planned(now_ns, rung, frame_bits)
        changes = [encoder_change]
        if not self._quiet(now_ns, paths):
            changes += [self._rung_change(), self._level_change()]
        self._plan = replace(self._plan, changes=tuple(filter(None, changes)))
        return self._plan

    def _quiet(self, now_ns: int, paths: Sequence[Path]) -> bool:
        """Whether what the path carries is only a first guess, which use will raise."""
        if self._began_ns is None:
            self._began_ns = now_ns
        proven = any(path.limited for path in paths) or not self._budget.starting
        return not proven and now_ns - self._began_ns < QUIET_NS

    # -- which rung -------------------------------------------------------------------------------

    def _take_rung(self, now_ns: int, allowed: float) -> None:
        """Go down at once to a rung that fits, and up by one when it would fit for a while."""
        rungs = range(len(self._rungs))
        if self._needs(self._rung) > allowed:
            fitting = (rung for rung in rungs[self._rung :] if self._needs(rung) <= allowed)
            self._rung = next(fitting, rungs[-1])
            self._climb_from_ns = None
        elif self._rung > 0 and STEP_UP_MARGIN * self._needs(self._rung - 1) <= allowed:
            if self._climb_from_ns is None:
                self._climb_from_ns = now_ns
            if self._budget.starting or now_ns - self._climb_from_ns >= STEP_UP_NS:
                self._rung -= 1
                self._climb_from_ns = None
        else:
            self._climb_from_ns = None

    def _needs(self, rung: int) -> float:
        """Bits a second below which this rung is given up for the next."""
        step = self._rungs[rung]
        return self._floor_bits(step.scale) * self._rate_of(step)

    def _rate_of(self, rung: _Rung) -> float:
        """Frames a second on `rung`, as far as the encoder keeps up."""
        rate = min(rung.rate, _WHOLE[self._slow_rung].rate)
        return max(float(rate) * self._fps, min(MIN_FPS, self._fps))

    def _least_bps(self) -> float:
        return self._needs(len(self._rungs) - 1) / HEADROOM

    def _floor_bits(self, scale: Fraction) -> float:
        """Bits that a picture should have at least."""
        pixels = self._pixels(scale)
        smooth = self._wishes.prefer == "smooth"
        if self._facts.lossless:
            return (self._unit_bits or 0.0) * pixels
        if self._facts.inter:
            floor = (COARSE_BPP if smooth else FINE_BPP) * pixels
        else:
            quality = min(COARSE_QUALITY if smooth else FINE_QUALITY, self._wishes.quality)
            floor = (self._unit_bits or 0.0) * _jpeg_size(quality) * pixels
        return min(max(floor, self._psnr_bits() * pixels), self._full_bits(scale))

    def _psnr_bits(self) -> float:
        """Bits a pixel that the wished-for PSNR takes, by what the last frames came to."""
        if self._wishes.min_psnr_db is None or self._bpp_psnr is None:
            return 0.0
        log_bits, psnr_db = self._bpp_psnr
        missing_db = self._wishes.min_psnr_db - psnr_db
        return float(2 ** (log_bits + missing_db / DB_PER_DOUBLING))

    def _full_bits(self, scale: Fraction) -> float:
        """Bits beyond which a picture would not gain, or may not have."""
        pixels = self._pixels(scale)
        if self._facts.inter and not self._facts.lossless:
            full = FULL_BPP * pixels
        elif self._unit_bits is None:
            full = math.inf
        else:
            most = 1.0 if self._facts.lossless else _jpeg_size(self._wishes.quality)
            full = self._unit_bits * most * pixels
        return min(full, self._asked_bits())

    def _asked_bits(self) -> float:
        """Bits of a picture at the bitrate that the person asked for at most."""
        asked = self._wishes.bitrate_bps
        return math.inf if asked is None else asked / self._fps

    def _in_time(self, paths: Sequence[Path]) -> float:
        """Bits of a frame that gets through within the wished-for latency."""
        path = min(paths, key=lambda path: abs(path.rate_bps - (self._budget.path_bps or 0.0)))
        spent_ns = path.rtt_ns / 2 + path.queue_ns + (median(self._busy) if self._busy else 0)
        left_s = max(self._wishes.max_latency_ms / 1e3 - spent_ns / 1e9, 0.01)
        return left_s * path.rate_bps

    def _pixels(self, scale: Fraction) -> float:
        return float(self._facts.width * self._facts.height * scale * scale)

    # -- the encoder's own pace -------------------------------------------------------------------

    def _keep_up(self, now_ns: int) -> str | None:
        """Lower the frame rate to what mask, encode and seal keep up with, and raise it again."""
        if len(self._busy) < BUSY_FROM:
            return None
        busy_s = median(self._busy) / 1e9

        def takes(rung: int) -> float:
            return busy_s * float(_WHOLE[rung].rate) * self._fps

        rung = self._slow_rung
        if takes(rung) > SLOW:
            if rung + 1 < len(_WHOLE):
                self._slow_rung += 1
                self._quick_from_ns = None
                self._busy.clear()
                return "frame rate lowered: encoder slow"
        elif rung > 0 and takes(rung - 1) < QUICK:
            if self._quick_from_ns is None:
                self._quick_from_ns = now_ns
            elif now_ns - self._quick_from_ns >= STEP_UP_NS:
                self._slow_rung -= 1
                self._quick_from_ns = None
                return "frame rate raised: encoder keeps up"
        else:
            self._quick_from_ns = None
        return None

    # -- the plan, and what is told of it ---------------------------------------------------------

    def _first_plan(self) -> Plan:
        """Until the path is measured."""
        bitrate: int | None = None
        if self._facts.inter and not self._facts.lossless:
            bitrate = min(START_BPS, round(self._full_bits(_ONE) * self._fps))
        fps = self._rate_of(self._rungs[0])
        target = EncoderTarget(bitrate, fps, self._wishes.quality)
        return Plan(target, fps, thinned=self._slow_rung > 0, bitrate_bps=bitrate)

    def _planned(self, now_ns: int, rung: _Rung, frame_bits: float) -> Plan:
        fps = self._rate_of(rung)
        if self._facts.lossless:
            target = EncoderTarget(None, fps, self._wishes.quality)
            bits = self._floor_bits(rung.scale)
        elif self._facts.inter:
            bits = max(min(frame_bits, self._full_bits(rung.scale)), 1.0)
            target = EncoderTarget(max(1, round(bits * fps)), fps, self._wishes.quality)
        else:
            self._settle_quality(now_ns, frame_bits / self._pixels(rung.scale))
            bits = (self._unit_bits or 0.0) * _jpeg_size(self._quality) * self._pixels(rung.scale)
            target = EncoderTarget(None, fps, self._quality)
        thinned = self._slow_rung > 0 or rung.rate < 1
        return Plan(target, fps, rung.scale, thinned, round(bits * fps) or None)

    def _settle_quality(self, now_ns: int, bits_a_pixel: float) -> None:
        """JPEG: the quality for pictures of so many bits a pixel, without flicker."""
        if self._unit_bits is None:
            return
        floor = LOWEST_QUALITY
        if self._wishes.min_psnr_db is not None:
            floor = max(floor, _jpeg_quality(self._psnr_bits() / self._unit_bits))
        floor = min(floor, self._wishes.quality)
        size = bits_a_pixel / self._unit_bits
        fitting = min(max(_jpeg_quality(size), floor), self._wishes.quality)
        if self._quality < floor or (
            fitting < self._quality and _jpeg_size(self._quality) > OVERSHOOT * size
        ):
            if fitting < self._quality:
                self._quality_caution.fell(now_ns)
            self._quality = fitting
        elif self._quality_caution.may_rise(now_ns) and fitting > self._quality:
            safe = min(_jpeg_quality(SPARE * size), self._wishes.quality)
            if safe >= min(self._quality + QUALITY_STEP, self._wishes.quality):
                self._quality_caution.rose(now_ns)
                self._quality = safe

    def _rung_change(self) -> str | None:
        before, self._told_rung = self._told_rung, self._rung
        if before == self._rung:
            return None
        # A smaller or rarer picture may have more bits: that is no news of its own.
        self._told = min(self._level(), self._full_level())
        old, new = self._rungs[before], self._rungs[self._rung]
        word = "lowered" if self._rung > before else "raised"
        what = "frame rate" if old.scale == new.scale else "picture size"
        if old.scale != new.scale and old.rate != new.rate:
            what = "frame rate and picture size"
        return f"{what} {word}: {self._path_words()}"

    def _level_change(self) -> str | None:
        """Whether the quality has changed so much that the person must be told."""
        if self._facts.lossless:
            return None
        level, full = self._level(), self._full_level()
        told = full if self._told is None else self._told
        lower, higher = TELL_BELOW * told, TELL_ABOVE * told
        if not self._facts.inter:
            lower, higher = told - QUALITY_STEP, told + QUALITY_STEP
        if level <= lower:
            self._told = level
            return f"quality lowered: {self._path_words()}"
        if told < 0.99 * full and (level >= higher or level >= 0.99 * full):
            self._told = level
            return f"quality raised: {self._path_words()}"
        return None

    def _level(self) -> float:
        """How good the picture is: JPEG's quality, or the bits that each source pixel gets."""
        if not self._facts.inter:
            return float(self._quality)
        return (self._plan.bitrate_bps or 0) / self._plan.fps / self._pixels(_ONE)

    def _full_level(self) -> float:
        if not self._facts.inter:
            return float(self._wishes.quality)
        return self._full_bits(_ONE) / self._pixels(_ONE)

    def _path_words(self) -> str:
        return f"path {(self._budget.path_bps or 0.0) / 1e6:.1f} Mbit/s"


def _learnt(before: float | None, newest: float) -> float:
    return newest if before is None else before + LEARN * (newest - before)


def _interpolated(quality: int) -> float:
    for (low, small), (high, large) in pairwise(JPEG_SIZES):
        if quality <= high:
            return float(small * (large / small) ** ((quality - low) / (high - low)))
    raise AssertionError(quality)


_SIZES = [_interpolated(quality) for quality in range(1, 101)]


def _jpeg_size(quality: int) -> float:
    """The size of a JPEG against that at quality 90."""
    return _SIZES[quality - 1]


def _jpeg_quality(size: float) -> int:
    """The highest quality whose JPEG is no larger than `size`, against that at quality 90."""
    return max(1, bisect_right(_SIZES, size))
