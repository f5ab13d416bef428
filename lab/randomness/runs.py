"""Runs of equal bits: SP 800-22 rev 1a, 2.3 (runs) and 2.4 (longest run of ones in a block)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc, gammaincc

__all__ = ["longest_run", "runs"]

# Least sequence length -> block length, longest run of the first class, class probabilities (2.4.2
# and 3.4; to the digits that NIST's program has for blocks of 8 and 128).
_LONGEST_RUN: tuple[tuple[int, int, int, tuple[float, ...]], ...] = (
    (750_000, 10_000, 10, (0.0882, 0.2092, 0.2483, 0.1933, 0.1208, 0.0675, 0.0727)),
    (
        6_272,
        128,
        4,
        (0.1174035788, 0.242955959, 0.249363483, 0.17517706, 0.102701071, 0.112398847),
    ),
    (128, 8, 1, (0.21484375, 0.3671875, 0.23046875, 0.1875)),
)


def runs(bits: NDArray[np.uint8]) -> float:
    """SP 800-22, 2.3: how often the bits change.  0 where the frequency test can't pass anyway."""
    n = bits.size
    ones = np.count_nonzero(bits) / n
    if abs(ones - 0.5) >= 2 / np.sqrt(n):
        return 0.0
    observed = 1 + np.count_nonzero(bits[1:] != bits[:-1])
    variance = ones * (1 - ones)
    return float(erfc(abs(observed - 2 * n * variance) / (2 * np.sqrt(2 * n) * variance)))


def longest_run(bits: NDArray[np.uint8]) -> float:
    """SP 800-22, 2.4: the longest run of ones in blocks of 8, 128 or 10,000 bits, by length.

    `ValueError` for fewer than 128 bits.
    """
    if bits.size < 128:
        raise ValueError("the longest-run test takes at least 128 bits")
    _, block_bits, shortest, chances = next(row for row in _LONGEST_RUN if bits.size >= row[0])
    blocks = bits.size // block_bits
    rows = bits[: blocks * block_bits].reshape(blocks, block_bits)
    place = np.arange(1, block_bits + 1, dtype=np.int32)
    last_zero = np.maximum.accumulate(np.where(rows == 0, place, 0), axis=1)
    longest = (place - last_zero).max(axis=1)
    classes = np.clip(longest - shortest, 0, len(chances) - 1)
    expected = blocks * np.array(chances)
    found = np.bincount(classes, minlength=len(chances))
    chi_square = np.sum((found - expected) ** 2 / expected)
    return float(gammaincc((len(chances) - 1) / 2, chi_square / 2))
