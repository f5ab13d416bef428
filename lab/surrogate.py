"""The integer network with gradients: exact bytes forward, a smooth stand-in backward.

Forward, every value is the integer that the keystream would have, held in a float32, which is
exact below 2**24.  Backward, the bits of an accumulator are taken for what they are, square
waves of period 2, 4, ... 32,768, and a square wave for the sine of its period; rounding a weight
is taken for the identity (straight-through).  This never makes keystream.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from shared.keystream.layers import FOLD_SHIFT, WEIGHT_MAX, WEIGHT_MIN, Layer

__all__ = [
    "SurrogateLayer",
    "bits_to_bytes",
    "bytes_to_bits",
    "exact_layers",
    "round_weight",
    "run",
    "window",
]


@dataclass(frozen=True, slots=True, eq=False)
class SurrogateLayer:
    """A `shared.keystream.layers.Layer` in floats: `weight` (out, in), `bias` (out,)."""

    weight: torch.Tensor
    bias: torch.Tensor
    add_from: int | None = None


class _SquareWaves(torch.autograd.Function):
    """Integers (...) -> bits `first`... of each as +1 (bit 0) or -1 (bit 1), (..., count)."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, first: int, count: int) -> torch.Tensor:
        ctx.first, ctx.count = first, count
        ctx.save_for_backward(values)
        shifts = torch.arange(first, first + count, dtype=torch.int32, device=values.device)
        bits = (values.to(torch.int32).unsqueeze(-1) >> shifts) & 1
        return 1.0 - 2.0 * bits.to(torch.float32)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (values,) = ctx.saved_tensors
        first, count = ctx.first, ctx.count
        powers = torch.arange(first, first + count, dtype=torch.float32, device=values.device)
        pulse = math.pi / torch.exp2(powers)
        slope = pulse * torch.cos((values.unsqueeze(-1) + 0.5) * pulse)
        return (grads[0] * slope).sum(dim=-1), None, None


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, weight: torch.Tensor, parity: torch.Tensor) -> torch.Tensor:
        halves = ((weight - parity) / 2.0).round()
        # -32 to 31: even weights from -64 to 62, odd ones from -63 to 63.
        return 2.0 * halves.clamp(WEIGHT_MIN // 2, WEIGHT_MAX // 2) + parity

    @staticmethod
    def backward(_ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        return grads[0], None


def round_weight(weight: torch.Tensor, parity: torch.Tensor) -> torch.Tensor:
    """Return the nearest integers of `parity` (0 or 1 each) in [-64, 63], straight-through."""
    rounded: torch.Tensor = _Round.apply(weight, parity)  # type: ignore[no-untyped-call]
    return rounded


def bytes_to_bits(values: torch.Tensor) -> torch.Tensor:
    """Return the bits of float bytes (...), least first: +1 for 0, -1 for 1, (..., 8)."""
    bits: torch.Tensor = _SquareWaves.apply(values, 0, 8)  # type: ignore[no-untyped-call]
    return bits


def bits_to_bytes(bits: torch.Tensor) -> torch.Tensor:
    """Undo `bytes_to_bits`."""
    places = torch.arange(8, dtype=torch.float32, device=bits.device)
    return ((1.0 - bits) / 2.0) @ torch.exp2(places)


def _fold(accumulator: torch.Tensor) -> torch.Tensor:
    waves = _SquareWaves.apply(accumulator, 0, 8 + FOLD_SHIFT)  # type: ignore[no-untyped-call]
    # The product of signs is the xor of bits.
    bits: torch.Tensor = waves[..., :8] * waves[..., FOLD_SHIFT:]
    return bits


def run(
    layers: Sequence[SurrogateLayer], key_biases: Sequence[torch.Tensor], inputs: torch.Tensor
) -> torch.Tensor:
    """Return the output bits (blocks, lanes, 8) of float byte inputs (blocks, lanes).

    `key_biases`, one a layer, are (lanes,) or (blocks, lanes).
    """
    activations = [inputs]
    bits = inputs
    for layer, key_bias in zip(layers, key_biases, strict=True):
        bits = _fold(activations[-1] @ layer.weight.T + (layer.bias + key_bias))
        if layer.add_from is not None:
            bits = bytes_to_bits(bits_to_bytes(bits) + activations[layer.add_from])
        activations.append(bits_to_bytes(bits))
    return bits


def window(layers: Sequence[SurrogateLayer], start: int, stop: int) -> tuple[SurrogateLayer, ...]:
    """Return layers `start`... below `stop` as a network; sums from before it are left out."""
    return tuple(
        SurrogateLayer(
            layer.weight,
            layer.bias,
            None if layer.add_from is None or layer.add_from < start else layer.add_from - start,
        )
        for layer in layers[start:stop]
    )


def exact_layers(layers: Sequence[Layer]) -> tuple[SurrogateLayer, ...]:
    """Return integer layers in floats, without gradients."""
    return tuple(
        SurrogateLayer(
            torch.from_numpy(layer.weight.copy()).to(torch.float32),
            torch.from_numpy(layer.bias.copy()).to(torch.float32),
            layer.add_from,
        )
        for layer in layers
    )
