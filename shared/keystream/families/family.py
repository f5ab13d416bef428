"""What a family of keystream networks has to say of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.keystream.layers import Layer

__all__ = ["LANES", "Family", "Tensors"]

Tensors = Mapping[str, NDArray[np.signedinteger]]
"""A network file's named integer tensors: weights int8, biases int32."""

# Bytes a block.  What is uneven in sums of 128 terms shows after 10**17 blocks of one frame, in
# sums of 64 after 3 * 10**10 (docs/KEYSTREAM.md).
LANES = 128


@dataclass(frozen=True, slots=True)
class Family:
    """A topology.  `lower` gives the layers of a file's tensors or raises `BadInput`."""

    name: str
    summary: str
    lower: Callable[[Tensors], tuple[Layer, ...]]
