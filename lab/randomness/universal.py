"""Compressibility: SP 800-22 rev 1a, 2.9 (Maurer's universal statistical test)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc

from lab.randomness.patterns import windows

__all__ = ["EXPECTED", "universal", "universal_statistic"]

# Block length -> expected value and variance of log2 of the distance (table in 2.9.4).
EXPECTED = {
    2: (1.5374383, 1.338),
    6: (5.2177052, 2.954),
    7: (6.1962507, 3.125),
    8: (7.1836656, 3.238),
    9: (8.1764248, 3.311),
    10: (9.1723243, 3.356),
    11: (10.170032, 3.384),
    12: (11.168765, 3.401),
}
# Least sequence length -> block length (2.9.7).
_BLOCK_BITS = (
    (49_643_520, 12),
    (22_753_280, 11),
    (10_342_400, 10),
    (4_654_080, 9),
    (2_068_480, 8),
    (904_960, 7),
    (387_840, 6),
)


def universal_statistic(bits: NDArray[np.uint8], block_bits: int, first_blocks: int) -> float:
    """Return f_n: the mean of log2 of how many blocks ago each block came last.

    The `first_blocks` blocks only fill the table; a block that never came before counts from the
    beginning.
    """
    blocks = bits.size // block_bits
    words = windows(bits[: blocks * block_bits], block_bits)[::block_bits]
    order = np.argsort(words, kind="stable")  # equal blocks together, each in the order of place
    place = order + 1
    previous = np.zeros(blocks, dtype=np.int64)
    equal = words[order[1:]] == words[order[:-1]]
    previous[order[1:]] = np.where(equal, place[:-1], 0)
    distance = np.arange(1, blocks + 1) - previous
    return float(np.log2(distance[first_blocks:]).mean())


def universal(bits: NDArray[np.uint8]) -> float:
    """SP 800-22, 2.9: the distances between equal blocks.  `ValueError` below 387,840 bits."""
    if bits.size < _BLOCK_BITS[-1][0]:
        raise ValueError("the universal test takes at least 387,840 bits")
    block_bits = next(block_bits for least, block_bits in _BLOCK_BITS if bits.size >= least)
    first_blocks = 10 << block_bits
    counted = bits.size // block_bits - first_blocks
    statistic = universal_statistic(bits, block_bits, first_blocks)
    mean, variance = EXPECTED[block_bits]
    correction = 0.7 - 0.8 / block_bits + (4 + 32 / block_bits) * counted ** (-3 / block_bits) / 15
    deviation = correction * np.sqrt(variance / counted)
    return float(erfc(abs(statistic - mean) / (np.sqrt(2) * deviation)))
