"""Given patterns: SP 800-22 rev 1a, 2.7 (non-overlapping) and 2.8 (overlapping templates)."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincc

from lab.randomness.patterns import windows

__all__ = ["OVERLAPPING_CHANCES", "aperiodic_templates", "non_overlapping", "overlapping"]

OVERLAPPING_CHANCES = (0.364091, 0.185659, 0.139381, 0.100571, 0.070432, 0.139865)
"""Exact chances of 0, 1, …, 4 and more hits of nine ones in a block of 1,032 bits (3.8).  NIST's
program takes an approximation from a Poisson limit, which good generators fail in long runs."""


@cache
def aperiodic_templates(length: int = 9) -> tuple[int, ...]:
    """Return the templates that can't overlap themselves, in rising order: 148 of 9 bits."""

    def overlaps_itself(word: int) -> bool:
        return any(
            word >> shift == word & ((1 << length - shift) - 1) for shift in range(1, length)
        )

    return tuple(word for word in range(1 << length) if not overlaps_itself(word))


def non_overlapping(
    bits: NDArray[np.uint8],
    length: int = 9,
    blocks: int = 8,
    templates: tuple[int, ...] | None = None,
) -> NDArray[np.float64]:
    """SP 800-22, 2.7: hits of each aperiodic template in `blocks` blocks; float64 (templates,).

    A template that can't overlap itself is hit as often whether or not the search jumps over its
    hits, so counting the words of the sequence counts all templates at once.
    """
    chosen = aperiodic_templates(length) if templates is None else templates
    if not set(chosen) <= set(aperiodic_templates(length)):
        raise ValueError("a non-overlapping template must not be able to overlap itself")
    block_bits = bits.size // blocks
    rows = bits[: blocks * block_bits].reshape(blocks, block_bits)
    words = 1 << length
    hits = np.stack([np.bincount(windows(row, length), minlength=words) for row in rows])
    expected = (block_bits - length + 1) / words
    variance = block_bits * (1 / words - (2 * length - 1) / words**2)
    chi_square = ((hits[:, list(chosen)] - expected) ** 2 / variance).sum(axis=0)
    return np.asarray(gammaincc(blocks / 2, chi_square / 2), dtype=np.float64)


def overlapping(
    bits: NDArray[np.uint8],
    length: int = 9,
    block_bits: int = 1_032,
    chances: tuple[float, ...] = OVERLAPPING_CHANCES,
) -> float:
    """SP 800-22, 2.8: hits of `length` ones in blocks of `block_bits`, hits free to overlap.

    `chances` are those of 0, 1, … hits in a block, and last of more.
    """
    blocks = bits.size // block_bits
    rows = bits[: blocks * block_bits].reshape(blocks, block_bits)
    ones = np.cumsum(np.pad(rows, ((0, 0), (1, 0))), axis=1, dtype=np.int32)
    hits = np.count_nonzero(ones[:, length:] - ones[:, :-length] == length, axis=1)
    classes = np.bincount(np.minimum(hits, len(chances) - 1), minlength=len(chances))
    expected = blocks * np.array(chances)
    chi_square = np.sum((classes - expected) ** 2 / expected)
    return float(gammaincc((len(chances) - 1) / 2, chi_square / 2))
