"""Family `resnet`: a stem, one residual block through 64 lanes, and a head, by backpropagation."""

from __future__ import annotations

from lab.recipes.recipe import DenseLayer, Objective, Recipe, dense_recipe
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
    layers = [
        DenseLayer(
            name,
            lanes_in=inner if name.endswith(".out") else LANES,
            lanes_out=inner if name.endswith(".in") else LANES,
            add_from=add_from,
        )
        for name, add_from in layers_of(blocks)
    ]
    return dense_recipe("resnet", layers, Objective(), design)


RECIPE = recipe(_BLOCKS, _INNER, _DESIGN)
