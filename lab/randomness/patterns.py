"""Frequencies of all words of a length: SP 800-22 rev 1a, 2.11 (serial) and 2.12 (approximate
entropy), and the words themselves, which other tests count too."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincc, xlogy

__all__ = ["approximate_entropy", "serial", "windows"]


def windows(bits: NDArray[np.uint8], length: int) -> NDArray[np.int32]:
    """Return the `length`-bit words (first bit highest) at every place: int32 (n - length + 1,)."""
    # Doubling: words of twice the length are two neighbours put together.
    words, have = bits.astype(np.int32), 1
    while have < length:
        more = min(have, length - have)
        words = (words[: words.size - more] << more) | (words[more:] & ((1 << more) - 1))
        have += more
    return words


def _cyclic_counts(bits: NDArray[np.uint8], length: int) -> NDArray[np.int64]:
    """How often each word occurs in the sequence closed to a ring: int64 (2 ** length,)."""
    ring = np.concatenate((bits, bits[: length - 1]))
    return np.bincount(windows(ring, length), minlength=1 << length)


def serial(bits: NDArray[np.uint8], length: int = 16) -> tuple[float, float]:
    """SP 800-22, 2.11: words of `length` bits, by first and second differences of ψ²."""
    counts = _cyclic_counts(bits, length)
    psi = []
    for bits_left in (length, length - 1, length - 2):
        psi.append(
            np.sum(counts.astype(np.float64) ** 2) * 2.0**bits_left / bits.size - bits.size
            if bits_left
            else 0.0
        )
        counts = counts.reshape(-1, 2).sum(axis=1) if bits_left else counts
    first, second = psi[0] - psi[1], psi[0] - 2 * psi[1] + psi[2]
    return (
        float(gammaincc(2.0 ** (length - 2), max(first, 0) / 2)),
        float(gammaincc(2.0 ** (length - 3), max(second, 0) / 2)),
    )


def approximate_entropy(bits: NDArray[np.uint8], length: int = 10) -> float:
    """SP 800-22, 2.12: words of `length` against words of one bit more."""
    longer = _cyclic_counts(bits, length + 1)
    shorter = longer.reshape(-1, 2).sum(axis=1)
    shares = shorter / bits.size, longer / bits.size
    entropy = np.sum(xlogy(shares[0], shares[0])) - np.sum(xlogy(shares[1], shares[1]))
    chi_square = 2 * bits.size * (np.log(2) - entropy)
    return float(gammaincc(2.0 ** (length - 1), max(chi_square, 0) / 2))
