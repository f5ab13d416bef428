"""The shortest shift register that gives a block: SP 800-22 rev 1a, 2.10 (linear complexity)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincc

__all__ = ["LONG_BLOCK_BITS", "linear_complexities", "linear_complexity", "long_linear_complexity"]

_CHANCES = np.array([0.010417, 0.03125, 0.125, 0.5, 0.25, 0.0625, 0.020833])  # 2.10.4, step 5
LONG_BLOCK_BITS = 50_000  # more than twice the 19,937 bits of a Mersenne Twister's state


def linear_complexities(blocks: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the linear complexity of each row of uint8 (blocks, bits): int64 (blocks,).

    Berlekamp-Massey on all blocks at once.  A polynomial is a column of 64-bit words, lowest
    power first, and the one kept from the last change of length is multiplied by x at every
    step, so that no block needs a shift of its own.
    """
    count, bits = blocks.shape
    words = bits // 64 + 1
    one = np.uint64(1)
    current = np.zeros((words, count), dtype=np.uint64)
    kept, past, work = (np.zeros_like(current) for _ in range(3))
    current[0] = kept[0] = one
    complexity = np.zeros(count, dtype=np.int64)
    columns = np.ascontiguousarray(blocks.T).astype(np.uint64)
    for step in range(bits):
        used = step // 64 + 1  # no power above `step` occurs yet
        reach = min(used + 1, words)  # the shift may carry into one more word
        _shift(past[:reach], work[:reach])
        past[0] |= columns[step]
        np.bitwise_and(current[:used], past[:used], out=work[:used])
        parity = np.bitwise_count(np.bitwise_xor.reduce(work[:used], axis=0)) & 1
        _shift(kept[:reach], work[:reach])
        wrong = parity.astype(bool)
        longer = wrong & (2 * complexity <= step)
        # What was wrong is mended by the kept polynomial; where the length grows, the polynomial
        # from before the mending is kept from here on.
        mask = np.where(wrong, ~np.uint64(0), np.uint64(0))
        np.bitwise_and(kept[:reach], mask, out=work[:reach])
        which = np.flatnonzero(longer)
        kept[:reach, which] = current[:reach, which]
        current[:reach] ^= work[:reach]
        complexity[which] = step + 1 - complexity[which]
    return complexity


def _shift(words: NDArray[np.uint64], carry: NDArray[np.uint64]) -> None:
    """Multiply polynomials by x in place; `carry` is a buffer of the same shape."""
    np.right_shift(words, np.uint64(63), out=carry)
    np.left_shift(words, np.uint64(1), out=words)
    words[1:] |= carry[:-1]


def linear_complexity(bits: NDArray[np.uint8], block_bits: int = 500) -> float:
    """SP 800-22, 2.10: linear complexities of blocks of `block_bits`, in seven classes."""
    blocks = bits.size // block_bits
    found = linear_complexities(bits[: blocks * block_bits].reshape(blocks, block_bits))
    sign = -1 if block_bits % 2 else 1
    mean = block_bits / 2 + (9 - sign) / 36 - (block_bits / 3 + 2 / 9) * 2.0**-block_bits
    deviations = sign * (found - mean) + 2 / 9
    # Classes: up to -2.5, up to -1.5, …, above 2.5.
    classes = np.searchsorted(np.arange(-2.5, 3), deviations, side="left")
    expected = blocks * _CHANCES
    chi_square = np.sum((np.bincount(classes, minlength=7) - expected) ** 2 / expected)
    return float(gammaincc(3, chi_square / 2))


def long_linear_complexity(bits: NDArray[np.uint8], block_bits: int = LONG_BLOCK_BITS) -> float:
    """Not in the standard: the most unlikely linear complexity among long blocks, a p-value.

    The standard's blocks of 500 bits can't see a linear generator with a larger state.  Of all
    n-bit blocks, exactly 2 to the min(2 (n - L), 2 L - 1) have complexity L > 0 (Rueppel 1986), so
    as much or more deviation to either side has at most 4/3 of that chance, twice.
    """
    blocks = bits.size // block_bits
    found = linear_complexities(bits[: blocks * block_bits].reshape(blocks, block_bits))
    exponents = np.minimum(block_bits - 2 * found, 2 * found - 1 - block_bits)
    tail = min(1.0, 8 / 3 * 2.0 ** float(exponents.min()))
    return float(-np.expm1(blocks * np.log1p(-tail))) if tail < 1 else 1.0
