"""Family `resnet`: a stem, one residual block through 64 lanes, and a head, by backpropagation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from lab.recipes.recipe import Objective, Recipe, draw_weights
from lab.surrogate import SurrogateLayer
from shared.keystream.families.family import LANES
from shared.keystream.families.resnet import layers_of

__all__ = ["RECIPE", "recipe"]

_BLOCKS = 1
_INNER = 64  # the block's two layers together then cost what one of full width does
_DESIGN = (
    "A dense stem, one residual block (128 lanes to 64 and back, and the activation that "
    "it read added mod 256), and a dense head that adds the block's input. What passes the "
    "narrow place passes beside it as well, by the addition. Four layers of the arithmetic of "
    "three dense ones."
)


def recipe(blocks: int, inner: int, design: str = "") -> Recipe:
    """Return the recipe of `blocks` residual blocks, each through `inner` lanes."""
    named = layers_of(blocks)

    def initial(rng: np.random.Generator) -> dict[str, NDArray[np.signedinteger]]:
        tensors: dict[str, NDArray[np.signedinteger]] = {}
        for name, _ in named:
            lanes_out = inner if name.endswith(".in") else LANES
            lanes_in = inner if name.endswith(".out") else LANES
            tensors[f"{name}.weight"] = draw_weights(rng, (lanes_out, lanes_in))
            tensors[f"{name}.bias"] = np.zeros(lanes_out, dtype=np.int32)
        return tensors

    def lower(tensors: Mapping[str, torch.Tensor]) -> tuple[SurrogateLayer, ...]:
        return tuple(
            SurrogateLayer(tensors[f"{name}.weight"], tensors[f"{name}.bias"], add_from)
            for name, add_from in named
        )

    return Recipe(
        family="resnet",
        initial=initial,
        lower=lower,
        trained=lambda name: name.endswith(".weight"),
        objective=Objective(),
        design=design,
    )


RECIPE = recipe(_BLOCKS, _INNER, _DESIGN)
