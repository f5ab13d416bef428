"""Family `bp`: dense layers by backpropagation through the surrogate.

Biases stay zero: the key adds a uniform 16-bit number to every one of them, so their values can't
matter.
"""

from __future__ import annotations

from itertools import pairwise

from lab.recipes.recipe import DenseLayer, Objective, Recipe, dense_recipe
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
    layers = [
        DenseLayer(f"layer{i}", lanes_in, lanes_out, 0 if i == len(inner) + 1 else None)
        for i, (lanes_in, lanes_out) in enumerate(pairwise(widths), start=1)
    ]
    return dense_recipe("bp", layers, Objective(), design)


RECIPE = recipe(_INNER, _DESIGN)
