"""The one kind of step a keystream network is made of, and what a well-formed list of them is.

Every family, whatever its topology, is lowered to a list of `Layer`: a convolution is a dense
matrix with repeated entries, a residual connection is `add_from`.  A backend so has one thing to
implement.  This file computes nothing; `reference` says what a layer does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.errors import BadInput

__all__ = [
    "BIAS_LIMIT",
    "COUNTER_LANES",
    "FOLD_SHIFT",
    "MAX_LANES",
    "TOP_BIT",
    "WEIGHT_MAX",
    "WEIGHT_MIN",
    "Layer",
    "check_layers",
]

# x86 without VNNI adds pairs of u8 x s8 products in int16: 2 * 255 * 64 = 32,640 can't saturate.
WEIGHT_MIN, WEIGHT_MAX = -64, 63
BIAS_LIMIT = 32_768  # more would be in vain: of a sum the low 15 bits alone reach the fold

# fold(s) = (s xor (s >> 7)) and 255.  A sum of many small terms is spread unevenly over its highest
# bits; the top bit of a byte is bit 7 of the sum xor bit 14, and at a shift of 8, with bit 15, its
# bias could be measured in a frame of some GiB.  It shrinks with the fourth power per bit less.
FOLD_SHIFT = 7
TOP_BIT = 1 << (7 + FOLD_SHIFT)  # in a sum: flips the top bit of its fold, and nothing else
MAX_LANES = 512  # 512 * 255 * 64 plus biases < 2**24: exact even where a backend multiplies in fp32
COUNTER_LANES = 8  # the block counter is a u64, a byte a lane


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """y = fold(W x + b + b_key) [+ activation `add_from`], bytes in and bytes out.

    `weight` int8 (out, in) in [-64, 63]; `bias` int32 (out,).  Activation 0 is the block's input
    and activation i the output of the i-th layer, counted from 1; None adds nothing.
    """

    weight: NDArray[np.int8]
    bias: NDArray[np.int32]
    add_from: int | None = None

    @property
    def lanes_in(self) -> int:
        return int(self.weight.shape[1])

    @property
    def lanes_out(self) -> int:
        return int(self.weight.shape[0])


def check_layers(layers: Sequence[Layer]) -> None:
    """Raise `BadInput` unless `layers` form a network that every backend computes exactly.

    Also refused: a matrix with a zero or a repeated row or column (lanes that say nothing, or
    two inputs that can be swapped unnoticed) or of low rank mod 2 (lanes that share their
    lowest bits), and a last layer that does not add the block's input (without it the last
    steps could be run backwards).
    """
    if not layers:
        raise BadInput("a keystream network needs at least one layer")
    widths = [layers[0].lanes_in if layers[0].weight.ndim == 2 else 0]
    for number, layer in enumerate(layers, start=1):
        _check_arrays(layer, number)
        if layer.lanes_in != widths[-1]:
            raise BadInput(
                f"keystream layer {number} reads {layer.lanes_in} lanes, not {widths[-1]}"
            )
        if layer.add_from is not None and not (
            0 <= layer.add_from < number and widths[layer.add_from] == layer.lanes_out
        ):
            raise BadInput(f"keystream layer {number} adds an activation that doesn't fit")
        widths.append(layer.lanes_out)
    for lanes in widths:
        if lanes % 8 or not 2 * COUNTER_LANES <= lanes <= MAX_LANES:
            raise BadInput(f"a keystream layer can't have {lanes} lanes")
    if layers[-1].add_from != 0:
        raise BadInput("the last keystream layer must add the block's input")


def _check_arrays(layer: Layer, number: int) -> None:
    weight, bias = layer.weight, layer.bias
    if weight.dtype != np.int8 or weight.ndim != 2:
        raise BadInput(f"the weights of keystream layer {number} must be an int8 matrix")
    if bias.dtype != np.int32 or bias.shape != weight.shape[:1]:
        raise BadInput(f"the bias of keystream layer {number} must be int32, one a lane")
    if weight.size == 0 or weight.min() < WEIGHT_MIN or weight.max() > WEIGHT_MAX:
        raise BadInput(
            f"the weights of keystream layer {number} leave [{WEIGHT_MIN}, {WEIGHT_MAX}]"
        )
    if bias.min() < -BIAS_LIMIT or bias.max() >= BIAS_LIMIT:
        raise BadInput(f"the bias of keystream layer {number} is not a 16-bit number")
    for lines in (weight, weight.T):
        if not lines.any(axis=1).all() or len(np.unique(lines, axis=0)) < len(lines):
            raise BadInput(f"keystream layer {number} is degenerate: zero or repeated lanes")
    if _rank_mod_2(weight) < min(weight.shape) * 15 // 16:  # random 128 x 128: 124 or less is rare
        raise BadInput(f"keystream layer {number} is degenerate: of low rank mod 2")


def _rank_mod_2(weight: NDArray[np.int8]) -> int:
    """Gaussian elimination over GF(2), a row an integer of bits."""
    pivots: dict[int, int] = {}  # highest bit -> row
    for packed in np.packbits(weight.astype(np.uint8) & 1, axis=1):
        row = int.from_bytes(packed.tobytes(), "big")
        while row and (pivot := pivots.get(row.bit_length())) is not None:
            row ^= pivot
        if row:
            pivots[row.bit_length()] = row
    return len(pivots)
