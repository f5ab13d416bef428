"""What is attacked: a keystream network cut off after its first layers, or a control like it.

A cut-off network is computed as the whole one is, with fewer layers; its last layer adds the
block's input where it is as wide.  Two controls say what the attacks can see: the same network
without the fold, which is affine and must fall, and one of the same shape with random weights.
Keys are drawn as a uniform key gives them: 16 uniform bits a lane and layer (`draw_key`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lab.reduced import cut_off
from shared.errors import BadInput
from shared.keystream.layers import COUNTER_LANES, FOLD_SHIFT, WEIGHT_MAX, WEIGHT_MIN, Layer
from shared.keystream.material import block_counters
from shared.keystream.network import KeystreamNetwork
from shared.keystream.reference import fold

__all__ = ["SUM_BITS", "TargetFrame", "Key", "Target", "draw_layers", "random_like"]

Key = tuple[NDArray[np.int64], ...]
"""Key biases of each layer, 0..65535: (lanes out,), or (samples, lanes out) for one key a row."""

SUM_BITS = 8 + FOLD_SHIFT
"""Of a sum, so many low bits reach the fold."""

_CHUNK_ROWS = 4096
_KEY_VALUES = 1 << 16
_SPARSE = 1 / 8  # of uniform weights, 1 in 128 is zero


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """Layers to attack; `folded` False leaves the fold out (mod 256 alone)."""

    title: str
    layers: tuple[Layer, ...] = field(repr=False)
    folded: bool = True

    @classmethod
    def of(cls, title: str, network: KeystreamNetwork) -> Target:
        return cls(title, network.layers)

    @property
    def depth(self) -> int:
        return len(self.layers)

    @property
    def lanes(self) -> int:
        """Bytes of a block's input."""
        return self.layers[0].lanes_in

    @property
    def lanes_out(self) -> int:
        """Bytes of a block as cut off: not always as many as go in."""
        return self.layers[-1].lanes_out

    @property
    def adds_input(self) -> bool:
        return self.layers[-1].add_from == 0

    def cut(self, depth: int) -> Target:
        """Return the first `depth` layers; the last adds the block's input where it fits."""
        if not 1 <= depth <= self.depth:
            raise BadInput(f"{self.title} has {self.depth} layers, not {depth}")
        return replace(self, layers=cut_off(self.layers, depth))

    def affine(self) -> Target:
        """Return the control that must fall: the same weights without the fold."""
        return replace(self, title=f"{self.title}, no fold", folded=False)

    def draw_key(self, rng: np.random.Generator, samples: int | None = None) -> Key:
        """Return uniform key biases; with `samples`, a key for each row of inputs."""
        rows = () if samples is None else (samples,)
        return tuple(
            rng.integers(_KEY_VALUES, size=(*rows, layer.lanes_out)) for layer in self.layers
        )

    def draw_material(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        return rng.integers(256, size=self.lanes - COUNTER_LANES, dtype=np.uint8)

    def run(self, key: Key, inputs: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return blocks uint8 (samples, lanes out) of inputs uint8 (samples, lanes)."""
        blocks = np.empty((len(inputs), self.lanes_out), dtype=np.uint8)
        for start in range(0, len(inputs), _CHUNK_ROWS):
            rows = slice(start, start + _CHUNK_ROWS)
            part = tuple(bias if bias.ndim == 1 else bias[rows] for bias in key)
            blocks[rows] = self._run(part, inputs[rows])
        return blocks

    def _run(self, key: Key, inputs: NDArray[np.uint8]) -> NDArray[np.uint8]:
        activations = [inputs.astype(np.int32)]
        for layer, bias in zip(self.layers, key, strict=True):
            # Exact in fp32: `MAX_LANES` keeps every sum below 2**24.
            product = activations[-1].astype(np.float32) @ layer.weight.T.astype(np.float32)
            total = product.astype(np.int32) + (layer.bias + bias).astype(np.int32)
            output = fold(total) if self.folded else total & 255
            if layer.add_from is not None:
                output = (output + activations[layer.add_from]) & 255
            activations.append(output)
        return activations[-1].astype(np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class TargetFrame:
    """One frame's blocks on call: a key and the material that its blocks share."""

    target: Target
    key: Key = field(repr=False)
    material: NDArray[np.uint8] = field(repr=False)

    @classmethod
    def draw(cls, target: Target, rng: np.random.Generator) -> TargetFrame:
        return cls(target, target.draw_key(rng), target.draw_material(rng))

    def blocks(self, first: int, count: int) -> NDArray[np.uint8]:
        """Return blocks `first` and the `count` - 1 after it: uint8 (count, lanes out)."""
        return self.at(block_counters(first, count))

    def at(self, counters: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the blocks of counters given as bytes, most significant first: (count, 8)."""
        inputs = np.empty((len(counters), self.target.lanes), dtype=np.uint8)
        inputs[:, :-COUNTER_LANES] = self.material
        inputs[:, -COUNTER_LANES:] = counters
        return self.target.run(self.key, inputs)


def draw_layers(widths: Sequence[int], rng: np.random.Generator) -> tuple[Layer, ...]:
    """Return dense layers of uniform weights between lanes `widths`; the last adds the input."""
    layers = []
    for number, (lanes_in, lanes_out) in enumerate(pairwise(widths), start=1):
        shape = (lanes_out, lanes_in)
        weight = rng.integers(WEIGHT_MIN, WEIGHT_MAX, shape, dtype=np.int8, endpoint=True)
        last = number == len(widths) - 1 and lanes_out == widths[0]
        layers.append(Layer(weight, np.zeros(lanes_out, dtype=np.int32), 0 if last else None))
    return tuple(layers)


def random_like(target: Target, rng: np.random.Generator) -> Target:
    """Return the untrained control: uniform weights wherever `target` has weights.

    The zeros of a sparse matrix, such as a convolution's, stay; its repeated entries don't.
    """
    layers = []
    for layer in target.layers:
        shape = layer.weight.shape
        weight = rng.integers(WEIGHT_MIN, WEIGHT_MAX, shape, dtype=np.int8, endpoint=True)
        unread = layer.weight == 0
        if unread.mean() > _SPARSE:
            weight[unread] = 0
        layers.append(replace(layer, weight=weight))
    return replace(target, title="random weights", layers=tuple(layers))
