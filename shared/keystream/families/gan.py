"""Family `gan`: a generator that widens and narrows, trained against a discriminator.

Layers, each with the tensors `.weight` int8 (out, in) and `.bias` int32 (out,): `widen`,
128 lanes to W; `narrow`, W lanes to 128; then `finish1` to `finishN` of 128 x 128, N from 1 to 4.
W is from 192 to 512, a multiple of 8.  The last layer adds the block's input.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from shared.errors import BadInput
from shared.keystream.families.family import LANES, Family, Tensors
from shared.keystream.layers import Layer

__all__ = ["FAMILY", "MAX_FINISHING", "MIN_FINISHING", "layer_names"]

MIN_FINISHING, MAX_FINISHING = 1, 4
MIN_WIDE, MAX_WIDE = 192, 512


def layer_names(finishing: int) -> tuple[str, ...]:
    """Return the names of the layers, in order."""
    return ("widen", "narrow", *(f"finish{i}" for i in range(1, finishing + 1)))


def _lower(tensors: Tensors) -> tuple[Layer, ...]:
    finishing = len(tensors) // 2 - 2
    named = layer_names(finishing)
    names = [f"{name}.{part}" for name in named for part in ("weight", "bias")]
    if not MIN_FINISHING <= finishing <= MAX_FINISHING or sorted(names) != sorted(tensors):
        raise BadInput(
            f"a gan network has the layers widen, narrow and {MIN_FINISHING} to {MAX_FINISHING} "
            "that finish, weight and bias each"
        )
    layers = []
    for name in named:
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        wide = name == "widen"
        if weight.ndim != 2 or (wide and not MIN_WIDE <= len(weight) <= MAX_WIDE):
            raise BadInput(f"{name} of a gan network can't be of shape {weight.shape}")
        if not wide and len(weight) != LANES:
            raise BadInput(f"{name} of a gan network must give {LANES} lanes")
        add_from = 0 if name == named[-1] else None
        layers.append(
            # Dtypes, and that each layer reads what the one before gives, are checked where the
            # layers are put together.
            Layer(cast("NDArray[np.int8]", weight), cast("NDArray[np.int32]", bias), add_from)
        )
    return tuple(layers)


FAMILY = Family("gan", "a generator that widens and narrows, trained adversarially", _lower)
