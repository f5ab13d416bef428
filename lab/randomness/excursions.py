"""Visits of the walk of ±1 steps between its returns to zero: SP 800-22 rev 1a, 2.14 (random
excursions) and 2.15 (their variant)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc, gammaincc

__all__ = ["STATES", "VARIANT_STATES", "excursions", "excursions_variant", "least_cycles"]

STATES = (-4, -3, -2, -1, 1, 2, 3, 4)
VARIANT_STATES = (*range(-9, 0), *range(1, 10))


def least_cycles(n: int) -> float:
    """The cycles below which the standard does not apply either test (2.14.4, 2.15.4)."""
    return max(0.005 * math.sqrt(n), 500)


def _walk(bits: NDArray[np.uint8]) -> tuple[NDArray[np.int32], int]:
    """The sums after each step, and the number of cycles: the last ends with the sequence."""
    walk = np.cumsum(bits.astype(np.int8) * 2 - 1, dtype=np.int32)
    return walk, int(np.count_nonzero(walk == 0)) + int(walk[-1] != 0)


def excursions(bits: NDArray[np.uint8], least: float | None = None) -> NDArray[np.float64]:
    """SP 800-22, 2.14: visits a cycle to each of `STATES`; float64 (8,).

    NaN where there are fewer cycles than `least` (by default `least_cycles`).
    """
    walk, cycles = _walk(bits)
    if cycles < (least_cycles(bits.size) if least is None else least):
        return np.full(len(STATES), np.nan)
    near = np.flatnonzero(np.abs(walk) <= 4)
    states = walk[near]
    returned = states == 0
    cycle = np.cumsum(returned) - returned  # a return belongs to the cycle that it ends
    visits = np.bincount(cycle * 9 + states + 4, minlength=cycles * 9)[: cycles * 9]
    visits = visits.reshape(cycles, 9)
    p_values = []
    for state in STATES:
        found = np.bincount(np.minimum(visits[:, state + 4], 5), minlength=6)
        expected = cycles * _chances(abs(state))
        p_values.append(gammaincc(2.5, float(np.sum((found - expected) ** 2 / expected)) / 2))
    return np.array(p_values)


def _chances(distance: int) -> NDArray[np.float64]:
    """The chances of 0, 1, …, 4 and at least 5 visits in a cycle (3.14)."""
    back = 1 - 1 / (2 * distance)
    some = [back ** (k - 1) / (4 * distance**2) for k in range(1, 5)]
    return np.array([back, *some, back**4 / (2 * distance)])


def excursions_variant(bits: NDArray[np.uint8], least: float | None = None) -> NDArray[np.float64]:
    """SP 800-22, 2.15: visits in all to each of `VARIANT_STATES`; float64 (18,).

    NaN where there are fewer cycles than `least` (by default `least_cycles`).
    """
    walk, cycles = _walk(bits)
    if cycles < (least_cycles(bits.size) if least is None else least):
        return np.full(len(VARIANT_STATES), np.nan)
    near = walk[np.abs(walk) <= 9]
    visits = np.bincount(near + 9, minlength=19)
    states = np.array(VARIANT_STATES)
    scale = np.sqrt(2 * cycles * (4 * np.abs(states) - 2))
    return np.asarray(erfc(np.abs(visits[states + 9] - cycles) / scale), dtype=np.float64)
