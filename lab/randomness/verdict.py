"""Both of the standard's verdicts on the p-values of many sequences: SP 800-22 rev 1a, 4.2.

With 188 parts, some of them miss a bound by chance in good generators too; the standard says to
look at other samples then.  So a generator as a whole is called failed only at a deviation that
chance can't explain: below `HOPELESS` in some part, after correction for their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrc, gammaincc

from lab.randomness.battery import LABELS

__all__ = ["ALPHA", "HOPELESS", "PartVerdict", "Verdict", "judge"]

ALPHA = 0.01  # 1.1.5: a sequence fails where its p-value is below
UNIFORM = 0.0001  # 4.2.2: p-values are taken for uniform from here on
_BINS = 10
_LEAST_UNIFORM = 55  # 4.2.2: fewer give no meaningful uniformity
HOPELESS = 1e-6
"""A good generator is called failed once in a million runs at most, as far as the tests' p-values
are exact; they are limits for long sequences, and tens of thousands of sequences show it."""


@dataclass(frozen=True, slots=True)
class PartVerdict:
    """The two verdicts on one part of one test.

    `sequences` are those where it applied; `uniformity` is the p-value of p-values, None for too
    few.  `chance` is how likely the worse of the two is, or one as bad, in a perfect generator.
    """

    test: str
    part: str
    sequences: int
    proportion: float
    least_proportion: float
    uniformity: float | None
    chance: float

    @property
    def proportion_holds(self) -> bool:
        return self.proportion >= self.least_proportion

    @property
    def uniformity_holds(self) -> bool:
        return self.uniformity is None or self.uniformity >= UNIFORM


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdicts on all parts, and what they come to."""

    parts: tuple[PartVerdict, ...]

    @property
    def missed(self) -> tuple[PartVerdict, ...]:
        """The parts that miss a bound of the standard."""
        return tuple(p for p in self.parts if not (p.proportion_holds and p.uniformity_holds))

    @property
    def chance(self) -> float:
        """How likely a perfect generator is to look as bad, at most (Bonferroni)."""
        judged = [part.chance for part in self.parts if part.sequences]
        return min(1.0, min(judged, default=1.0) * len(judged))

    @property
    def failed(self) -> bool:
        return self.chance < HOPELESS


def judge(p_values: NDArray[np.float64], labels: Sequence[tuple[str, str]] = LABELS) -> Verdict:
    """Judge p-values, float64 (sequences, parts), NaN where a part did not apply."""
    return Verdict(
        tuple(
            _judge_part(test, part, column[~np.isnan(column)])
            for (test, part), column in zip(labels, p_values.T, strict=True)
        )
    )


def _judge_part(test: str, part: str, found: NDArray[np.float64]) -> PartVerdict:
    count = found.size
    if not count:
        return PartVerdict(test, part, 0, 1.0, 0.0, None, 1.0)
    failures = int(np.count_nonzero(found < ALPHA))
    least = 1 - ALPHA - 3 * np.sqrt(ALPHA * (1 - ALPHA) / count)
    # The chance of as many failures or more.
    chances = [float(bdtrc(failures - 1, count, ALPHA)) if failures else 1.0]
    uniformity = None
    if count >= _LEAST_UNIFORM:
        uniformity = _uniformity(found)
        chances.append(uniformity)
    chance = min(1.0, len(chances) * min(chances))
    return PartVerdict(test, part, count, 1 - failures / count, float(least), uniformity, chance)


def _uniformity(found: NDArray[np.float64]) -> float:
    """4.2.2: chi-square of the p-values in ten equal bins."""
    bins = np.bincount(np.minimum((found * _BINS).astype(int), _BINS - 1), minlength=_BINS)
    expected = found.size / _BINS
    return float(gammaincc((_BINS - 1) / 2, np.sum((bins - expected) ** 2 / expected) / 2))
