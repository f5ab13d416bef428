from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from shared.keystream.layers import Layer
from shared.keystream.network import KeystreamNetwork

MakeNetwork = Callable[..., KeystreamNetwork]


@pytest.fixture(scope="session")
def make_network() -> MakeNetwork:
    """Random networks: a seed, the widths of their activations, and sums of activations."""

    def make(
        seed: int, widths: tuple[int, ...] = (128, 128, 128), adds: dict[int, int] | None = None
    ) -> KeystreamNetwork:
        rng = np.random.default_rng(seed)
        sums = {len(widths) - 1: 0, **(adds or {})}
        layers = []
        for number in range(1, len(widths)):
            weight = rng.integers(-64, 64, (widths[number], widths[number - 1]), dtype=np.int8)
            bias = rng.integers(-32768, 32768, widths[number], dtype=np.int32)
            layers.append(Layer(weight, bias, sums.get(number)))
        return KeystreamNetwork("random", tuple(layers))

    return make
