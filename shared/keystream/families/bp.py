"""Family `bp`: dense layers, trained by backpropagation.

Tensors: `layer1.weight` int8 (out, in), `layer1.bias` int32 (out,), and so on up to `layerN`, N
from 2 to 8.  Every layer reads the one before, and the last adds the block's input.  The first
reads 128 lanes and the last gives 128; between layers there are 64 to 256, a multiple of 8.  A
shape lists these.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from shared.errors import BadInput
from shared.keystream.families.family import LANES, Family, Shape, Step

__all__ = ["FAMILY"]

_MIN_DEPTH = 2  # below, a block is one fold of a linear map
_MAX_DEPTH = 8  # above, the tensor cores and not the memory would set the speed on any GPU
_MIN_INNER, _MAX_INNER = 64, 256


def _steps(inner: Shape) -> tuple[Step, ...]:
    depth = len(inner) + 1
    if not _MIN_DEPTH <= depth <= _MAX_DEPTH:
        raise BadInput(f"a bp network has {_MIN_DEPTH} to {_MAX_DEPTH} layers")
    if not all(_MIN_INNER <= lanes <= _MAX_INNER for lanes in inner):
        raise BadInput(f"between its layers a bp network has {_MIN_INNER} to {_MAX_INNER} lanes")
    return tuple(
        Step(f"layer{i}", lanes_in, lanes_out, add_from=0 if i == depth else None)
        for i, (lanes_in, lanes_out) in enumerate(pairwise((LANES, *inner, LANES)), start=1)
    )


def _shape_of(lengths: Mapping[str, int]) -> Shape:
    return tuple(lengths[f"layer{i}"] for i in range(1, len(lengths)))


FAMILY = Family(
    name="bp",
    shape_of=_shape_of,
    steps=_steps,
    shapes={
        "128-64-128": (64,),
        "128-128-128": (128,),
        "128-64-64-128": (64, 64),
        "128-64-128-128": (64, 128),
        "128-128-128-128": (128, 128),
    },
    shipped="128-64-128-128",
    design=(
        "Three dense layers, 128 lanes to 64 to 128 to 128. The first costs next to nothing, as "
        "little of its input changes from block to block, so that its output is what has to be "
        "narrow. Two layers already show no avalanche of material or counter, and stand the same "
        "attacks within a frame; a flipped key bias still shows. Three are one of margin."
    ),
)
