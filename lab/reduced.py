"""Networks cut off after their first layers, for all that asks how much depth is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from shared.errors import BadInput
from shared.keystream.layers import Layer
from shared.keystream.network import KeystreamNetwork

__all__ = ["cut_off", "reduced", "whole_block_depths"]


def cut_off(layers: Sequence[Layer], depth: int) -> tuple[Layer, ...]:
    """Return the first `depth` layers; the last adds the block's input where it is as wide."""
    *first, last = layers[:depth]
    if depth < len(layers) and last.lanes_out == layers[0].lanes_in:
        last = replace(last, add_from=0)
    return (*first, last)


def whole_block_depths(network: KeystreamNetwork) -> tuple[int, ...]:
    """Return the numbers of layers after which there are as many lanes as go in."""
    layers = enumerate(network.layers, start=1)
    return tuple(depth for depth, layer in layers if layer.lanes_out == network.lanes)


def reduced(network: KeystreamNetwork, depth: int) -> KeystreamNetwork:
    """Return the network of the first `depth` layers, a generator of its own (and never a
    session's); `BadInput` where these give no whole block."""
    if depth == len(network.layers):
        return network
    depths = whole_block_depths(network)
    if depth not in depths:
        raise BadInput(
            f"{network.family} gives no whole block after {depth} layers",
            hint=f"it does after {', '.join(map(str, depths))}",
        )
    return KeystreamNetwork(f"{network.family}/{depth}", cut_off(network.layers, depth))
