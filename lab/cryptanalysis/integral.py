"""Integral distinguishers: sums over all values of a part of the block counter.

The realistic chosen-input attack on a counter mode, for a frame hands out all blocks from 0 on.
Over a cube of counters (all values of some of its bits, the others fixed) each output lane is
summed, mod 256 and by xor.  A lane that sums to zero always, or a bit that does more often than
not, tells the network from random bytes; so does a lane that takes every value equally often.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lab.cryptanalysis.evidence import Evidence, chi_square, normal, strongest, zero_bytes
from lab.cryptanalysis.target import Target, TargetFrame
from shared.keystream.layers import COUNTER_LANES

__all__ = ["CUBES", "Cube", "cube_sums"]


@dataclass(frozen=True, slots=True)
class Cube:
    """The counter bits that take all values, and over how many frames the cube is summed."""

    name: str
    bits: tuple[int, ...]
    frames: int

    def counters(self, fixed: int) -> NDArray[np.uint8]:
        """Return the cube's counters as bytes, (2**bits, 8), with the other bits from `fixed`."""
        values = np.arange(1 << len(self.bits), dtype=np.uint64)
        inside = sum(1 << bit for bit in self.bits)
        counters = np.full(len(values), fixed & ~inside, dtype=np.uint64)
        for place, bit in enumerate(self.bits):
            counters |= (values >> np.uint64(place) & np.uint64(1)) << np.uint64(bit)
        return counters.astype(">u8").view(np.uint8).reshape(-1, COUNTER_LANES)


CUBES = (
    Cube("byte 0", tuple(range(8)), 64),
    Cube("byte 1", tuple(range(8, 16)), 64),
    Cube("high half of byte 0", (4, 5, 6, 7), 512),
    Cube("high halves of bytes 0 and 1", (4, 5, 6, 7, 12, 13, 14, 15), 64),
    Cube("high halves of bytes 0, 1 and 2", (4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23), 16),
    Cube("top bits of all bytes", tuple(range(7, 64, 8)), 64),
    Cube("top two bits of all bytes", tuple(sorted((*range(6, 64, 8), *range(7, 64, 8)))), 4),
    Cube("bytes 0 and 1", tuple(range(16)), 4),
)
"""All within a frame's low three bytes but those of all bytes, which need chosen counters."""


def cube_sums(
    target: Target, rng: np.random.Generator, cubes: tuple[Cube, ...] = CUBES
) -> Evidence:
    """Return the strongest of what the cubes' sums show, each over frames of fresh keys."""
    return strongest([one for cube in cubes for one in _examine(target, cube, rng)])


def _examine(target: Target, cube: Cube, rng: np.random.Generator) -> list[Evidence]:
    lanes = target.lanes_out
    sums = np.empty((cube.frames, lanes), dtype=np.uint8)
    xors = np.empty((cube.frames, lanes), dtype=np.uint8)
    spread = 0.0
    for i in range(cube.frames):
        fixed = 0 if i % 2 else int(rng.integers(1 << 24))
        blocks = TargetFrame.draw(target, rng).at(cube.counters(fixed))
        sums[i] = blocks.sum(axis=0, dtype=np.uint64).astype(np.uint8)
        xors[i] = np.bitwise_xor.reduce(blocks, axis=0)
        expected = len(blocks) / 256
        flat = blocks.astype(np.int32) + 256 * np.arange(lanes, dtype=np.int32)
        counts = np.bincount(flat.ravel(), minlength=256 * lanes)
        spread += float(np.square(counts - expected).sum() / expected)
    values = np.bincount(sums.ravel(), minlength=256)
    zeros = (xors == 0).sum(axis=0)
    bits = 1 - 2 * np.unpackbits(xors, axis=1).mean(axis=0)
    expected = sums.size / 256
    size = f"{1 << len(cube.bits):,} blocks, {cube.frames} frames"
    where = f"integral over {cube.name}"
    # A lane's values come from draws with replacement: a chi-square of 255 degrees each.
    degrees = 255 * lanes * cube.frames
    return [
        Evidence(
            f"{where}: sums mod 256",
            chi_square(float(np.square(values - expected).sum() / expected), 255),
            f"zero in {(sums == 0).mean():.4f} of lanes (1/256 by chance), {size}",
        ),
        Evidence(
            f"{where}: xors of bits",
            chi_square(float(np.square(bits).sum()) * cube.frames, bits.size),
            f"largest balance {np.abs(bits).max():.3f}, {size}",
        ),
        Evidence(
            f"{where}: lanes that cancel",
            zero_bytes(int(zeros.max()), cube.frames, lanes),
            f"xor of a lane zero in {zeros.max()} of {cube.frames} frames, {size}",
        ),
        Evidence(
            f"{where}: how often a lane takes a value",
            normal((spread - degrees) / math.sqrt(2 * degrees)),
            f"chi-square {spread / degrees:.4f} of chance, {size}",
        ),
    ]
