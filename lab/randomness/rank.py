"""Linear dependence between fixed parts: SP 800-22 rev 1a, 2.5 (binary matrix rank)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["matrix_rank", "ranks"]


def ranks(matrices: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the ranks over GF(2) of bit matrices uint8 (count, rows, columns), columns ≤ 64.

    Gaussian elimination on all of them at once, a row an integer of bits.
    """
    count, rows, columns = matrices.shape
    powers = np.uint64(1) << np.arange(columns, dtype=np.uint64)
    packed = (matrices.astype(np.uint64) * powers).sum(axis=2, dtype=np.uint64)
    rank = np.zeros(count, dtype=np.int64)
    free = np.ones((count, rows), dtype=bool)  # rows that have not been a pivot
    every = np.arange(count)
    for column in range(columns):
        has_bit = (packed >> np.uint64(column) & np.uint64(1)).astype(bool)
        candidates = has_bit & free
        pivot = candidates.argmax(axis=1)
        found = candidates[every, pivot]
        pivot_row = np.where(found, packed[every, pivot], 0).astype(np.uint64)
        free[every[found], pivot[found]] = False
        packed ^= np.where(has_bit & free, pivot_row[:, None], np.uint64(0))
        rank += found
    return rank


def matrix_rank(bits: NDArray[np.uint8], size: int = 32) -> float:
    """SP 800-22, 2.5: ranks of `size` by `size` matrices over GF(2): full, one less, or lower."""
    count = bits.size // size**2
    found = ranks(bits[: count * size**2].reshape(count, size, size))
    full, one_less = _chance(size, size), _chance(size, size - 1)
    expected = count * np.array([full, one_less, 1 - full - one_less])
    classes = np.bincount(np.minimum(size - found, 2), minlength=3)
    return float(np.exp(-np.sum((classes - expected) ** 2 / expected) / 2))


def _chance(size: int, rank: int) -> float:
    """The probability that a random bit matrix has this rank (3.5)."""
    i = np.arange(rank)
    exponent = rank * (2 * size - rank) - size**2
    factors = (1 - 2.0 ** (i - size)) ** 2 / (1 - 2.0 ** (i - rank))
    return float(2.0**exponent * factors.prod())
