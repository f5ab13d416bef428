"""Linear propagation: how well output bits are told by linear masks of the block counter.

Within a frame only the counter's low bytes vary, and all linear masks of them can be tried at
once: the Walsh-Hadamard transform of an output bit over 2**n consecutive blocks holds its
correlation with every mask of the low n counter bits (mask 0 is plain bias).  Beside single
output bits, xors of two of them are tried.  Then two kinds of linearity a network must not have:
over Z/256, and over GF(2) in the lowest bits (the lowest bit of an accumulator is linear in the
lowest bits of what it sums; the fold adds its ninth bit).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lab.cryptanalysis.evidence import Evidence, chi_square, floor, normal, strongest, zero_bytes
from lab.cryptanalysis.target import Target, TargetFrame

__all__ = ["linear_masks", "low_plane", "second_differences", "walsh"]

_COLUMNS = 64  # output bits transformed at once, for the memory


def walsh(signs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the Walsh-Hadamard transform over the first axis, whose length is a power of two."""
    values = signs.copy()
    size, columns = values.shape
    half = 1
    while half < size:
        pairs = values.reshape(size // (2 * half), 2, half, columns)
        low, high = pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]
        pairs[:, 0], pairs[:, 1] = low, high
        half *= 2
    return values


def linear_masks(
    target: Target, rng: np.random.Generator, *, counter_bits: int = 16, pairs: int = 256
) -> Evidence:
    """Try all masks of the low `counter_bits` on every output bit and on `pairs` xors of two.

    One frame of 2**counter_bits blocks.  A correlation is E[(-1)**(mask . counter xor bit)].
    """
    size = 1 << counter_bits
    bits = np.unpackbits(TargetFrame.draw(target, rng).blocks(0, size), axis=1)
    one, two = rng.integers(bits.shape[1], size=(2, pairs))
    two = np.where(one == two, (two + 1) % bits.shape[1], two)
    return strongest(
        [
            *_transform(bits, "output bits"),
            *_transform(bits[:, one] ^ bits[:, two], "xors of two output bits"),
        ]
    )


def _transform(bits: NDArray[np.uint8], what: str) -> list[Evidence]:
    size, columns = bits.shape
    scale = 1 / math.sqrt(size)  # a perfect generator's coefficients: standard normal
    top, energy = 0.0, np.zeros(size)
    for start in range(0, columns, _COLUMNS):
        part = bits[:, start : start + _COLUMNS]
        coefficients = walsh(1 - 2 * part.astype(np.float32)) * np.float32(scale)
        top = max(top, float(np.abs(coefficients).max()))
        energy += np.square(coefficients, dtype=np.float64).sum(axis=1)
    mask = int(energy.argmax())
    by_chance = floor(size * columns) * scale
    return [
        Evidence(
            f"a mask and one of {columns} {what}",
            normal(top, size * columns),
            f"correlation {_power(top * scale)}, by chance {_power(by_chance)}, {size:,} blocks",
        ),
        Evidence(
            f"a mask and all {columns} {what}",
            chi_square(float(energy[mask]), columns, size),
            f"mask {mask:#x}, mean square correlation {energy[mask] / columns:.2f} of chance",
        ),
    ]


def _power(value: float) -> str:
    return f"2^{math.log2(value):.1f}" if value else "0"


def second_differences(
    target: Target, rng: np.random.Generator, *, samples: int = 4096, pairs: int = 32
) -> Evidence:
    """Look for linearity over Z/256: f(x + a + b) - f(x + a) - f(x + b) + f(x) in each lane.

    a and b change a byte each, of the counter or the material.  Zero always for an affine network.
    """
    worst: list[Evidence] = []
    for _ in range(pairs):
        lane_a, lane_b = rng.choice(target.lanes, size=2, replace=False)
        step_a, step_b = rng.integers(1, 256, size=2, dtype=np.uint8)
        key = target.draw_key(rng, samples)
        x = rng.integers(256, size=(samples, target.lanes), dtype=np.uint8)
        corner = {}
        for use_a in (0, 1):
            for use_b in (0, 1):
                moved = x.copy()
                moved[:, lane_a] += np.uint8(use_a) * step_a
                moved[:, lane_b] += np.uint8(use_b) * step_b
                corner[use_a, use_b] = target.run(key, moved)
        second = corner[1, 1] - corner[1, 0] - corner[0, 1] + corner[0, 0]
        zeros = (second == 0).sum(axis=0)
        lane = int(zeros.argmax())
        worst.append(
            Evidence(
                "second differences over Z/256",
                zero_bytes(int(zeros[lane]), samples, len(zeros)),
                f"zero in lane {lane}: {zeros[lane] / samples:.4f} (1/256 by chance)",
            )
        )
    return strongest(worst)


def low_plane(
    target: Target, rng: np.random.Generator, *, samples: int = 8192, pairs: int = 8
) -> Evidence:
    """Look for linearity over GF(2) between lowest bits (Blum, Luby and Rubinfeld's test).

    Inputs differ in lowest bits only: f(x) xor f(x xor a) xor f(x xor b) xor f(x xor a xor b) in
    the lowest bit of each lane, for random sets a and b of lanes.
    """
    worst: list[Evidence] = []
    for _ in range(pairs):
        key = target.draw_key(rng, samples)
        x = rng.integers(256, size=(samples, target.lanes), dtype=np.uint8)
        a, b = rng.integers(2, size=(2, target.lanes), dtype=np.uint8)
        total = np.zeros((samples, target.lanes_out), dtype=np.uint8)
        for change in (0 * a, a, b, a ^ b):
            total ^= target.run(key, x ^ change) & 1
        deviates = (1 - 2 * total.mean(axis=0)) * math.sqrt(samples)
        top = float(np.abs(deviates).max())
        worst.append(
            Evidence(
                "lowest bits over GF(2)",
                normal(top, deviates.size),
                f"correlation {top / math.sqrt(samples):.3f}, "
                f"by chance {floor(deviates.size) / math.sqrt(samples):.3f}",
            )
        )
    return strongest(worst)
