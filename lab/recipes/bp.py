"""Family `bp`: dense layers by backpropagation through the surrogate.

Biases stay zero: the key adds a uniform 16-bit number to every one of them, so their values can't
matter.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from lab.recipes.recipe import Objective, Recipe, draw_weights
from lab.surrogate import SurrogateLayer
from shared.keystream.families.family import LANES

__all__ = ["RECIPE", "recipe"]

_INNER = (64, 128)
_DESIGN = (
    "Three dense layers, 128 lanes to 64 to 128 to 128. The first costs next to nothing, as little "
    "of its input changes from block to block, so that its output is what has to be narrow. Two "
    "layers already show no avalanche of material or counter, and stand the same attacks within a "
    "frame; a flipped key bias still shows. Three are one of margin."
)


def recipe(inner: tuple[int, ...], design: str = "") -> Recipe:
    """Return the recipe of dense layers with `inner` lanes between the first and the last."""
    widths = (LANES, *inner, LANES)
    depth = len(widths) - 1

    def initial(rng: np.random.Generator) -> dict[str, NDArray[np.signedinteger]]:
        tensors: dict[str, NDArray[np.signedinteger]] = {}
        for i in range(1, depth + 1):
            tensors[f"layer{i}.weight"] = draw_weights(rng, (widths[i], widths[i - 1]))
            tensors[f"layer{i}.bias"] = np.zeros(widths[i], dtype=np.int32)
        return tensors

    def lower(tensors: Mapping[str, torch.Tensor]) -> tuple[SurrogateLayer, ...]:
        return tuple(
            SurrogateLayer(
                tensors[f"layer{i}.weight"],
                tensors[f"layer{i}.bias"],
                add_from=0 if i == depth else None,
            )
            for i in range(1, depth + 1)
        )

    return Recipe(
        family="bp",
        initial=initial,
        lower=lower,
        trained=lambda name: name.endswith(".weight"),
        objective=Objective(),
        design=design,
    )


RECIPE = recipe(_INNER, _DESIGN)
