"""The biases of layers whose activations are held as signed bytes, x - 128.

Products of signed bytes are what `torch._int_mm` and a GPU's tensor cores offer.  This file holds
the arithmetic that makes them come out right; it knows no backend and no torch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shared.keystream.layers import TOP_BIT, Layer

__all__ = ["held_biases"]


def held_biases(
    layers: Sequence[Layer], key_biases: Sequence[NDArray[np.int64]]
) -> list[NDArray[np.int64]]:
    """Return the biases for activations held as signed bytes x - 128, int64 (lanes out,) each.

    128 times the sum of a row's weights undoes the offset of what it reads; TOP_BIT more makes
    the fold come out as y - 128.  An activation that is added brings its own -128 along, and the
    last output, which is keystream, must carry none.
    """
    biases = []
    for layer, key_bias in zip(layers, key_biases, strict=True):
        bias: NDArray[np.int64] = layer.bias + key_bias
        bias = bias + 128 * layer.weight.sum(axis=1, dtype=np.int64)
        if (layer is layers[-1]) == (layer.add_from is not None):
            bias = bias + TOP_BIT
        biases.append(bias)
    return biases
