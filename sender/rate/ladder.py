"""Frame rates and sizes of the picture as rungs of a ladder, and which one the stream is on.

What gives way first is the order of the rungs: `SMOOTH` keeps the frame rate longest, `SHARP` the
picture, `WHOLE` never makes it smaller.  Down goes at once and as far as needed; up goes one rung
at a time, and only when that would have fitted for a while.

Pure: budgets and times in, a rung out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

__all__ = ["RATES", "SHARP", "SMOOTH", "STEP_UP_MARGIN", "STEP_UP_NS", "WHOLE", "Ladder", "Rung"]

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
        self._climb_from_ns: int | None = None

    @property
    def rung(self) -> Rung:
        """The rung of the moment."""
        return self._rungs[self._at]

    @property
    def top(self) -> Rung:
        """All frames, in full size."""
        return self._rungs[0]

    @property
    def lowest(self) -> Rung:
        """The last resort."""
        return self._rungs[-1]

    def settle(
        self, now_ns: int, allowed: float, needs: Callable[[Rung], float], *, eager: bool
    ) -> None:
        """Take the rung for `allowed` bits a second; `needs(rung)` is what each takes at least.

        With `eager` a higher one is taken at once.
        """
        if needs(self.rung) > allowed:
            below = range(self._at, len(self._rungs))
            fitting = (at for at in below if needs(self._rungs[at]) <= allowed)
            self._at = next(fitting, below[-1])
            self._climb_from_ns = None
        elif self._at > 0 and STEP_UP_MARGIN * needs(self._rungs[self._at - 1]) <= allowed:
            if self._climb_from_ns is None:
                self._climb_from_ns = now_ns
            if eager or now_ns - self._climb_from_ns >= STEP_UP_NS:
                self._at -= 1
                self._climb_from_ns = None
        else:
            self._climb_from_ns = None
