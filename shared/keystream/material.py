"""From a frame's key and counter to the bytes that enter the network.

SHAKE-256 (FIPS 202) with a label for each purpose.  Everything multi-byte is big-endian.  The
network's digest goes in as well, so two networks share nothing under one key.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from shared.keystream.layers import COUNTER_LANES
from shared.keystream.network import KeystreamNetwork

__all__ = [
    "KEY_BYTES",
    "MAX_COUNTER",
    "block_counters",
    "check_span",
    "frame_material",
    "key_biases",
]

KEY_BYTES = 32
MAX_COUNTER = 2**64 - 1
_BIAS_LABEL = b"veilscope/keystream/1/bias"
_FRAME_LABEL = b"veilscope/keystream/1/frame"


def key_biases(network: KeystreamNetwork, key: bytes) -> tuple[NDArray[np.int64], ...]:
    """Return each layer's key-dependent biases, 0..65535, int64 (lanes out,)."""
    if len(key) != KEY_BYTES:
        raise ValueError(f"a keystream key has {KEY_BYTES} bytes")
    widths = [layer.lanes_out for layer in network.layers]
    drawn = hashlib.shake_256(_BIAS_LABEL + network.digest + key).digest(2 * sum(widths))
    biases = np.frombuffer(drawn, dtype=">u2").astype(np.int64)
    return tuple(np.split(biases, np.cumsum(widths)[:-1]))


def frame_material(network: KeystreamNetwork, key: bytes, counter: int) -> NDArray[np.uint8]:
    """Return the bytes that a frame's blocks share: uint8 (lanes - 8,)."""
    drawn = hashlib.shake_256(
        _FRAME_LABEL + network.digest + key + counter.to_bytes(8, "big")
    ).digest(network.lanes - COUNTER_LANES)
    return np.frombuffer(drawn, dtype=np.uint8)


def block_counters(first_block: int, blocks: int) -> NDArray[np.uint8]:
    """Return block counters as bytes, most significant first: uint8 (blocks, 8)."""
    counters = np.arange(blocks, dtype=np.uint64) + np.uint64(first_block)
    return counters.astype(">u8").view(np.uint8).reshape(blocks, COUNTER_LANES)


def check_span(counter: int, nbytes: int, first_block: int, lanes: int) -> int:
    """Return how many blocks `nbytes` take; `ValueError` where a counter leaves u64."""
    if not 0 <= counter <= MAX_COUNTER:
        raise ValueError("a frame counter is an unsigned 64-bit number")
    if nbytes < 0:
        raise ValueError("a keystream's length can't be negative")
    blocks = -(-nbytes // lanes)
    if first_block < 0 or first_block + blocks > MAX_COUNTER + 1:
        raise ValueError("a block counter is an unsigned 64-bit number")
    return blocks
