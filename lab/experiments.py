"""The inputs on which a keystream network is trained and judged: drawn, never measured, here.

Three kinds of chosen difference, each of one bit: in the frame's material, in the low bits of
the block counter, and in a key-dependent bias.  And whole frames: consecutive blocks that share
material and key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lab.surrogate import SurrogateLayer, run
from shared.keystream.layers import COUNTER_LANES, FOLD_SHIFT

__all__ = [
    "COUNTER_BITS",
    "KINDS",
    "Differences",
    "differences_of",
    "draw_differences",
    "frame_of",
    "random_keys",
]

KINDS = ("material", "counter", "key")

COUNTER_BITS = 16  # 65,536 blocks are 8 MiB: raw 1080p RGB, not the link's largest frame, 64 MiB
_BIAS_BITS = 16
_KEY_BITS = 8 + FOLD_SHIFT  # of a bias; the one above them never reaches a block


@dataclass(frozen=True, slots=True)
class Differences:
    """Single-bit differences: `kind` of `KINDS`, and the lane and bit of each."""

    kind: str
    places: tuple[tuple[int, int], ...]


def draw_differences(
    kind: str, count: int, layers: Sequence[SurrogateLayer], rng: torch.Generator
) -> Differences:
    """Draw `count` different places for differences of `kind` in a network of `layers`.

    Those in a key's biases are all in the first layer's.
    """
    lanes_out, lanes = layers[0].weight.shape
    material = lanes - COUNTER_LANES
    space = {"material": material * 8, "counter": COUNTER_BITS, "key": lanes_out * _KEY_BITS}[kind]
    chosen = torch.randperm(space, generator=rng, device=rng.device)[: min(count, space)].tolist()
    places = {
        "material": [divmod(i, 8) for i in chosen],
        "counter": [(lanes - 1 - i // 8, i % 8) for i in chosen],
        "key": [divmod(i, _KEY_BITS) for i in chosen],
    }[kind]
    return Differences(kind, tuple(places))


def random_keys(
    layers: Sequence[SurrogateLayer], samples: int, rng: torch.Generator
) -> list[torch.Tensor]:
    """Return key biases as a uniform key gives them, (samples, lanes) a layer."""
    shapes = [(samples, len(layer.bias)) for layer in layers]
    return [
        torch.randint(0, 1 << _BIAS_BITS, shape, generator=rng, device=rng.device).float()
        for shape in shapes
    ]


def differences_of(
    layers: Sequence[SurrogateLayer],
    differences: Differences,
    samples: int,
    rng: torch.Generator,
    *,
    inner: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run random inputs, and the same with each difference.

    Returns output bits (samples, lanes, 8) and (differences, samples, lanes, 8).  The counter's
    upper lanes are zero, as in a frame's first 8 MiB, unless the layers are `inner` ones, whose
    inputs are bytes of any kind.
    """
    lanes = layers[0].weight.shape[1]
    inputs = torch.randint(0, 256, (samples, lanes), generator=rng, device=rng.device)
    if not inner:
        inputs[:, lanes - COUNTER_LANES : lanes - COUNTER_BITS // 8] = 0
    keys = random_keys(layers, samples, rng)
    count = 1 + len(differences.places)
    all_inputs = inputs.repeat(count, 1)
    all_keys = [key.repeat(count, 1) for key in keys]
    for i, (lane, bit) in enumerate(differences.places, start=1):
        rows = slice(i * samples, (i + 1) * samples)
        if differences.kind == "key":
            flipped = all_keys[0][rows, lane].to(torch.int64) ^ (1 << bit)
            all_keys[0][rows, lane] = flipped.float()
        else:
            all_inputs[rows, lane] ^= 1 << bit
    bits = run(layers, all_keys, all_inputs.float())
    bits = bits.view(count, samples, *bits.shape[1:])
    return bits[0], bits[1:]


def frame_of(layers: Sequence[SurrogateLayer], blocks: int, rng: torch.Generator) -> torch.Tensor:
    """Run `blocks` consecutive blocks of one random frame under one random key: (blocks, bits)."""
    lanes = layers[0].weight.shape[1]
    device, last = rng.device, (1 << COUNTER_BITS) - blocks
    first = int(torch.randint(0, last, (1,), generator=rng, device=device))
    counters = torch.arange(first, first + blocks, device=device)
    inputs = torch.randint(0, 256, (1, lanes), generator=rng, device=device).repeat(blocks, 1)
    inputs[:, lanes - COUNTER_LANES :] = 0
    inputs[:, lanes - 1] = counters & 255
    inputs[:, lanes - 2] = counters >> 8
    keys = [key[0] for key in random_keys(layers, 1, rng)]
    return run(layers, keys, inputs.float()).flatten(1)
