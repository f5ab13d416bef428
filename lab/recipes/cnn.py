"""Family `cnn`: circular convolutions by backpropagation through the surrogate.

Gradients reach the kernels through the dense matrices that they are lowered to.  A kernel is
drawn again until its matrix is invertible mod 2.  For a circle of 16 positions that is a matter
of the 8 x 8 matrix of each channel pair's parities summed over the taps: 16 is a power of two, so
mod 2 the polynomial x^16 - 1 is (x - 1)^16, and a matrix of polynomials can be inverted modulo it
exactly where its value at x = 1 can be.  Training keeps parities, hence this too.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from lab.recipes.recipe import Objective, Recipe, draw_weights
from lab.surrogate import SurrogateLayer
from shared.keystream.families.cnn import CHANNELS, KERNEL, POSITIONS, lanes_read
from shared.keystream.families.family import LANES

__all__ = ["RECIPE", "recipe"]

_DEPTH = 4
_DESIGN = (
    "Circular convolutions: 8 channels of 16 positions, kernels of 8 taps over all channels, "
    "dilations 1 and 3 in turn, so that any two layers reach every lane from every lane. A lane "
    "reads 64 others; the other 64 entries of a row of the dense matrix are zero by construction, "
    "and in the avalanche of layers on their own below each counts 1, a change never seen."
)


def recipe(depth: int, design: str = "") -> Recipe:
    """Return the recipe of `depth` convolutions."""
    places = tuple(
        tuple(torch.from_numpy(axis) for axis in lanes_read(layer)) for layer in range(1, depth + 1)
    )

    def initial(rng: np.random.Generator) -> dict[str, NDArray[np.signedinteger]]:
        tensors: dict[str, NDArray[np.signedinteger]] = {}
        for i in range(1, depth + 1):
            kernel = draw_weights(rng, KERNEL)
            while not _invertible_mod_2(kernel):
                kernel = draw_weights(rng, KERNEL)
            tensors[f"conv{i}.weight"] = kernel
            tensors[f"conv{i}.bias"] = np.zeros(CHANNELS, dtype=np.int32)
        return tensors

    def lower(tensors: Mapping[str, torch.Tensor]) -> tuple[SurrogateLayer, ...]:
        layers = []
        for i, place in enumerate(places, start=1):
            kernel = tensors[f"conv{i}.weight"].unsqueeze(-1).expand(*KERNEL, POSITIONS)
            bias = tensors[f"conv{i}.bias"].repeat_interleave(POSITIONS)
            empty = torch.zeros(LANES, LANES, device=kernel.device)
            weight = empty.index_put(tuple(axis.to(kernel.device) for axis in place), kernel)
            layers.append(SurrogateLayer(weight, bias, add_from=0 if i == depth else None))
        return tuple(layers)

    return Recipe(
        family="cnn",
        initial=initial,
        lower=lower,
        trained=lambda name: name.endswith(".weight"),
        objective=Objective(),
        design=design,
    )


def _invertible_mod_2(kernel: NDArray[np.int8]) -> bool:
    parities = kernel.sum(axis=2, dtype=np.int64) & 1
    # An 8 x 8 determinant of zeros and ones is at most 56: far from where floats are inexact.
    return round(float(np.linalg.det(parities.astype(np.float64)))) % 2 == 1


RECIPE = recipe(_DEPTH, _DESIGN)
