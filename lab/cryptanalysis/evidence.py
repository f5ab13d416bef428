"""How sure a measurement is: chances, corrected for how many places were looked at.

An attack by statistics counts as successful only below `DECISIVE`, so that a perfect generator
is called distinguished once in a million runs at most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtrc, chdtrc, erfc

__all__ = [
    "DECISIVE",
    "Evidence",
    "chi_square",
    "corrected",
    "floor",
    "normal",
    "strongest",
    "zero_bytes",
]

DECISIVE = 1e-6
_SMALLEST = 1e-300


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one statistic came to.

    `chance`: how likely a perfect generator shows as much, corrected for the places looked at;
    `text`: the measured figure and its noise floor, for people.
    """

    statistic: str
    chance: float
    text: str

    @property
    def decisive(self) -> bool:
        return self.chance < DECISIVE


def corrected(chance: float, places: int) -> float:
    """Return the chance that the best of `places` independent ones is as small as `chance`."""
    return float(-np.expm1(places * np.log1p(-min(chance, 1 - 1e-12))))


def chi_square(value: float, degrees: int, places: int = 1) -> float:
    """Return the corrected chance of a chi-square of at least `value`."""
    return corrected(max(float(chdtrc(degrees, value)), _SMALLEST), places)


def normal(deviate: float, places: int = 1) -> float:
    """Return the corrected two-sided chance that a normal deviate is as large."""
    return corrected(max(float(erfc(abs(deviate) / math.sqrt(2))), _SMALLEST), places)


def zero_bytes(hits: int, trials: int, places: int = 1) -> float:
    """Return the corrected chance that a random byte is zero in `hits` of `trials`, or in more."""
    chance = float(bdtrc(hits - 1, trials, 1 / 256)) if hits else 1.0
    return corrected(max(chance, _SMALLEST), places)


def floor(places: int) -> float:
    """Return about how large the largest of `places` normal deviates is by chance."""
    return math.sqrt(2 * math.log(2 * places))


def strongest(evidence: list[Evidence]) -> Evidence:
    """Return the least likely of several, its chance corrected for their number."""
    best = min(evidence, key=lambda one: one.chance)
    return Evidence(best.statistic, corrected(best.chance, len(evidence)), best.text)
