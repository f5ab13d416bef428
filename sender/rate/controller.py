"""The controller: from what the paths carry to an encoder's target, a frame rate and a scale.

What gives way first is the person's choice: with `smooth` the frame rate is kept and the picture
gets coarser, then smaller, then slower; with `sharp` the picture is kept and comes less often.
Floors are kept before anything else: a picture of at least `min_psnr_db` and no frame that takes
longer to send than `max_latency_ms` leaves room for.  Where even the last rung is too much, frames
are lost and the picture is not made worse.

Pure: estimates, sizes and times in, a plan out, with the reason of each change in words that both
ends show.  It refuses to change anything without saying why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from sender.rate.budget import (
    HEADROOM,
    LOWEST_QUALITY,
    QUALITY_STEP,
    Demand,
    JpegQuality,
    PathBudget,
    RatedPath,
    jpeg_quality,
    shared_rate,
)
from sender.rate.plan import (
    SHARP,
    SMOOTH,
    WHOLE,
    EncoderPace,
    Haste,
    Ladder,
    Plan,
    Rung,
    StreamFacts,
    Wishes,
)
from sender.streamcodec import CodecUse
from shared.codecs import EncoderTarget
from shared.codecs.codec import SPARE_PIXELS_A_CORE

__all__ = ["Level", "RateController", "Reasons"]

TELL_BELOW, TELL_ABOVE = 0.8, 1.25  # changes of the bits a pixel that are told


@dataclass(frozen=True, slots=True)
class Level:
    """How good the picture is, and how good it could be at best.

    By JPEG's quality (`by_quality`), else by the bits that each pixel of the source gets at most.
    With `enough` the pictures take well less than that: fewer would be as good.
    """

    now: float
    best: float
    by_quality: bool
    enough: bool = False

    def worse_than(self, told: float) -> bool:
        """Whether a person who was told of `told` must hear that it is worse."""
        if self.enough:
            return False
        return self.now <= (told - QUALITY_STEP if self.by_quality else TELL_BELOW * told)

    def better_than(self, told: float) -> bool:
        """Whether a person who was told of `told` must hear that it is better."""
        if told >= 0.99 * self.best:
            return False
        better = told + QUALITY_STEP if self.by_quality else TELL_ABOVE * told
        return self.now >= better or self.now >= 0.99 * self.best


class Reasons:
    """What was told of one stream, which begins on the rung `top`."""

    def __init__(self, top: Rung) -> None:
        self._rung = top
        self._level: float | None = None

    def tell(self, rung: Rung, level: Level | None, path_bps: float) -> tuple[str, ...]:
        """The lines for a plan on `rung`; `level` is None where quality never changes."""
        path = f"path {path_bps / 1e6:.1f} Mbit/s"
        words = [self._rung_words(rung, level), self._level_words(level)]
        return tuple(f"{change}: {path}" for change in words if change)

    def _rung_words(self, rung: Rung, level: Level | None) -> str:
        before, self._rung = self._rung, rung
        if rung == before:
            return ""
        if level is not None:  # a smaller or rarer picture may have more bits: that is no news
            self._level = min(level.now, level.best)
        what = "frame rate" if before.scale == rung.scale else "picture size"
        if before.scale != rung.scale and before.rate != rung.rate:
            what = "frame rate and picture size"
        return f"{what} {'lowered' if rung.area_rate < before.area_rate else 'raised'}"

    def _level_words(self, level: Level | None) -> str:
        if level is None:
            return ""
        told = level.best if self._level is None else self._level
        if level.worse_than(told):
            self._level = level.now
            return "quality lowered"
        if level.better_than(told):
            self._level = level.now
            return "quality raised"
        return ""


MIN_FPS = 5.0  # fewer is no motion any more
START_BPS = 3_000_000  # of an inter codec until the path has been measured
SPARE = 0.5  # of the frame interval: with less taken, a dearer codec could be afforded
ENOUGH = 0.75  # of what pictures may take: with less taken, quality alone limits them
QUIET_NS = 3_000_000_000  # at the start the path is still being found out: that is no news


@lru_cache(maxsize=16)  # from frame to frame it is mostly the same
def _target(bitrate_bps: int | None, fps: float, quality: int) -> EncoderTarget:
    return EncoderTarget(bitrate_bps, fps, quality)


class RateController:
    """The rate control of one stream; see the top of this file.

    Tell it of each frame (`encoded`) and ask it before each (`update`).
    """

    def __init__(self, facts: StreamFacts, wishes: Wishes, fps: float) -> None:
        self._facts = facts
        self._wishes = wishes
        self._fps = fps
        self._budget = PathBudget()
        rungs = SMOOTH if wishes.prefer == "smooth" else SHARP
        if facts.lossless or wishes.min_psnr_db is not None:
            rungs = WHOLE  # a smaller picture would be neither lossless nor as good
        self._ladder = Ladder(rungs)
        self._pace = EncoderPace()
        self._demand = Demand(facts, wishes)
        self._quality = JpegQuality(wishes.quality)
        self._haste = Haste(facts, wishes)
        self._reasons = Reasons(self._ladder.top)
        self._began_ns: int | None = None
        self._plan = self._first_plan()

    @property
    def plan(self) -> Plan:
        """The newest plan."""
        return self._plan

    @property
    def use(self) -> CodecUse | None:
        """How the stream fares with its codec, None until the path is measured."""
        plan, facts = self._plan, self._facts
        if self._budget.path_bps is None or plan.bitrate_bps is None:
            return None
        taken = self._pace.taken(self._fps)
        behind = self._pace.share < 1 or self._haste.hurried
        few = facts.width * facts.height * self._fps <= SPARE_PIXELS_A_CORE * facts.cores
        return CodecUse(
            used_bps=self._picture_bits(plan) * plan.fps,
            most_bps=plan.bitrate_bps,
            spare_time=few and not behind and 0 < taken <= SPARE,
            behind=behind,
        )

    def encoded(
        self, nbytes: int, psnr_db: float | None, busy_ns: int, *, width: int, height: int
    ) -> None:
        """A frame of the newest plan came to `nbytes`; mask, encode and seal took `busy_ns`."""
        self._demand.learn(nbytes, width * height, psnr_db, self._plan.target.quality)
        self._pace.took(busy_ns)

    def update(self, now_ns: int, paths: Sequence[RatedPath], fps: float) -> Plan:
        """The plan for the next frame, of a source that gives `fps` frames a second.

        `paths` are those of the receivers whose path has been measured.
        """
        self._fps = fps
        machine = (self._pace.settle(now_ns, fps), self._haste.settle(fps))
        changes = tuple(change for change in machine if change is not None)
        rate_bps = shared_rate(paths, self._needs(self._ladder.lowest) / HEADROOM)
        if rate_bps is None:
            self._plan = replace(self._first_plan(), changes=changes)
            return self._plan
        allowed = self._budget.update(now_ns, rate_bps)
        self._ladder.settle(now_ns, allowed, self._needs, eager=self._budget.starting)
        rung = self._ladder.rung
        frame_bits = min(
            allowed / self._rate_of(rung), self._in_time(paths), self._demand.asked(fps)
        )
        plan = self._planned(now_ns, rung, frame_bits)
        if not self._quiet(now_ns, paths):
            changes += self._reasons.tell(rung, self._level(plan), self._budget.path_bps or 0.0)
        self._plan = replace(plan, changes=changes)
        return self._plan

    def _needs(self, rung: Rung) -> float:
        """Bits a second below which `rung` is given up for the next."""
        return self._demand.least(rung.scale, self._fps) * self._rate_of(rung)

    def _rate_of(self, rung: Rung) -> float:
        """Frames a second on `rung`, as far as the encoder keeps up."""
        rate = min(rung.rate, self._pace.share)
        return max(float(rate) * self._fps, min(MIN_FPS, self._fps))

    def _picture_bits(self, plan: Plan) -> float:
        """What the last pictures came to, at the scale of `plan`; 0 before the first."""
        return (self._demand.bits_a_pixel or 0.0) * self._facts.pixels(plan.scale)

    def _in_time(self, paths: Sequence[RatedPath]) -> float:
        """Bits of a frame that gets through within the wished-for latency."""
        path = min(paths, key=lambda path: abs(path.rate_bps - (self._budget.path_bps or 0.0)))
        spent_ns = path.rtt_ns / 2 + path.queue_ns + self._pace.busy_ns
        left_s = max(self._wishes.max_latency_ms / 1e3 - spent_ns / 1e9, 0.01)
        return left_s * path.rate_bps

    # -- the plan ---------------------------------------------------------------------------------

    def _first_plan(self) -> Plan:
        """Until the path is measured."""
        top = self._ladder.top
        bitrate: int | None = None
        if self._facts.inter and not self._facts.lossless:
            bitrate = min(START_BPS, round(self._demand.most(top.scale, self._fps) * self._fps))
        fps = self._rate_of(top)
        target = _target(bitrate, fps, self._haste.quality)
        return Plan(target, fps, thinned=self._pace.share < 1, bitrate_bps=bitrate)

    def _planned(self, now_ns: int, rung: Rung, frame_bits: float) -> Plan:
        fps = self._rate_of(rung)
        if self._facts.lossless:
            target = _target(None, fps, self._wishes.quality)
            bits = self._demand.least(rung.scale, self._fps)
        elif self._facts.inter:
            bits = max(min(frame_bits, self._demand.most(rung.scale, self._fps)), 1.0)
            target = _target(max(1, round(bits * fps)), fps, self._haste.quality)
        else:
            self._settle_quality(now_ns, frame_bits / self._facts.pixels(rung.scale))
            bits = self._demand.of_jpeg(self._quality.value, rung.scale)
            target = _target(None, fps, self._quality.value)
        thinned = min(rung.rate, self._pace.share) < 1
        return Plan(target, fps, rung.scale, thinned, round(bits * fps) or None)

    def _settle_quality(self, now_ns: int, bits_a_pixel: float) -> None:
        """JPEG: the quality for pictures of so many bits a pixel."""
        unit_bits = self._demand.unit_bits
        if unit_bits is None:
            return
        floor = LOWEST_QUALITY
        if self._wishes.min_psnr_db is not None:
            floor = jpeg_quality(self._demand.psnr_bits() / unit_bits)
        self._quality.settle(now_ns, bits_a_pixel / unit_bits, floor)

    # -- what is told of it -----------------------------------------------------------------------

    def _quiet(self, now_ns: int, paths: Sequence[RatedPath]) -> bool:
        """Whether what the path carries is only a first guess, which use will raise."""
        if self._began_ns is None:
            self._began_ns = now_ns
        proven = any(path.limited for path in paths) or not self._budget.starting
        return not proven and now_ns - self._began_ns < QUIET_NS

    def _level(self, plan: Plan) -> Level | None:
        """How good the picture of `plan` is; None where it is always lossless."""
        if self._facts.lossless:
            return None
        if not self._facts.inter:
            return Level(float(self._quality.value), float(self._wishes.quality), by_quality=True)
        top = self._ladder.top
        pixels = self._facts.pixels(top.scale)
        bits = (plan.bitrate_bps or 0) / plan.fps
        return Level(
            bits / pixels,
            self._demand.most(top.scale, self._fps) / pixels,
            by_quality=False,
            enough=0 < self._picture_bits(plan) < ENOUGH * bits,
        )
