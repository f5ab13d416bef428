"""Family `resnet`: residual blocks, each adding what it reads mod 256.

Layers: `stem`, `block1.in`, `block1.out` and so on up to `blockN` (N from 1 to 3), and `head`,
each with the tensors `.weight` int8 (out, in) and `.bias` int32 (out,).  Stem and head are
128 x 128.  A residual block goes to 64 to 256 lanes, which a shape lists, and back to 128, where
the activation that it read is added.  The head adds the block's input, as the last layer of every
network does.
"""

from __future__ import annotations

from collections.abc import Mapping

from shared.errors import BadInput
from shared.keystream.families.family import Family, Shape, Step

__all__ = ["FAMILY"]

_MIN_BLOCKS, _MAX_BLOCKS = 1, 3  # 4 to 8 layers, as many as other families have at most
_MIN_INNER, _MAX_INNER = 64, 256


def _steps(inner: Shape) -> tuple[Step, ...]:
    if not _MIN_BLOCKS <= len(inner) <= _MAX_BLOCKS:
        raise BadInput(
            f"a resnet network has a stem, {_MIN_BLOCKS} to {_MAX_BLOCKS} blocks of two layers and "
            "a head"
        )
    if not all(_MIN_INNER <= lanes <= _MAX_INNER for lanes in inner):
        raise BadInput(f"a resnet network's blocks have {_MIN_INNER} to {_MAX_INNER} lanes inside")
    steps = [Step("stem")]
    for block, lanes in enumerate(inner, start=1):
        read = len(steps)  # the number of the activation that the block reads
        steps += [
            Step(f"block{block}.in", lanes_out=lanes),
            Step(f"block{block}.out", lanes_in=lanes, add_from=read),
        ]
    return (*steps, Step("head", add_from=0))


def _shape_of(lengths: Mapping[str, int]) -> Shape:
    return tuple(lengths[f"block{block}.in"] for block in range(1, len(lengths) // 2))


FAMILY = Family(
    name="resnet",
    shape_of=_shape_of,
    steps=_steps,
    shapes={"1 block of 64": (64,), "1 block of 128": (128,)},
    shipped="1 block of 64",  # its two layers together then cost what one of full width does
    design=(
        "A dense stem, one residual block (128 lanes to 64 and back, and the activation that "
        "it read added mod 256), and a dense head that adds the block's input. What passes the "
        "narrow place passes beside it as well, by the addition. Four layers of the arithmetic of "
        "three dense ones."
    ),
)
