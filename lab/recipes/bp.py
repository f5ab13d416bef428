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

from lab.recipes.recipe import Objective, Recipe, draw_weights
from lab.surrogate import SurrogateLayer
from shared.keystream.families.family import LANES

__all__ = ["RECIPE"]

_DEPTH = 3


def _initial(rng: np.random.Generator) -> dict[str, NDArray[np.signedinteger]]:
    tensors: dict[str, NDArray[np.signedinteger]] = {}
    for i in range(1, _DEPTH + 1):
        tensors[f"layer{i}.weight"] = draw_weights(rng, (LANES, LANES))
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
    design="Three dense layers. Two layers of random weights showed PractRand no anomaly in 8 GiB; "
    "three are one of margin.",
)
