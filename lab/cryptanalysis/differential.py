"""Differential propagation: pairs and quartets of blocks whose inputs differ in a chosen way.

First-order differences in the block counter, the frame's material and a key bias of the first
layer; over fresh uniform keys, since an attacker has no choice of key.  Looked at: P[flip] of
every output bit, and the difference mod 256 of every lane (its largest probability, zero among
them, which is a truncated differential).  Second order, within one frame: quartets
c, c xor a, c xor b, c xor a xor b (a boomerang's shape).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lab.cryptanalysis.evidence import Evidence, chi_square, normal, strongest
from lab.cryptanalysis.target import SUM_BITS, Key, Target, TargetFrame
from shared.keystream.layers import COUNTER_LANES

__all__ = ["KINDS", "Difference", "draw_differences", "first_order", "second_order"]

KINDS = ("counter", "material", "key bias")
_LOW_COUNTER_BITS = 24  # of a frame of up to 2 GiB; higher ones never vary within a frame


@dataclass(frozen=True, slots=True)
class Difference:
    """`amount` is xored onto, or added mod 256 to, byte `lane` of the input.

    For a key bias: onto bias `lane` of the first layer.
    """

    kind: str
    lane: int
    amount: int
    additive: bool = False

    def __str__(self) -> str:
        return f"{self.kind} lane {self.lane} {'+' if self.additive else 'xor '}{self.amount:#x}"

    def apply(self, key: Key, inputs: NDArray[np.uint8]) -> tuple[Key, NDArray[np.uint8]]:
        if self.kind == "key bias":
            first = key[0].copy()
            first[..., self.lane] ^= self.amount
            return (first, *key[1:]), inputs
        changed = inputs.copy()
        column = changed[:, self.lane]
        changed[:, self.lane] = (
            column + np.uint8(self.amount) if self.additive else column ^ np.uint8(self.amount)
        )
        return key, changed


def draw_differences(
    kind: str, target: Target, rng: np.random.Generator, count: int
) -> list[Difference]:
    """Return all 24 low bits and some bytes of the counter, or `count` places of another kind."""
    lanes = target.lanes
    if kind == "counter":
        bits = [Difference(kind, lanes - 1 - i // 8, 1 << i % 8) for i in range(_LOW_COUNTER_BITS)]
        added = [
            Difference(kind, lanes - 1 - lane, amount, additive=True)
            for lane in (0, 1, 7)
            for amount in (1, 2, 64, 128, 255)
        ]
        return bits + added
    if kind == "material":
        chosen = rng.integers(lanes - COUNTER_LANES, size=count)
        return [
            Difference(
                kind, int(lane), 1 << i % 8 if i % 3 else 1 + int(rng.integers(255)), i % 3 == 1
            )
            for i, lane in enumerate(chosen)
        ]
    chosen = rng.integers(target.layers[0].lanes_out, size=count)
    return [Difference(kind, int(lane), 1 << i % SUM_BITS) for i, lane in enumerate(chosen)]


def first_order(
    target: Target, kind: str, rng: np.random.Generator, *, samples: int = 4096, count: int = 32
) -> Evidence:
    """Return the strongest of what the differences of `kind` show over `samples` pairs each."""
    found: list[Evidence] = []
    for difference in draw_differences(kind, target, rng, count):
        key = target.draw_key(rng, samples)
        inputs = rng.integers(256, size=(samples, target.lanes), dtype=np.uint8)
        base = target.run(key, inputs)
        changed = target.run(*difference.apply(key, inputs))
        found += _pairs(base, changed, str(difference))
    return strongest(found)


def _pairs(base: NDArray[np.uint8], changed: NDArray[np.uint8], name: str) -> list[Evidence]:
    samples, lanes = base.shape
    flips = np.unpackbits(base ^ changed, axis=1).mean(axis=0)
    deviates = (2 * flips - 1) * math.sqrt(samples)
    counts = _histogram(changed - base)
    expected = samples / 256
    lane, best = divmod(int(counts.argmax()), 256)
    return [
        Evidence(
            f"P[flip], {name}",
            chi_square(float(np.square(deviates).sum()), deviates.size),
            f"rms of 2 P[flip] - 1: {math.sqrt(float(np.square(2 * flips - 1).mean())):.4f} "
            f"(chance {1 / math.sqrt(samples):.4f})",
        ),
        Evidence(
            f"lanes' differences, {name}",
            chi_square(float(np.square(counts - expected).sum() / expected), 255 * lanes),
            f"best: +{best} in lane {lane} with {counts.max() / samples:.4f} (1/256 by chance)",
        ),
        Evidence(
            f"lanes unchanged, {name}",
            normal((counts[:, 0].mean() - expected) / math.sqrt(expected / lanes)),
            f"a lane stays with {counts[:, 0].mean() / samples:.5f} (1/256 by chance)",
        ),
    ]


def _histogram(values: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count each byte value in each column: (columns, 256)."""
    columns = values.shape[1]
    flat = values.astype(np.int32) + 256 * np.arange(columns, dtype=np.int32)
    return np.bincount(flat.ravel(), minlength=256 * columns).reshape(columns, 256)


def second_order(
    target: Target, rng: np.random.Generator, *, counter_bits: int = 13, count: int = 24
) -> Evidence:
    """Return the strongest of what quartets within a few frames show.

    Differences a and b are single counter bits, two bits, or bytes, of the low `counter_bits`
    and the 16 bits above, 2**counter_bits quartets each.
    """
    size = 1 << counter_bits
    found: list[Evidence] = []
    for i in range(count):
        frame = TargetFrame.draw(target, rng)
        a, b = (1 << int(bit) for bit in rng.choice(24, size=2, replace=False))
        if i % 4 == 3:
            a, b = 0xFF << 8 * int(rng.integers(3)), b | 1 << int(rng.integers(24))
        if a == b:
            continue
        counters = np.arange(size, dtype=np.uint64)
        blocks = [frame.at(_bytes_of(counters ^ np.uint64(change))) for change in (0, a, b, a ^ b)]
        plain = blocks[0] ^ blocks[1] ^ blocks[2] ^ blocks[3]
        added = blocks[0] - blocks[1] - blocks[2] + blocks[3]
        for name, values in (("xor", plain), ("sum", added)):
            counts = _distinct(values, counters, a, b)
            expected = counts[0].sum() / 256
            zeros = float(counts[:, 0].mean())
            found.append(
                Evidence(
                    f"quartets' {name}, counter {a:#x} and {b:#x}",
                    chi_square(
                        float(np.square(counts - expected).sum() / expected), 255 * len(counts)
                    ),
                    f"zero with {zeros / counts[0].sum():.5f} (1/256 by chance)",
                )
            )
    return strongest(found)


def _distinct(
    values: NDArray[np.uint8], counters: NDArray[np.uint64], a: int, b: int
) -> NDArray[np.int64]:
    """Count values of quartets, each once: a quartet has up to four counters that start it."""
    size = len(counters)
    for bit in (a, b):
        if bit < size:
            top = np.uint64(1 << (bit.bit_length() - 1))
            values, counters = values[counters & top == 0], counters[counters & top == 0]
    return _histogram(values)


def _bytes_of(counters: NDArray[np.uint64]) -> NDArray[np.uint8]:
    return counters.astype(">u8").view(np.uint8).reshape(-1, COUNTER_LANES)
