"""Balance of zeros and ones: SP 800-22 rev 1a, 2.1 (frequency), 2.2 (within a block) and 2.13
(cumulative sums).

Like all tests of this package: pure, a uint8 array (n,) of zeros and ones in, p-values out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc, gammaincc, ndtr

__all__ = ["block_frequency", "cumulative_sums", "frequency"]


def frequency(bits: NDArray[np.uint8]) -> float:
    """SP 800-22, 2.1: the proportion of ones in the whole sequence."""
    total = 2 * np.count_nonzero(bits) - bits.size
    return float(erfc(abs(total) / np.sqrt(2 * bits.size)))


def block_frequency(bits: NDArray[np.uint8], block_bits: int = 128) -> float:
    """SP 800-22, 2.2: the proportion of ones in blocks of `block_bits`."""
    blocks = bits.size // block_bits
    ones = bits[: blocks * block_bits].reshape(blocks, block_bits).sum(axis=1, dtype=np.int64)
    chi_square = 4 * block_bits * np.sum((ones / block_bits - 0.5) ** 2)
    return float(gammaincc(blocks / 2, chi_square / 2))


def cumulative_sums(bits: NDArray[np.uint8]) -> tuple[float, float]:
    """SP 800-22, 2.13: the farthest that the walk of ±1 steps gets, forward and backward."""
    walk = np.cumsum(bits.astype(np.int8) * 2 - 1, dtype=np.int32)
    backward = walk[-1] - np.concatenate(([0], walk[:-1]))  # the sums from each step to the end
    farthest = (np.abs(walk).max(), np.abs(backward).max())
    return _farthest_p(int(farthest[0]), bits.size), _farthest_p(int(farthest[1]), bits.size)


def _farthest_p(z: int, n: int) -> float:
    root, ratio = np.sqrt(n), n / z
    # The bounds of the sums are cut towards zero, as in NIST's own program.
    k = np.arange(int((-ratio + 1) / 4), int((ratio - 1) / 4) + 1)
    first = ndtr((4 * k + 1) * z / root) - ndtr((4 * k - 1) * z / root)
    k = np.arange(int((-ratio - 3) / 4), int((ratio - 1) / 4) + 1)
    second = ndtr((4 * k + 3) * z / root) - ndtr((4 * k + 1) * z / root)
    return float(np.clip(1 - first.sum() + second.sum(), 0, 1))
