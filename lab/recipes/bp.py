"""Family `bp`: three dense layers by backpropagation through the surrogate.

Three, because two layers of random weights showed PractRand no anomaly in 8 GiB and three are
one of margin.  Biases stay zero: the key adds a uniform 16-bit number to every one of them, so
their values can't matter.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from lab.recipes.recipe import Objective, Recipe
from lab.surrogate import SurrogateLayer
from shared.keystream.families.family import LANES
from shared.keystream.layers import WEIGHT_MAX, WEIGHT_MIN

__all__ = ["RECIPE"]

_DEPTH = 3


def _initial(rng: np.random.Generator) -> dict[str, NDArray[np.signedinteger]]:
    tensors: dict[str, NDArray[np.signedinteger]] = {}
    for i in range(1, _DEPTH + 1):
        shape = (LANES, LANES)
        tensors[f"layer{i}.weight"] = rng.integers(
            WEIGHT_MIN, WEIGHT_MAX, shape, dtype=np.int8, endpoint=True
        )
        tensors[f"layer{i}.bias"] = np.zeros(LANES, dtype=np.int32)
    return tensors


def _lower(tensors: Mapping[str, torch.Tensor]) -> tuple[SurrogateLayer, ...]:
    return tuple(
        SurrogateLayer(
            tensors[f"layer{i}.weight"],
            tensors[f"layer{i}.bias"],
            add_from=0 if i == _DEPTH else None,
        )
        for i in range(1, _DEPTH + 1)
    )


RECIPE = Recipe(
    family="bp",
    initial=_initial,
    lower=_lower,
    trained=lambda name: name.endswith(".weight"),
    objective=Objective(),
)
