"""The definition of the keystream, in NumPy int64: plain, slow, and right by decree.

Every other backend must give the same bytes.  Nothing here is a float, and nothing depends on
the machine's byte order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.keystream.layers import COUNTER_LANES, FOLD_SHIFT
from shared.keystream.material import block_counters, check_span, frame_material, key_biases
from shared.keystream.network import KeystreamNetwork

__all__ = ["ReferenceBackend", "fold", "run_layers"]

_CHUNK_BLOCKS = 512  # keeps the int64 activations in the cache


def fold(accumulator: NDArray[Any]) -> NDArray[Any]:
    """Return (a xor (a >> 7)) and 255, two's complement, in the same signed dtype.

    Taking a mod 256 alone would leave the whole network affine over Z/256.
    """
    folded: NDArray[Any] = (accumulator ^ (accumulator >> FOLD_SHIFT)) & 255
    return folded


def run_layers(
    network: KeystreamNetwork,
    biases: tuple[NDArray[np.int64], ...],
    block_inputs: NDArray[np.uint8],
) -> NDArray[np.uint8]:
    """Return the blocks, uint8 (blocks, lanes), of inputs uint8 (blocks, lanes)."""
    activations = [block_inputs.astype(np.int64)]
    for layer, key_bias in zip(network.layers, biases, strict=True):
        weight = layer.weight.astype(np.int64)
        output = fold(activations[-1] @ weight.T + layer.bias.astype(np.int64) + key_bias)
        if layer.add_from is not None:
            output = (output + activations[layer.add_from]) & 255
        activations.append(output)
    return activations[-1].astype(np.uint8)


@dataclass(frozen=True, slots=True)
class ReferenceBackend:
    """The reference as a `Backend`; 3.7 to 5 MB/s."""

    network: KeystreamNetwork
    name: str = "reference"

    def keyed(self, keystream_key: bytes) -> _ReferenceGenerator:
        return _ReferenceGenerator(
            self.network, keystream_key, key_biases(self.network, keystream_key)
        )


@dataclass(frozen=True, slots=True)
class _ReferenceGenerator:
    network: KeystreamNetwork
    key: bytes = field(repr=False)
    biases: tuple[NDArray[np.int64], ...] = field(repr=False)

    @property
    def block_nbytes(self) -> int:
        return self.network.lanes

    def generate(self, counter: int, nbytes: int, first_block: int = 0) -> NDArray[np.uint8]:
        lanes = self.network.lanes
        blocks = check_span(counter, nbytes, first_block, lanes)
        material = frame_material(self.network, self.key, counter)
        output = np.empty((blocks, lanes), dtype=np.uint8)
        for start in range(0, blocks, _CHUNK_BLOCKS):
            count = min(_CHUNK_BLOCKS, blocks - start)
            inputs = np.empty((count, lanes), dtype=np.uint8)
            inputs[:, :-COUNTER_LANES] = material
            inputs[:, -COUNTER_LANES:] = block_counters(first_block + start, count)
            output[start : start + count] = run_layers(self.network, self.biases, inputs)
        return output.reshape(-1)[:nbytes]
