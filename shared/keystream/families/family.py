"""What a family of keystream networks declares, and how its tensors become layers.

A family says once, as data, which steps a network of a given shape consists of.  From that follow
the layers of a file's tensors and what is refused (here), the random draw and the layers that are
trained (`lab.recipe`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from numpy.typing import NDArray

from shared.errors import BadInput
from shared.keystream.families.training import TrainingObjective
from shared.keystream.layers import Layer

__all__ = ["LANES", "Family", "Placement", "Shape", "Step", "Tensors"]

Tensors = Mapping[str, NDArray[np.signedinteger]]
"""A network file's named integer tensors: weights int8, biases int32."""

Shape = tuple[int, ...]
"""The numbers that tell one network of a family from another, such as widths in lanes."""

# Bytes a block.  What is uneven in sums of 128 terms shows after 10**17 blocks of one frame, in
# sums of 64 after 3 * 10**10 (docs/KEYSTREAM.md).
LANES = 128


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """Where in a step's dense matrix, elsewhere zero, each weight of a kernel stands.

    `rows` and `columns` are (kernel's axes..., places a weight); no place is named twice.
    """

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One layer, of the tensors `name`.weight and `name`.bias; `add_from` is that of a `Layer`.

    The weights are the dense matrix (out, in), or a kernel that `placement` spreads over it.  There
    is a bias for each entry of the weights' first axis; it is that of as many lanes in a row.
    """

    name: str
    lanes_in: int = LANES
    lanes_out: int = LANES
    add_from: int | None = None
    placement: Placement | None = None

    @property
    def weight_name(self) -> str:
        return f"{self.name}.weight"

    @property
    def bias_name(self) -> str:
        return f"{self.name}.bias"

    @property
    def weight_shape(self) -> tuple[int, ...]:
        if self.placement is None:
            return (self.lanes_out, self.lanes_in)
        return self.placement.rows.shape[:-1]

    @property
    def bias_shape(self) -> tuple[int, ...]:
        return self.weight_shape[:1]

    @property
    def lanes_a_bias(self) -> int:
        return self.lanes_out // self.weight_shape[0]

    @property
    def places(self) -> int:
        """Places of the dense matrix that have a weight: multiply-accumulates a block."""
        if self.placement is None:
            return self.lanes_out * self.lanes_in
        return self.placement.rows.size


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """A topology.

    `steps` lists the layers of a shape, or raises `BadInput` where the family has no such shape.
    `shape_of` reads a shape off a file, given the length of each step's weights by the step's
    name; `KeyError` for a name that is missing.  It need check nothing: the steps are compared
    with the whole file.

    The rest is the laboratory's: the `shapes` that it compares, by title and from the cheapest up,
    and which of them is `shipped`; its `design`, for the model card: what that is and why it is as
    deep as it is; the `objective` to train on; and which weights to `redraw` in the beginning.
    """

    name: str
    shape_of: Callable[[Mapping[str, int]], Shape]
    steps: Callable[[Shape], tuple[Step, ...]]
    shapes: Mapping[str, Shape]
    shipped: str
    design: str
    objective: TrainingObjective = field(default_factory=TrainingObjective)
    redraw: Callable[[NDArray[np.int8]], bool] = lambda _weight: False

    def lower(self, tensors: Tensors) -> tuple[Layer, ...]:
        """Return the layers of a file's tensors, or raise `BadInput`.

        Dtypes and ranges are left to where the layers are put together.
        """
        return tuple(
            Layer(
                cast("NDArray[np.int8]", _dense(step, tensors[step.weight_name])),
                cast("NDArray[np.int32]", np.repeat(tensors[step.bias_name], step.lanes_a_bias)),
                step.add_from,
            )
            for step in self._steps_of(tensors)
        )

    def _steps_of(self, tensors: Tensors) -> tuple[Step, ...]:
        lengths = {
            name.removesuffix(".weight"): len(np.atleast_1d(tensor))
            for name, tensor in tensors.items()
            if name.endswith(".weight")
        }
        try:
            steps = self.steps(self.shape_of(lengths))
        except KeyError as error:
            raise BadInput(f"a {self.name} network has a layer {error.args[0]}") from None
        if {name for step in steps for name in (step.weight_name, step.bias_name)} != set(tensors):
            names = ", ".join(step.name for step in steps)
            raise BadInput(f"a {self.name} network has the layers {names}, weight and bias each")
        for step in steps:
            shapes = tensors[step.weight_name].shape, tensors[step.bias_name].shape
            if shapes != (step.weight_shape, step.bias_shape):
                raise BadInput(
                    f"{step.name} of a {self.name} network has weights {step.weight_shape} and "
                    f"biases {step.bias_shape}, not {shapes[0]} and {shapes[1]}"
                )
        return steps


def _dense(step: Step, weight: NDArray[np.signedinteger]) -> NDArray[np.signedinteger]:
    if step.placement is None:
        return weight
    dense = np.zeros((step.lanes_out, step.lanes_in), dtype=weight.dtype)
    dense[step.placement.rows, step.placement.columns] = weight[..., np.newaxis]
    return dense
