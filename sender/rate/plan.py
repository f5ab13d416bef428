"""What rate control is asked for and what it answers, and what gives way first.

The values that go in and out; frame rates and sizes of the picture as rungs of a ladder, and which
one the stream is on for its path; and what of both the machine keeps up with.

Pure: budgets, durations and times in, a rung, a share of the frames or a quality out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import median
from typing import Literal, Self

from shared.codecs import Codec, EncoderTarget
from shared.frame import Frame

__all__ = [
    "DEFAULT_LATENCY_MS",
    "HURRIED_QUALITY",
    "RATES",
    "SHARP",
    "SMOOTH",
    "STEP_UP_MARGIN",
    "STEP_UP_NS",
    "WHOLE",
    "EncoderPace",
    "Haste",
    "Ladder",
    "Plan",
    "Preference",
    "Rung",
    "StreamFacts",
    "Wishes",
]

Preference = Literal["smooth", "sharp"]

DEFAULT_LATENCY_MS = 200.0  # tele-ultrasound guidance works up to here (Bharath 2017)


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """What is encoded, and how: sizes in pixels, `inter` where pictures build on the one before.

    `cores` is how many processors the machine has.
    """

    inter: bool
    lossless: bool
    width: int
    height: int
    cores: int = 1

    @classmethod
    def of(cls, codec: Codec, frame: Frame, cores: int) -> Self:
        """Those of frames like `frame`."""
        inter = frame.channels in codec.inter
        return cls(inter, codec.lossless, frame.width, frame.height, cores)

    def pixels(self, scale: Fraction) -> float:
        """How many pixels a picture has whose sides are of `scale`."""
        return float(self.width * self.height * scale * scale)


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
    `scale`, encoded to `target`.  `bitrate_bps` is what that comes to, None where nothing is known
    of it.  `changes` are the reasons of what is new in this plan, one line each.
    """

    target: EncoderTarget
    fps: float
    scale: Fraction = Fraction(1)
    thinned: bool = False
    bitrate_bps: int | None = None
    changes: tuple[str, ...] = ()


STEP_UP_MARGIN = 1.25  # a rung is climbed when the budget is so much more than it needs
STEP_UP_NS = 3_000_000_000


@dataclass(frozen=True, slots=True)
class Rung:
    """A frame rate, as a share of the source's, and a scale of the picture's sides."""

    rate: Fraction
    scale: Fraction

    @property
    def area_rate(self) -> Fraction:
        """Pixels a second, as a share of the source's: less on each lower rung."""
        return self.rate * self.scale**2


_ONE, _TWO_THIRDS, _HALF, _THIRD = Fraction(1), Fraction(2, 3), Fraction(1, 2), Fraction(1, 3)
_THREE_QUARTERS, _SIXTH = Fraction(3, 4), Fraction(1, 6)

RATES = (_ONE, _TWO_THIRDS, _HALF, _THIRD, _SIXTH)
SMOOTH: tuple[Rung, ...] = (
    Rung(_ONE, _ONE), Rung(_ONE, _THREE_QUARTERS), Rung(_ONE, _HALF),
    Rung(_TWO_THIRDS, _HALF), Rung(_HALF, _HALF), Rung(_HALF, _THIRD), Rung(_THIRD, _THIRD),
)  # fmt: skip
SHARP: tuple[Rung, ...] = (
    Rung(_ONE, _ONE), Rung(_TWO_THIRDS, _ONE), Rung(_HALF, _ONE), Rung(_THIRD, _ONE),
    Rung(_THIRD, _THREE_QUARTERS), Rung(_THIRD, _HALF), Rung(_THIRD, _THIRD),
)  # fmt: skip
WHOLE: tuple[Rung, ...] = tuple(Rung(rate, _ONE) for rate in RATES)


class Ladder:
    """Stands on the first of `rungs` until it is told of budgets."""

    def __init__(self, rungs: Sequence[Rung]) -> None:
        self._rungs = rungs
        self._at = 0
        self.rung = self.top = rungs[0]
        """The rung of the moment; and all frames, in full size."""
        self.lowest = rungs[-1]
        """The last resort."""
        self._climb_from_ns: int | None = None

    def settle(
        self, now_ns: int, allowed: float, needs: Callable[[Rung], float], *, eager: bool
    ) -> None:
        """Take the rung for `allowed` bits a second; `needs(rung)` is what each takes at least.

        With `eager` a higher one is taken at once.
        """
        if needs(self.rung) > allowed:
            below = range(self._at, len(self._rungs))
            fitting = (at for at in below if needs(self._rungs[at]) <= allowed)
            self._stand_on(next(fitting, below[-1]))
        elif self._at > 0 and STEP_UP_MARGIN * needs(self._rungs[self._at - 1]) <= allowed:
            if self._climb_from_ns is None:
                self._climb_from_ns = now_ns
            if eager or now_ns - self._climb_from_ns >= STEP_UP_NS:
                self._stand_on(self._at - 1)
        else:
            self._climb_from_ns = None

    def _stand_on(self, at: int) -> None:
        self._at, self.rung, self._climb_from_ns = at, self._rungs[at], None


WARM_UP = 30  # frames of a stream that tell nothing: both ends start cold, and in each other's way
BUSY_OVER, BUSY_FROM = 15, 8  # frames whose median tells the encoder's pace
SLOW, QUICK = 0.9, 0.8  # share of the frame interval that may be taken


class EncoderPace:
    """Of one stream; begins with all frames."""

    def __init__(self) -> None:
        self._cold = WARM_UP
        self._busy: deque[int] = deque(maxlen=BUSY_OVER)
        self._at = 0
        self.share = RATES[0]
        """Which share of the source's frames the encoder keeps up with."""
        self.busy_ns = 0.0
        """What a frame takes, in the median; 0 before the first."""
        self._quick_from_ns: int | None = None

    def taken(self, fps: float) -> float:
        """Which share of the interval between the frames of a source of `fps` one takes."""
        return self.busy_ns / 1e9 * fps

    def took(self, busy_ns: int) -> None:
        """The newest frame took so long."""
        if self._cold:
            self._cold -= 1
        else:
            self._busy.append(busy_ns)
            self.busy_ns = median(self._busy)

    def settle(self, now_ns: int, fps: float) -> str | None:
        """Lower or raise the share for a source of `fps`; the reason where it changed."""
        if len(self._busy) < BUSY_FROM:
            return None
        taken = [float(rate) * self.taken(fps) for rate in RATES]  # of an interval
        if taken[self._at] > SLOW:
            if self._at + 1 < len(RATES):
                self._step_to(self._at + 1)
                self._busy.clear()
                self.busy_ns = 0.0
                return "frame rate lowered: encoder slow"
        elif self._at > 0 and taken[self._at - 1] < QUICK:
            if self._quick_from_ns is None:
                self._quick_from_ns = now_ns
            elif now_ns - self._quick_from_ns >= STEP_UP_NS:
                self._step_to(self._at - 1)
                return "frame rate raised: encoder keeps up"
        else:
            self._quick_from_ns = None
        return None

    def _step_to(self, at: int) -> None:
        self._at, self.share, self._quick_from_ns = at, RATES[at], None


# 1080p at 60 on two cores is 62e6: at quality 90 a picture takes 42 ms of processor at both ends
# together; at 75 (41 dB instead of 45, a fifth of the bits) 23 of the 33 there are.
HURRIED_PIXELS_A_CORE = 40e6  # a second
HURRIED_QUALITY = 75


class Haste:
    """Of one stream; once in haste it stays so: finer again, it would soon be late again."""

    def __init__(self, facts: StreamFacts, wishes: Wishes) -> None:
        self._facts = facts
        self._best = wishes.quality
        coarser_is_faster = facts.inter and not facts.lossless
        self._may = coarser_is_faster and wishes.prefer == "smooth" and wishes.min_psnr_db is None
        self.hurried = False
        """Whether pictures come too fast for fine ones."""
        self.quality = wishes.quality
        """What the encoder may go up to."""

    def settle(self, fps: float) -> str | None:
        """The source gives `fps` pictures a second; the reason if the quality fell for it."""
        facts, before = self._facts, self.quality
        rate = facts.width * facts.height * fps
        if self._may and rate > HURRIED_PIXELS_A_CORE * facts.cores:
            self.hurried = True
            self.quality = min(self._best, HURRIED_QUALITY)
        if self.quality == before:
            return None
        return f"quality lowered: {rate / 1e6:.0f} Mpixel/s are much for this machine"
