"""Bias of a lane's byte, because sums of small weights are spread unevenly over their high bits.

Over uniform activations an accumulator is not uniform: its Fourier coefficient at frequency f is
Phi(f) = prod over the inputs of a discrete sinc of f w, and at the lowest frequency that the
fold uses it is largest.  A linear mask of the byte then has, for a fixed key, a bias whose mean
square over keys is exactly the sum over f of |G_mask(f)|**2 |Phi(f)|**2, with G_mask the transform
of (-1)**(mask . fold(s)).  Its sign is the key's, so it is the same in every block of a frame, at
any depth: what counts is the last layer's fan-in, the size of its weights, and the fold.  Between
frames the added material hides it, except in the lanes of the counter's upper bytes, which add
zero.

The statistic sees it in one frame of known keystream: in each lane the first harmonic of the
byte's distribution, whose phase need not be known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtr, chdtrc

from lab.cryptanalysis.evidence import Evidence
from lab.cryptanalysis.pairs import mask_spectra
from lab.cryptanalysis.target import Target, TargetFrame

__all__ = ["Wraparound", "first_harmonic", "first_harmonics", "predict"]

_MODULUS = 1 << 16
_COUNTER_LANES_THAT_VARY = 3
_WANTED_DEVIATE = 6.0
_SEGMENT_BLOCKS = 1 << 15


@dataclass(frozen=True, slots=True)
class Wraparound:
    """What the last layer's weights alone foretell, over uniform keys and activations.

    `bias`: root mean square of the bias 2 p - 1 of the worst of 255 masks, `mask`; `blocks`: of one
    frame, until the masks of all lanes together reach 6 standard deviations at best.
    """

    bias: float
    mask: int
    blocks: float


def predict(target: Target, *, lanes: int = 16) -> Wraparound:
    """Return what uniform activations into the last layer of `target` would show.

    Of the output lanes, `lanes` spread evenly are computed, the others taken for as good.
    """
    frequencies = np.arange(_MODULUS)
    with np.errstate(divide="ignore", invalid="ignore"):
        turn = np.pi * frequencies / _MODULUS
        sinc = np.abs(np.sin(256 * turn) / (256 * np.sin(turn)))
    sinc[0] = 1.0  # |sum over y = 0..255 of exp(2 pi i y f / 65536)| / 256
    step = max(1, target.lanes_out // lanes)
    rows = target.layers[-1].weight[::step].astype(np.int64)
    squares = np.empty((len(rows), 255))
    for i, row in enumerate(rows):
        phi = np.ones(_MODULUS)
        for weight in row.tolist():
            phi *= sinc[frequencies * weight % _MODULUS]
        squares[i] = mask_spectra() @ np.square(phi)
    worst = int(squares.mean(axis=0).argmax())
    # Of masks with mean square bias b, the sum of N b needs 6 sqrt(2) to stand out of a
    # chi-square's spread; all masks in the quietest way of weighing them.
    strength = math.sqrt(float(np.square(squares).sum()) * target.lanes_out / len(rows))
    return Wraparound(
        bias=math.sqrt(float(squares[:, worst].mean())),
        mask=worst + 1,
        blocks=_WANTED_DEVIATE * math.sqrt(2) / strength if strength else math.inf,
    )


def first_harmonics(blocks: NDArray[np.uint8]) -> NDArray[np.complex128]:
    """Return the sum of exp(2 pi i byte / 256) over the rows: complex (lanes,)."""
    lanes = blocks.shape[1]
    flat = blocks.astype(np.int32) + 256 * np.arange(lanes, dtype=np.int32)
    counts = np.bincount(flat.ravel(), minlength=256 * lanes).reshape(lanes, 256)
    wave: NDArray[np.complex128] = counts @ np.exp(2j * np.pi * np.arange(256) / 256)
    return wave


def first_harmonic(target: Target, rng: np.random.Generator, *, blocks: int) -> Evidence:
    """Sum the first harmonic of each lane over one frame of `blocks` blocks."""
    frame = TargetFrame.draw(target, rng)
    total = np.zeros(target.lanes_out, dtype=np.complex128)
    for first in range(0, blocks, _SEGMENT_BLOCKS):
        total += first_harmonics(frame.blocks(first, min(_SEGMENT_BLOCKS, blocks - first)))
    if target.adds_input:  # the counter's low bytes are uniform by themselves: they tell nothing
        total = total[:-_COUNTER_LANES_THAT_VARY]
    degrees = 2 * len(total)  # each lane: chi-square of two degrees
    value = float(2 * np.square(np.abs(total)).sum() / blocks)
    deviate = (value - degrees) / math.sqrt(2 * degrees)
    return Evidence(
        "first harmonic of lanes' bytes",
        _two_sided(value, degrees),
        f"{deviate:.1f} sd in {blocks:,} blocks of one frame",
    )


def _two_sided(value: float, degrees: int) -> float:
    """Return the chance of a chi-square as far out: bytes spread too evenly are telling as well."""
    tail = min(float(chdtr(degrees, value)), float(chdtrc(degrees, value)))
    return min(1.0, 2 * max(tail, 1e-300))
