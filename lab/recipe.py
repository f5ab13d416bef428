"""How a family's weights come about: their random draw, and float layers that gradients reach.

Both follow from what the family's file declares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lab.surrogate import SurrogateLayer
from shared.keystream.families import Family, find_family
from shared.keystream.families.family import Shape, Step
from shared.keystream.layers import WEIGHT_MAX, WEIGHT_MIN

__all__ = ["Recipe", "find_recipe"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """A family, in the shape of `steps`."""

    family: Family
    steps: tuple[Step, ...]

    @classmethod
    def of(cls, family: Family, shape: Shape) -> Recipe:
        return cls(family, family.steps(shape))

    def initial(self, rng: np.random.Generator) -> dict[str, NDArray[np.signedinteger]]:
        """Draw the tensors before training; that is the untrained control as well.

        Weights are uniform over all that they may be.  Biases are zero: the key adds a uniform
        16-bit number to every one of them, so their values can't matter.
        """
        tensors: dict[str, NDArray[np.signedinteger]] = {}
        for step in self.steps:
            weight = _draw(rng, step.weight_shape)
            while self.family.redraw(weight):
                weight = _draw(rng, step.weight_shape)
            tensors[step.weight_name] = weight
            tensors[step.bias_name] = np.zeros(step.bias_shape, dtype=np.int32)
        return tensors

    def lower(self, tensors: Mapping[str, torch.Tensor]) -> tuple[SurrogateLayer, ...]:
        """Return the layers of float tensors, as the family does of a file's."""
        return tuple(
            SurrogateLayer(
                _dense(step, tensors[step.weight_name]),
                tensors[step.bias_name].repeat_interleave(step.lanes_a_bias),
                step.add_from,
            )
            for step in self.steps
        )


def find_recipe(family: str) -> Recipe:
    """Return the recipe for the shape of `family` that is shipped, or raise `BadInput`."""
    found = find_family(family)
    return Recipe.of(found, found.shapes[found.shipped])


def _draw(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.int8]:
    return rng.integers(WEIGHT_MIN, WEIGHT_MAX, shape, dtype=np.int8, endpoint=True)


def _dense(step: Step, weight: torch.Tensor) -> torch.Tensor:
    if step.placement is None:
        return weight
    places = tuple(
        torch.from_numpy(axis).to(weight.device)
        for axis in (step.placement.rows, step.placement.columns)
    )
    empty = torch.zeros(step.lanes_out, step.lanes_in, device=weight.device)
    return empty.index_put(places, weight.unsqueeze(-1).expand(step.placement.rows.shape))
