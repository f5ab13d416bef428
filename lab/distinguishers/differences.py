"""A distinguisher in the manner of Gohr (2019) that searches for its own input difference.

The search is the evolutionary one of Bellini et al. (2023), by Gohr's bias score: a difference is
worth as much as the bits of the output difference are uneven.  What it finds is then handed to a
network that is trained to tell such pairs of blocks from pairs of random ones.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from lab.adversaries import Distinguisher
from lab.distinguishers.advantage import Advantage, bits_of
from lab.distinguishers.oracle import Oracle, positions

__all__ = ["distinguish", "score", "search"]

_GENERATIONS = 16
_POPULATION, _PARENTS = 64, 16
_SAMPLES = 128  # pairs a difference; the survivors are judged on fresh ones in each generation
_FINAL_SAMPLES = 512
_STEPS, _BATCH = 150, 256
_TEST_PAIRS = 8192
_LEARNING_RATE = 1e-3


def score(
    oracle: Oracle,
    kind: str,
    differences: NDArray[np.bool_],
    samples: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return each difference's mean of (2 P[flip] - 1)**2 over output bits, beyond chance: (n,)."""
    base, changed = oracle.pairs(kind, differences, samples, rng)
    correlations = bits_of(base ^ changed).mean(axis=1, dtype=np.float64)
    scores: NDArray[np.float64] = (correlations**2).mean(axis=1) - 1.0 / samples
    return scores


def search(oracle: Oracle, kind: str, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return the best difference of `kind` that was found: (positions,), at least one bit set.

    It starts from single bits.  A child is one of the best with a bit flipped, or two xored.
    """
    size = positions(oracle, kind)
    singles = rng.permutation(size)[:_POPULATION]
    population = np.eye(size, dtype=bool)[singles]
    for _ in range(_GENERATIONS):
        best = _best(oracle, kind, population, _PARENTS, _SAMPLES, rng)
        children = best[rng.integers(len(best), size=_POPULATION - len(best))]
        others = best[rng.integers(len(best), size=len(children))]
        flips = np.eye(size, dtype=bool)[rng.integers(size, size=len(children))]
        crossed = rng.random(len(children)) < 0.5
        children = children ^ np.where(crossed[:, None], others, flips)
        population = np.unique(np.concatenate([best, children]), axis=0)
        population = population[population.any(axis=1)]  # no difference is none at all
    finalists = _best(oracle, kind, population, _PARENTS, _SAMPLES, rng)
    found: NDArray[np.bool_] = _best(oracle, kind, finalists, 1, _FINAL_SAMPLES, rng)[0]
    return found


def _best(
    oracle: Oracle,
    kind: str,
    differences: NDArray[np.bool_],
    count: int,
    samples: int,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    scores = score(oracle, kind, differences, samples, rng)
    return differences[np.argsort(-scores, kind="stable")[:count]]


def distinguish(
    kind: str, oracle: Oracle, *, seed: int, steps: int = _STEPS, test_pairs: int = _TEST_PAIRS
) -> Advantage:
    """Search a difference of `kind`, train on it, and return P[told | real] - P[told | random].

    Every choice is from `seed`; the standard error is over `test_pairs` pairs, a key each.
    """
    rng = np.random.default_rng([seed, 2])
    difference = search(oracle, kind, rng)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Distinguisher(2 * 8 * oracle.lanes_out, hidden=128)
    optimiser = torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE)
    for _ in range(steps):
        real, random = _pairs(oracle, kind, difference, _BATCH, rng)
        optimiser.zero_grad()
        network.loss(real, random).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    told: list[NDArray[np.float64]] = []
    with torch.no_grad():
        for _ in range(math.ceil(test_pairs / _BATCH)):
            real, random = _pairs(oracle, kind, difference, _BATCH, rng)
            told.append(((network(real) > 0).double() - (network(random) > 0).double()).numpy())
    found = Advantage.over(np.concatenate(told))
    return Advantage(found.mean, found.standard_error, _bits_text(difference))


def _pairs(
    oracle: Oracle, kind: str, difference: NDArray[np.bool_], count: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return pairs of blocks, and of random ones, each as a block and the xor of both."""
    base, changed = oracle.pairs(kind, difference[None], count, rng)
    real = np.concatenate([base, base ^ changed[0]], axis=1)
    random = rng.integers(256, size=real.shape, dtype=np.uint8)
    return torch.from_numpy(bits_of(real)), torch.from_numpy(bits_of(random))


def _bits_text(difference: NDArray[np.bool_]) -> str:
    places = np.flatnonzero(difference)
    return f"{len(places)} bit{'s' * (len(places) > 1)}"
