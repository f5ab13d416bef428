"""What a keystream network is trained against: measures with gradients, and small networks.

All see bits as +1 and -1.  Of a perfect keystream every loss here is zero on average, or ln 2
for the networks; how far a generator is from that is its loss.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from shared.keystream.layers import FOLD_SHIFT

__all__ = [
    "LN2",
    "Discriminator",
    "Distinguisher",
    "Predictor",
    "avalanche_loss",
    "balance_loss",
    "expected_avalanche",
    "flip_probability",
    "random_bits",
]

LN2 = math.log(2.0)


def flip_probability(base: torch.Tensor, changed: torch.Tensor) -> torch.Tensor:
    """Return P[flip] of every output bit for each difference.

    `base` (samples, ...) and `changed` (differences, samples, ...) give (differences, ...).
    """
    return (1.0 - (base.unsqueeze(0) * changed).mean(dim=1)) / 2.0


def avalanche_loss(base: torch.Tensor, changed: torch.Tensor) -> torch.Tensor:
    """Return the mean of (2 P[flip] - 1)**2 beyond what so few samples show by chance."""
    deviation = 1.0 - 2.0 * flip_probability(base, changed)
    return deviation.square().mean() - 1.0 / base.shape[0]


@functools.cache
def _fold_autocorrelation(device: torch.device) -> torch.Tensor:
    """Return, for each difference of accumulators mod 2**16, the mean over the bits of a fold of
    (2 P[flip] - 1)**2, where P is over uniform accumulators: (65536,)."""
    accumulators = np.arange(1 << 16)
    folded = (accumulators ^ (accumulators >> FOLD_SHIFT)) & 255
    signs = 1.0 - 2.0 * ((folded >> np.arange(8)[:, None]) & 1)
    spectrum = np.abs(np.fft.rfft(signs)) ** 2
    correlation = np.fft.irfft(spectrum, n=1 << 16) / (1 << 16)
    return torch.from_numpy((correlation**2).mean(axis=0)).float().to(device)


def expected_avalanche(
    weight: torch.Tensor, parity: torch.Tensor, differences: torch.Tensor
) -> torch.Tensor:
    """Return the mean of (2 P[flip] - 1)**2 of one layer, exactly, for changes of a single lane.

    `weight` (out, in) may lie between integers of its `parity` (out, in); the loss is then its
    expectation when each weight is rounded up or down at random, hence piecewise linear, with
    gradients that point to the better neighbour.  `differences` (n,) are changes of a lane's
    byte, integers.  P is over the key, whose biases make accumulators uniform.
    """
    table = _fold_autocorrelation(weight.device)
    below = 2.0 * ((weight.detach() - parity) / 2.0).floor() + parity
    fraction = (weight - below) / 2.0
    steps = differences.to(torch.int32).view(-1, 1, 1)
    low = table[(below.to(torch.int32) * steps) & 0xFFFF]
    high = table[((below.to(torch.int32) + 2) * steps) & 0xFFFF]
    return (low + fraction * (high - low)).mean()


def balance_loss(frame: torch.Tensor) -> torch.Tensor:
    """Return the mean square of bit means and of correlations between bits, beyond chance.

    `frame` (blocks, bits) are the blocks of one frame.
    """
    blocks, width = frame.shape
    gram = (frame.T @ frame) / blocks
    correlation = (gram.square().sum() - width) / (width * (width - 1))
    return frame.mean(dim=0).square().mean() + correlation - 2.0 / blocks


class Predictor(nn.Module):
    """Guesses the bits of the second half of a block from those of the first."""

    def __init__(self, bits: int, hidden: int = 128) -> None:
        super().__init__()
        self.known = bits // 2
        self.layers = nn.Sequential(
            nn.Linear(self.known, hidden), nn.ReLU(), nn.Linear(hidden, bits - self.known)
        )

    def forward(self, blocks: torch.Tensor) -> torch.Tensor:
        """Return the logits, (blocks, half), of the guessed bits' being +1."""
        guesses: torch.Tensor = self.layers(blocks[:, : self.known])
        return guesses

    def loss(self, blocks: torch.Tensor) -> torch.Tensor:
        """Return the cross-entropy in nats a bit: ln 2 where it learns nothing."""
        return functional.softplus(-blocks[:, self.known :] * self(blocks)).mean()

    @torch.no_grad()
    def advantage(self, blocks: torch.Tensor) -> float:
        """Return how much more than half of the bits it guesses, times two: 0 to 1."""
        return float((blocks[:, self.known :] * self(blocks)).sign().mean())


class Distinguisher(nn.Module):
    """Tells the difference of two blocks, whose inputs differ by a chosen amount, from chance."""

    def __init__(self, bits: int, hidden: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(bits, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, differences: torch.Tensor) -> torch.Tensor:
        """Return the logits, (pairs,), of the differences' being the keystream's."""
        logits: torch.Tensor = self.layers(differences).squeeze(-1)
        return logits

    def loss(self, differences: torch.Tensor, chance: torch.Tensor) -> torch.Tensor:
        """Return the cross-entropy in nats: ln 2 where it learns nothing."""
        real, fake = self(differences), self(chance)
        return (functional.softplus(-real).mean() + functional.softplus(fake).mean()) / 2.0

    @torch.no_grad()
    def advantage(self, differences: torch.Tensor, chance: torch.Tensor) -> float:
        """Return P[says keystream | keystream] - P[says keystream | chance]: -1 to 1."""
        real, fake = self(differences) > 0, self(chance) > 0
        return float(real.float().mean() - fake.float().mean())


class Discriminator(nn.Module):
    """Tells neighbouring blocks from random bytes, as a generative adversarial network's does."""

    def __init__(self, bits: int, hidden: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(3 * bits, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1)
        )

    def forward(self, blocks: torch.Tensor) -> torch.Tensor:
        """Return the logits, (blocks - 1,), of each block and the next one's being random."""
        here, after = blocks[:-1], blocks[1:]
        logits: torch.Tensor = self.layers(torch.cat([here, after, here * after], dim=1))
        return logits.squeeze(-1)

    def loss(self, blocks: torch.Tensor, random: torch.Tensor) -> torch.Tensor:
        """Return the cross-entropy in nats: ln 2 where it learns nothing."""
        fake, real = self(blocks), self(random)
        return (functional.softplus(fake).mean() + functional.softplus(-real).mean()) / 2.0

    def generator_loss(self, blocks: torch.Tensor) -> torch.Tensor:
        """Return the generator's non-saturating loss (Goodfellow et al. 2014): ln 2 at chance."""
        return functional.softplus(-self(blocks)).mean()


def random_bits(shape: Iterable[int], rng: torch.Generator) -> torch.Tensor:
    """Return fair bits as +1 and -1, on the device of `rng`."""
    bits = torch.randint(0, 2, tuple(shape), generator=rng, device=rng.device)
    return 1.0 - 2.0 * bits.to(torch.float32)
