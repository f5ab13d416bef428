"""Sets every distinguisher on a network, trained and untrained, and on controls.

All are trained anew on each, for a fixed number of steps, and judged on keys they never saw.  That
the network without its fold and its first layer alone are told from chance, and random bytes are
not, says what these distinguishers can see; that they don't tell a network says no more than that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from lab.cryptanalysis.target import Target, random_like
from lab.distinguishers.advantage import Advantage
from lab.distinguishers.differences import distinguish
from lab.distinguishers.nextbyte import PREDICTORS, predict
from lab.distinguishers.oracle import NetworkOracle, Oracle, RandomOracle
from lab.experiments import KINDS
from lab.recipe import find_recipe
from shared.keystream.network import KeystreamNetwork, build_network

__all__ = ["DISTINGUISHERS", "Finding", "Subject", "judge", "subjects"]

DISTINGUISHERS: Mapping[str, Callable[..., Advantage]] = {
    **{f"next byte, {name}": partial(predict, name) for name in PREDICTORS},
    **{f"differences, {kind}": partial(distinguish, kind) for kind in KINDS},
}
"""Each takes an oracle and `seed`, and returns its advantage."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is to be told from chance: `depth` layers of a network, or (None) random bytes."""

    title: str
    depth: int | None
    oracle: Oracle = field(repr=False)


@dataclass(frozen=True, slots=True)
class Finding:
    subject: Subject
    distinguisher: str
    advantage: Advantage


def subjects(network: KeystreamNetwork, depths: Sequence[int], *, seed: int) -> tuple[Subject, ...]:
    """Return `network` cut off at each of `depths`, and untrained weights; then the controls.

    These are the whole network without its fold, and true random bytes.  The untrained weights are
    what the family's recipe draws from `seed`, or, where the shape isn't the recipe's, uniform.
    """
    trained = Target.of(network.family, network)
    beginning = find_recipe(network.family).initial(np.random.default_rng(seed))
    untrained = Target.of("untrained", build_network(network.family, beginning))
    if _shape(untrained) != _shape(trained):
        untrained = random_like(trained, np.random.default_rng(seed))
    found = [
        Subject(title, depth, NetworkOracle(target.cut(depth)))
        for depth in depths
        for title, target in ((trained.title, trained), ("untrained", untrained))
    ]
    whole = NetworkOracle(trained.affine())
    chance = RandomOracle(whole.lanes, whole.lanes_out, whole.key_lanes)
    return (
        *found,
        Subject("no fold", trained.depth, whole),
        Subject("random bytes", None, chance),
    )


def judge(
    subject: Subject, *, seed: int, on_distinguisher: Callable[[], None] = lambda: None
) -> tuple[Finding, ...]:
    """Train every distinguisher on `subject`; about a minute."""
    found = []
    for name, run in DISTINGUISHERS.items():
        found.append(Finding(subject, name, run(subject.oracle, seed=seed)))
        on_distinguisher()
    return tuple(found)


def _shape(target: Target) -> list[tuple[int, ...]]:
    return [layer.weight.shape for layer in target.layers]
