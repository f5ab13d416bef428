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

LANES = 128  # bytes a block; at 64 lanes random weights look suspicious to PractRand within 1 GiB


@dataclass(frozen=True, slots=True)
class Family:
    """A topology.  `lower` gives the layers of a file's tensors or raises `BadInput`."""

    name: str
    summary: str
    lower: Callable[[Tensors], tuple[Layer, ...]]
