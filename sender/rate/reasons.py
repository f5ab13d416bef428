"""What a person is told of the rate control: each change that can be seen, once, and why.

Both ends show these lines.  What would only flicker is not told, and a step up is told only after
a step down was.

Pure: levels of quality in, lines for people out.
"""

from __future__ import annotations

from dataclasses import dataclass

from sender.rate.jpeg import QUALITY_STEP
from sender.rate.ladder import Rung

__all__ = ["Level", "Reasons"]

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
