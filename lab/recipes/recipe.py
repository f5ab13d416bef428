"""What a family's training recipe consists of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lab.surrogate import SurrogateLayer
from shared.keystream.layers import WEIGHT_MAX, WEIGHT_MIN

__all__ = ["DenseLayer", "Objective", "Recipe", "dense_recipe", "draw_weights"]


@dataclass(frozen=True, slots=True)
class Objective:
    """Weights of the parts of the loss, and how the optimiser goes about it."""

    balance: float = 1.0
    predictor: float = 1.0
    distinguisher: float = 1.0
    discriminator: float = 0.0  # that of a generative adversarial network; 0 is without one
    # Gradients through a sampled frame's square waves are noisy, and now and then a thousand
    # times the avalanche's: a tensor's are cut to this share of the avalanche's norm.
    adversarial_share: float = 0.3
    learning_rate: float = 1.0  # in units of a weight; neighbours of one parity lie 2 apart
    differences: int = 6  # of a lane's byte, per layer and step
    frame_blocks: int = 256  # consecutive blocks of one frame per step
    windows: tuple[int, ...] = (1, 2)  # numbers of layers in a row that adversaries see


@dataclass(frozen=True, slots=True)
class Recipe:
    """`initial` draws a family's tensors; that is the untrained control as well.

    `lower` gives the layers of float tensors of the same names, so that gradients reach them;
    `trained` names the tensors that training may change; `design` says, for the model card, what
    the topology is and why it is as deep as it is.
    """

    family: str
    initial: Callable[[np.random.Generator], dict[str, NDArray[np.signedinteger]]]
    lower: Callable[[Mapping[str, torch.Tensor]], tuple[SurrogateLayer, ...]]
    trained: Callable[[str], bool]
    objective: Objective
    design: str


def draw_weights(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.int8]:
    """Return uniform weights over all that a weight may be."""
    return rng.integers(WEIGHT_MIN, WEIGHT_MAX, shape, dtype=np.int8, endpoint=True)


@dataclass(frozen=True, slots=True)
class DenseLayer:
    """A layer of a dense topology: the name of its tensors, its widths, what it adds."""

    name: str
    lanes_in: int
    lanes_out: int
    add_from: int | None = None


def dense_recipe(
    family: str, layers: Sequence[DenseLayer], objective: Objective, design: str
) -> Recipe:
    """Return the recipe of a family whose layers are whole matrices, with biases of zero."""

    def initial(rng: np.random.Generator) -> dict[str, NDArray[np.signedinteger]]:
        tensors: dict[str, NDArray[np.signedinteger]] = {}
        for layer in layers:
            shape = (layer.lanes_out, layer.lanes_in)
            tensors[f"{layer.name}.weight"] = draw_weights(rng, shape)
            tensors[f"{layer.name}.bias"] = np.zeros(layer.lanes_out, dtype=np.int32)
        return tensors

    def lower(tensors: Mapping[str, torch.Tensor]) -> tuple[SurrogateLayer, ...]:
        return tuple(
            SurrogateLayer(
                tensors[f"{layer.name}.weight"], tensors[f"{layer.name}.bias"], layer.add_from
            )
            for layer in layers
        )

    return Recipe(
        family=family,
        initial=initial,
        lower=lower,
        trained=lambda name: name.endswith(".weight"),
        objective=objective,
        design=design,
    )
