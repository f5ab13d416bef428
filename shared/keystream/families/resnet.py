"""Family `resnet`: residual blocks, each adding what it reads mod 256.

Layers: `stem`, `block1.in`, `block1.out` and so on up to `blockN` (N from 1 to 3), and `head`,
each with the tensors `.weight` int8 (out, in) and `.bias` int32 (out,).  Stem and head are
128 x 128.  A residual block goes to 64 to 256 lanes and back to 128, where the activation that it
read is added.  The head adds the block's input, as the last layer of every network does.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from shared.errors import BadInput
from shared.keystream.families.family import LANES, Family, Tensors
from shared.keystream.layers import Layer

__all__ = ["FAMILY", "MAX_BLOCKS", "MIN_BLOCKS", "layers_of"]

MIN_BLOCKS, MAX_BLOCKS = 1, 3  # 4 to 8 layers, as many as other families have at most
MIN_INNER, MAX_INNER = 64, 256


def layers_of(blocks: int) -> tuple[tuple[str, int | None], ...]:
    """Return, in order, each layer's name and the number of the activation that it adds."""
    layers: list[tuple[str, int | None]] = [("stem", None)]
    for block in range(1, blocks + 1):
        layers += [(f"block{block}.in", None), (f"block{block}.out", len(layers))]
    return (*layers, ("head", 0))


def _lower(tensors: Tensors) -> tuple[Layer, ...]:
    blocks = len(tensors) // 4 - 1
    named = layers_of(blocks)
    names = [f"{name}.{part}" for name, _ in named for part in ("weight", "bias")]
    if not MIN_BLOCKS <= blocks <= MAX_BLOCKS or sorted(names) != sorted(tensors):
        raise BadInput(
            f"a resnet network has a stem, {MIN_BLOCKS} to {MAX_BLOCKS} blocks of two layers and "
            "a head, weight and bias each"
        )
    layers = []
    for name, add_from in named:
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        inner = name.endswith(".in")
        if weight.ndim != 2 or (inner and not MIN_INNER <= len(weight) <= MAX_INNER):
            raise BadInput(f"{name} of a resnet network can't be of shape {weight.shape}")
        if not inner and len(weight) != LANES:
            raise BadInput(f"{name} of a resnet network must give {LANES} lanes")
        layers.append(
            # Dtypes, and that each layer reads what the one before gives, are checked where the
            # layers are put together.
            Layer(cast("NDArray[np.int8]", weight), cast("NDArray[np.int32]", bias), add_from)
        )
    return tuple(layers)


FAMILY = Family("resnet", "residual blocks of dense layers, added mod 256", _lower)
