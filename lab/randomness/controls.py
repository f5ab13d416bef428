"""Generators that say what the laboratory can tell: one that must pass, and known-bad ones.

None of them is a keystream of this project, and none may be used for one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from lab.randomness.streams import NetworkStream, SegmentedStream
from shared.keystream.families.family import LANES
from shared.keystream.layers import COUNTER_LANES, WEIGHT_MAX, WEIGHT_MIN, Layer
from shared.keystream.material import block_counters
from shared.keystream.network import KeystreamNetwork
from shared.keystream.torch_cpu import TorchCpuBackend

__all__ = ["CONTROLS", "Control"]

_SEGMENT = 1 << 20  # bytes
_RANDU_VALUES = 1 << 18  # a segment: as many times 31 bits
_SEED = 800_022
_KEY = hashlib.sha256(b"veilscope/keystream/control").digest()


@dataclass(frozen=True, slots=True)
class _Segments:
    make: Callable[[int], NDArray[np.uint8]]
    segment_bytes: int = _SEGMENT

    def segment(self, index: int) -> NDArray[np.uint8]:
        return self.make(index)


def _aes(index: int) -> NDArray[np.uint8]:
    nonce = (index * _SEGMENT // 16).to_bytes(16, "big")
    encryptor = Cipher(algorithms.AES(_KEY), modes.CTR(nonce)).encryptor()
    return np.frombuffer(encryptor.update(bytes(_SEGMENT)), dtype=np.uint8)


def _mersenne_twister(index: int) -> NDArray[np.uint8]:
    """The lowest bit of each 32-bit output, eight to a byte; a seed for each segment."""
    generator = np.random.MT19937(np.random.SeedSequence([_SEED, index]))
    return np.packbits((generator.random_raw(8 * _SEGMENT) & 1).astype(np.uint8))


def _randu(index: int) -> NDArray[np.uint8]:
    """x ← 65,539 x mod 2³¹ from 1 on, all 31 bits of each: RANDU with its constant lowest bit."""
    modulus = 1 << 31
    values = np.array([pow(65_539, index * _RANDU_VALUES, modulus)], dtype=np.uint64)
    while values.size < _RANDU_VALUES:
        step = np.uint64(pow(65_539, values.size, modulus))
        values = np.concatenate((values, values * step % np.uint64(modulus)))
    words = values.astype(">u4").view(np.uint8).reshape(_RANDU_VALUES, 4)
    return np.packbits(np.unpackbits(words, axis=1)[:, 1:])


def _random_layers(lanes: int, depth: int) -> list[NDArray[np.int8]]:
    rng = np.random.default_rng(_SEED)
    shape = (depth, lanes, lanes)
    return list(rng.integers(WEIGHT_MIN, WEIGHT_MAX, shape, dtype=np.int8, endpoint=True))


def _affine() -> SegmentedStream:
    """128 lanes, three layers of random weights, mod 256 and no fold: affine over Z/256."""
    rng = np.random.default_rng(_SEED + 1)
    material = rng.integers(256, size=LANES - COUNTER_LANES, dtype=np.uint8)
    # uint8 arithmetic is arithmetic mod 256, so that the layers are one matrix.
    product = np.eye(LANES, dtype=np.uint8)
    for weight in _random_layers(LANES, 3):
        product = weight.view(np.uint8) @ product
    product = product + np.eye(LANES, dtype=np.uint8)  # the feed-forward
    constant = product[:, :-COUNTER_LANES] @ material

    def make(index: int) -> NDArray[np.uint8]:
        blocks = _SEGMENT // LANES
        counters = block_counters(index * blocks, blocks)
        return (counters @ product[:, -COUNTER_LANES:].T + constant).reshape(-1)

    return _Segments(make)


def _one_layer(lanes: int) -> SegmentedStream:
    """The keystream's own fold and feed-forward, but a single layer of random weights."""
    (weight,) = _random_layers(lanes, 1)
    layer = Layer(weight, np.zeros(lanes, dtype=np.int32), 0)
    return NetworkStream(TorchCpuBackend(KeystreamNetwork(f"control-{lanes}x1", (layer,))), _KEY)


@dataclass(frozen=True, slots=True)
class Control:
    """A generator of known quality: `good` must pass, the others are known to be bad."""

    title: str
    good: bool
    open: Callable[[], SegmentedStream]


CONTROLS: dict[str, Control] = {
    "aes": Control("AES-256-CTR", True, lambda: _Segments(_aes)),
    "mt19937": Control("MT19937, lowest bits packed", False, lambda: _Segments(_mersenne_twister)),
    "randu": Control(
        "RANDU, all 31 bits", False, lambda: _Segments(_randu, _RANDU_VALUES * 31 // 8)
    ),
    "affine": Control("affine network, 128 lanes, 3 layers, no fold", False, _affine),
    "fold64": Control("fold network, 64 lanes, 1 layer", False, lambda: _one_layer(64)),
    "fold1": Control("fold network, 128 lanes, 1 layer", False, lambda: _one_layer(128)),
}
