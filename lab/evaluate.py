"""Measures an integer network on held-out inputs, cut off after one layer, two, and so on.

A cut-off network is the deployed one with fewer layers: its last layer adds the block's input as
well, where it is as wide.  Everything is what remains beyond chance, so that of a perfect
generator is zero.  Nothing here says anything about security; the figures say where a network
differs from random weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch

from lab.adversaries import Distinguisher, Predictor, expected_avalanche, random_bits
from lab.experiments import KINDS, differences_of, draw_differences, frame_of
from lab.reduced import cut_off
from lab.surrogate import SurrogateLayer, exact_layers
from shared.keystream.network import KeystreamNetwork

__all__ = ["MEASURES", "Measures", "evaluate", "layer_avalanche"]

_SAMPLES = 512  # inputs per difference
_DIFFERENCES = 24
_FRAME_BLOCKS = 4096
_TRAINING_FRAMES, _TRAINING_BLOCKS, _TEST_FRAMES = 24, 512, 8
_BATCH = 128


@dataclass(frozen=True, slots=True)
class Measures:
    """What one network, cut off after `depth` layers, shows beyond chance; all from 0 to 1.

    avalanche_*: root mean square of 2 P[flip] - 1 over differences of one bit and output bits.
    balance: root mean square of the mean of each bit (+1 or -1) over a frame's blocks.
    correlation: the same of the correlation of each two bits.
    predictor: how much better than guessing a freshly trained network tells the second half of a
    block from the first; distinguisher: the advantage of one that sees the xor of neighbouring
    blocks; both on keys and frames that they were not trained on.
    """

    avalanche_material: float
    avalanche_counter: float
    avalanche_key: float
    balance: float
    correlation: float
    predictor: float
    distinguisher: float


MEASURES = tuple(measure.name for measure in fields(Measures))


def evaluate(network: KeystreamNetwork, depth: int, *, seed: int) -> Measures:
    """Measure the first `depth` layers of `network`; every random choice is from `seed`."""
    layers = exact_layers(cut_off(network.layers, depth))
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        material, counter, key = (_avalanche(layers, kind, rng) for kind in KINDS)
        frame = frame_of(layers, _FRAME_BLOCKS, rng)
        blocks, width = frame.shape
        means = frame.mean(dim=0)
        balance = _beyond_chance(float(means.square().mean()), blocks)
        centred = (frame - means) / (1.0 - means.square()).clamp(min=1e-6).sqrt()
        gram = (centred.T @ centred) / blocks
        gram.fill_diagonal_(0.0)
        correlation = _beyond_chance(float(gram.square().sum()) / (width * (width - 1)), blocks)
    predictor, distinguisher = _adversaries(layers, width, seed, rng)
    return Measures(material, counter, key, balance, correlation, predictor, distinguisher)


def layer_avalanche(network: KeystreamNetwork) -> float:
    """Return the mean of (2 P[flip] - 1)**2 over the layers, each on its own, for one flipped bit
    of one lane: exact over uniform keys, without sampling.  A lane that is not read counts 1."""
    bits = 1 << torch.arange(8)
    layers = [layer.weight for layer in exact_layers(network.layers)]
    return sum(float(expected_avalanche(w, w.remainder(2.0), bits)) for w in layers) / len(layers)


def _beyond_chance(mean_square: float, samples: int) -> float:
    return math.sqrt(max(0.0, mean_square - 1.0 / samples))


def _avalanche(layers: tuple[SurrogateLayer, ...], kind: str, rng: torch.Generator) -> float:
    places = draw_differences(kind, _DIFFERENCES, layers, rng)
    squares = []
    for start in range(0, len(places.places), 8):  # a few at a time, for the memory
        part = type(places)(kind, places.places[start : start + 8])
        base, changed = differences_of(layers, part, _SAMPLES, rng)
        squares.append((base.unsqueeze(0) * changed).mean(dim=1).square().flatten())
    return _beyond_chance(float(torch.cat(squares).mean()), _SAMPLES)


def _adversaries(
    layers: tuple[SurrogateLayer, ...], width: int, seed: int, rng: torch.Generator
) -> tuple[float, float]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        predictor, distinguisher = Predictor(width), Distinguisher(width)
    optimiser = torch.optim.Adam([*predictor.parameters(), *distinguisher.parameters()], lr=1e-3)
    for _ in range(_TRAINING_FRAMES):
        with torch.no_grad():
            frame = frame_of(layers, _TRAINING_BLOCKS, rng)
            pairs = frame[1:] * frame[:-1]
        chance = random_bits(pairs.shape, rng)
        for start in range(0, len(pairs), _BATCH):
            rows = slice(start, start + _BATCH)
            loss = predictor.loss(frame[rows])
            loss = loss + distinguisher.loss(pairs[rows], chance[rows])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    guessed, told = [], []
    for _ in range(_TEST_FRAMES):
        with torch.no_grad():
            frame = frame_of(layers, _TRAINING_BLOCKS, rng)
        pairs = frame[1:] * frame[:-1]
        guessed.append(predictor.advantage(frame))
        told.append(distinguisher.advantage(pairs, random_bits(pairs.shape, rng)))
    return sum(guessed) / len(guessed), sum(told) / len(told)
