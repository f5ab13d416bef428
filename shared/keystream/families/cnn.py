"""Family `cnn`: circular convolutions over the lanes, with mixing of channels.

A block's 128 lanes are 8 channels of 16 positions: lane 16 c + p is channel c at position p.
Tensors: `conv1.weight` int8 (8, 8, 8), out channel by in channel by tap, `conv1.bias` int32 (8,),
one an out channel, and so on up to `convN`, N from 3 to 8.  Odd layers have dilation 1, even
ones 3, so that any two layers in a row reach every lane from every lane.  A lane is a sum of 64
others: with fewer terms a sum is spread too unevenly over its bits.  The last layer adds the
block's input.

The key's biases are a lane's own: without them a network of convolutions could not tell a block
from the same block turned along the circle.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.errors import BadInput
from shared.keystream.families.family import LANES, Family, Tensors
from shared.keystream.layers import Layer

__all__ = ["CHANNELS", "FAMILY", "KERNEL", "MAX_DEPTH", "MIN_DEPTH", "POSITIONS", "lanes_read"]

CHANNELS = 8
POSITIONS = LANES // CHANNELS
TAPS = 8
KERNEL = (CHANNELS, CHANNELS, TAPS)
MIN_DEPTH = 3  # below, a layer after which all lanes are mixed would be missing
MAX_DEPTH = 8
_DILATIONS = (1, 3)


def lanes_read(layer: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows and columns of the dense matrix at which layer `layer` has its kernel.

    Layers count from 1.  Both are (8, 8, 8, 16): the kernel's axes, then the output's position.
    """
    dilation = _DILATIONS[(layer - 1) % len(_DILATIONS)]
    out, channel, tap, position = np.indices((*KERNEL, POSITIONS))
    source = (position + (tap - TAPS // 2) * dilation) % POSITIONS
    return out * POSITIONS + position, channel * POSITIONS + source


def _lower(tensors: Tensors) -> tuple[Layer, ...]:
    depth = len(tensors) // 2
    names = [f"conv{i}.{part}" for i in range(1, depth + 1) for part in ("weight", "bias")]
    if not MIN_DEPTH <= depth <= MAX_DEPTH or sorted(names) != sorted(tensors):
        raise BadInput(f"a cnn network has {MIN_DEPTH} to {MAX_DEPTH} layers, weight and bias each")
    layers = []
    for i in range(1, depth + 1):
        kernel, bias = tensors[f"conv{i}.weight"], tensors[f"conv{i}.bias"]
        if kernel.shape != KERNEL or bias.shape != (CHANNELS,):
            raise BadInput(
                f"layer {i} of a cnn network has a kernel {KERNEL} and {CHANNELS} biases, "
                f"not {kernel.shape} and {bias.shape}"
            )
        # The dtypes are kept, and checked where the layers are put together.
        weight = np.zeros((LANES, LANES), dtype=kernel.dtype)
        weight[lanes_read(i)] = kernel[..., np.newaxis]
        layers.append(Layer(weight, np.repeat(bias, POSITIONS), add_from=0 if i == depth else None))
    return tuple(layers)


FAMILY = Family("cnn", "circular convolutions over the lanes, of two dilations", _lower)
