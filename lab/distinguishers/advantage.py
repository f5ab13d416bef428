"""How well a distinguisher does on keys that it was not trained on, with its standard error."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Advantage", "bits_of"]

_WINS = 4.0  # standard errors; by chance once in 30,000


@dataclass(frozen=True, slots=True)
class Advantage:
    """0 where it does as well as guessing, 1 where it is always right.

    `detail` says what it used, where that was found and not given.
    """

    mean: float
    standard_error: float
    detail: str = ""

    @property
    def wins(self) -> bool:
        return self.mean > _WINS * self.standard_error

    @classmethod
    def over(cls, trials: NDArray[np.floating]) -> Advantage:
        """Return the mean of independent `trials` (n,), each of one key."""
        return cls(float(trials.mean()), float(trials.std(ddof=1)) / math.sqrt(len(trials)))

    def __str__(self) -> str:
        return f"{self.mean:.4f} ± {self.standard_error:.4f}"


def bits_of(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the bits of bytes (..., n), highest first: +1 for 0, -1 for 1, (..., 8 n)."""
    return 1.0 - 2.0 * np.unpackbits(blocks, axis=-1).astype(np.float32)
