"""The differential bias of two layers, computed exactly instead of sampled.

Over uniform keys the lanes of the first layer are independent, so the distribution of a pair's
difference in any second-layer sum is a convolution: its Fourier transform Psi(f) is the product,
over the first layer's lanes, of the transforms of their own differences, each over all offsets.
The second layer's uniform key bias leaves only that difference to be seen, so the correlation of
(-1)**(mask . byte) between the two blocks is, exactly,

    sum over f of |G_mask(f)|**2 Psi(f),     G_mask the transform of (-1)**(mask . fold(u)).

A single block has no bias at all over uniform keys: every sum is uniform by its key bias.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from lab.cryptanalysis.target import Target
from shared.errors import BadInput
from shared.keystream.reference import fold

__all__ = ["PairBias", "mask_spectra", "pair_bias"]

_MODULUS = 1 << 16


@dataclass(frozen=True, slots=True)
class PairBias:
    """`correlation`: the largest over lanes and masks; `pairs`: about how many pairs of blocks a
    distinguisher that uses all masks of all lanes needs for one standard deviation."""

    correlation: float
    pairs: float


@cache
def mask_spectra() -> NDArray[np.float32]:
    """Return |G_mask(f)|**2 for masks 1 to 255 of a fold: (255, 65536)."""
    sums = np.arange(_MODULUS)
    byte = fold(sums)
    spectra = np.empty((255, _MODULUS), dtype=np.float32)
    for mask in range(1, 256):
        signs = 1.0 - 2.0 * (np.bitwise_count(byte & mask) & 1)
        spectra[mask - 1] = np.square(np.abs(np.fft.fft(signs) / _MODULUS))
    return spectra


def pair_bias(target: Target, difference: NDArray[np.integer], *, lanes: int = 4) -> PairBias:
    """Return what two layers show of pairs whose inputs differ by `difference` (lanes,).

    The difference is of integers (0 to 255 a byte, without wrapping).  Only the first `lanes`
    output lanes are computed; `pairs` takes the others for as good.  `BadInput` unless two layers.
    """
    if target.depth != 2:
        raise BadInput(f"the exact differential is of two layers, not {target.depth}")
    first, second = target.layers
    steps = first.weight.astype(np.int64) @ difference.astype(np.int64) % _MODULUS
    offsets = np.arange(_MODULUS)
    before = fold(offsets)
    spectra: dict[int, NDArray[np.complex128]] = {}
    for step in np.unique(steps).tolist():
        moved = (offsets + step) % _MODULUS
        change = fold(moved) - before
        spectra[step] = np.fft.fft(np.bincount(change % _MODULUS, minlength=_MODULUS)) / _MODULUS
    best, total = 0.0, 0.0
    for row in second.weight[:lanes].astype(np.int64):
        psi = np.ones(_MODULUS, dtype=np.complex128)
        for weight, step in zip(row, steps.tolist(), strict=True):
            psi *= spectra[step][offsets * weight % _MODULUS]
        correlations = mask_spectra() @ psi.real[:, np.newaxis]
        best = max(best, float(np.abs(correlations).max()))
        total += float(np.square(correlations).sum())
    total *= target.lanes_out / lanes
    return PairBias(best, 1 / total if total else math.inf)
