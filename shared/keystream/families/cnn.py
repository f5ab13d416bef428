"""Family `cnn`: circular convolutions over the lanes, with mixing of channels.

A block's 128 lanes are 8 channels of 16 positions: lane 16 c + p is channel c at position p.
Tensors: `conv1.weight` int8 (8, 8, 8), out channel by in channel by tap, `conv1.bias` int32 (8,),
one an out channel, and so on up to `convN`, N from 3 to 8.  A shape is N alone.  Odd layers have
dilation 1, even ones 3, so that any two layers in a row reach every lane from every lane.  A lane
is a sum of 64 others: with fewer terms a sum is spread too unevenly over its bits.  The last layer
adds the block's input.

The key's biases are a lane's own: without them a network of convolutions could not tell a block
from the same block turned along the circle.

A kernel is drawn again until its matrix is invertible mod 2.  For a circle of 16 positions that is
a matter of the 8 x 8 matrix of each channel pair's parities summed over the taps: 16 is a power of
two, so mod 2 the polynomial x^16 - 1 is (x - 1)^16, and a matrix of polynomials can be inverted
modulo it exactly where its value at x = 1 can be.  Training keeps parities, hence this too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.errors import BadInput
from shared.keystream.families.family import LANES, Family, Placement, Shape, Step

__all__ = ["FAMILY"]

_CHANNELS = 8
_POSITIONS = LANES // _CHANNELS
_TAPS = 8
_MIN_DEPTH = 3  # below, a layer after which all lanes are mixed would be missing
_MAX_DEPTH = 8
_DILATIONS = (1, 3)


def _convolution(dilation: int) -> Placement:
    out, channel, tap, position = np.indices((_CHANNELS, _CHANNELS, _TAPS, _POSITIONS))
    source = (position + (tap - _TAPS // 2) * dilation) % _POSITIONS
    return Placement(rows=out * _POSITIONS + position, columns=channel * _POSITIONS + source)


def _steps(shape: Shape) -> tuple[Step, ...]:
    (depth,) = shape
    if not _MIN_DEPTH <= depth <= _MAX_DEPTH:
        raise BadInput(f"a cnn network has {_MIN_DEPTH} to {_MAX_DEPTH} layers")
    return tuple(
        Step(
            f"conv{i}",
            add_from=0 if i == depth else None,
            placement=_convolution(_DILATIONS[(i - 1) % len(_DILATIONS)]),
        )
        for i in range(1, depth + 1)
    )


def _singular_mod_2(kernel: NDArray[np.int8]) -> bool:
    parities = kernel.sum(axis=2, dtype=np.int64) & 1
    # An 8 x 8 determinant of zeros and ones is at most 56: far from where floats are inexact.
    return round(float(np.linalg.det(parities.astype(np.float64)))) % 2 == 0


FAMILY = Family(
    name="cnn",
    shape_of=lambda lengths: (len(lengths),),
    steps=_steps,
    shapes={"3 layers": (3,), "4 layers": (4,)},
    shipped="4 layers",
    design=(
        "Circular convolutions: 8 channels of 16 positions, kernels of 8 taps over all channels, "
        "dilations 1 and 3 in turn, so that any two layers reach every lane from every lane. A "
        "lane reads 64 others; the other 64 entries of a row of the dense matrix are zero by "
        "construction, and in the avalanche of layers on their own below each counts 1, a change "
        "never seen."
    ),
    redraw=_singular_mod_2,
)
