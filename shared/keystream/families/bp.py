"""Family `bp`: dense layers, trained by backpropagation.

Tensors: `layer1.weight` int8 (out, in), `layer1.bias` int32 (out,), and so on up to `layerN`, N
from 2 to 8.  Every layer reads the one before, and the last adds the block's input.  The first
reads 128 lanes and the last gives 128; between layers there are 64 to 256, a multiple of 8.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from shared.errors import BadInput
from shared.keystream.families.family import LANES, Family, Tensors
from shared.keystream.layers import Layer

__all__ = ["FAMILY", "MAX_DEPTH", "MIN_DEPTH"]

MIN_DEPTH = 2  # below, a block is one fold of a linear map
MAX_DEPTH = 8  # above, the tensor cores and not the memory would set the speed on any GPU
MIN_INNER, MAX_INNER = 64, 256


def _lower(tensors: Tensors) -> tuple[Layer, ...]:
    depth = len(tensors) // 2
    names = [f"layer{i}.{part}" for i in range(1, depth + 1) for part in ("weight", "bias")]
    if not MIN_DEPTH <= depth <= MAX_DEPTH or sorted(names) != sorted(tensors):
        raise BadInput(f"a bp network has {MIN_DEPTH} to {MAX_DEPTH} layers, weight and bias each")
    layers = []
    for i in range(1, depth + 1):
        weight, bias = tensors[f"layer{i}.weight"], tensors[f"layer{i}.bias"]
        if weight.ndim != 2 or not _gives(len(weight), last=i == depth):
            raise BadInput(f"layer {i} of a bp network can't be of shape {weight.shape}")
        layers.append(
            Layer(
                # Dtypes, and that each layer reads what the one before gives, are checked where
                # the layers are put together.
                cast("NDArray[np.int8]", weight),
                cast("NDArray[np.int32]", bias),
                add_from=0 if i == depth else None,
            )
        )
    return tuple(layers)


def _gives(lanes: int, *, last: bool) -> bool:
    return lanes == LANES if last else MIN_INNER <= lanes <= MAX_INNER


FAMILY = Family("bp", "dense layers, trained by backpropagation", _lower)
