"""Runs every attack on a network cut off after one layer, two, and so on, and on two controls.

The controls are the same weights without the fold, which must fall, and random weights of the same
shape.  Every random choice is from the seed; only the SAT solver's limit is the clock's.  Nothing
here says that what stands is secure: it says what was tried.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lab.cryptanalysis import differential, integral, linear, relatedkey, satisfiability, wraparound
from lab.cryptanalysis.affine import KNOWN_BLOCKS, share_predicted
from lab.cryptanalysis.evidence import Evidence
from lab.cryptanalysis.pairs import pair_bias
from lab.cryptanalysis.recovery import landscape, predict_frame, recover_first_layer
from lab.cryptanalysis.target import SUM_BITS, Target, TargetFrame, random_like
from shared.errors import BadInput
from shared.keystream.layers import COUNTER_LANES
from shared.keystream.network import KeystreamNetwork

__all__ = ["ATTACKS", "AttackOutcome", "AttackPlan", "Study", "rows", "study"]

_RECOVERY_BLOCKS = 24
_UNSEEN_BLOCKS = 4096
_FRAME_BLOCKS = 1 << 16
_LONG_FRAME_BLOCKS = 1 << 20  # 128 MiB of one frame: only where the weights foretell that it pays
_WRONG_LANES = (1, 2, 4, 8)
_TOY_LANES = (1, 2, 4, 8, 16, 32, 64)
_TOY_BLOCKS = 12
_FEASIBLE_PAIRS = 1 << 24  # 2 GiB of one frame


@dataclass(frozen=True, slots=True)
class AttackOutcome:
    """What an attack came to at one depth.

    `falls` None: the attack does not apply there.  `text` says at what cost it falls, or what was
    tried in vain; `chance`, of a statistical attack, is a perfect generator's to show as much.
    """

    attack: str
    depth: int
    falls: bool | None
    text: str
    chance: float | None = None


@dataclass(frozen=True, slots=True)
class AttackPlan:
    """How many layers are left, and for how long each SAT attempt may run (0: none is made)."""

    depths: tuple[int, ...]
    seed: int = 1
    seconds_limit: float = 20.0


@dataclass(frozen=True, slots=True)
class Study:
    title: str
    control: bool
    outcomes: tuple[AttackOutcome, ...]

    def at(self, attack: str, depth: int) -> AttackOutcome | None:
        found = (o for o in self.outcomes if (o.attack, o.depth) == (attack, depth))
        return next(found, None)


Attack = Callable[[Target, np.random.Generator], tuple[bool | None, str, float | None]]


def _statistic(run: Callable[[Target, np.random.Generator], Evidence]) -> Attack:
    def attack(target: Target, rng: np.random.Generator) -> tuple[bool | None, str, float | None]:
        evidence = run(target, rng)
        return evidence.decisive, f"{evidence.statistic}: {evidence.text}", evidence.chance

    return attack


def _linear_algebra(
    target: Target, rng: np.random.Generator
) -> tuple[bool | None, str, float | None]:
    share = share_predicted(TargetFrame.draw(target, rng), rng)
    text = f"{KNOWN_BLOCKS} blocks predict {share:.1%} of the bytes of unseen blocks"
    return share == 1, text, None


def _uneven_sums(target: Target, rng: np.random.Generator) -> tuple[bool | None, str, float | None]:
    if target.depth == 1 or not target.folded:  # what goes into the last layer is not uniform
        evidence = wraparound.first_harmonic(target, rng, blocks=_FRAME_BLOCKS)
        return evidence.decisive, evidence.text, evidence.chance
    foretold = wraparound.predict(target)
    long = foretold.blocks < _LONG_FRAME_BLOCKS
    blocks = _LONG_FRAME_BLOCKS if long else _FRAME_BLOCKS
    evidence = wraparound.first_harmonic(target, rng, blocks=blocks)
    text = (
        f"{evidence.text}; the weights foretell biases of {foretold.bias:.0e}, seen from "
        f"{foretold.blocks:.0e} blocks on"
    )
    return evidence.decisive, text, evidence.chance


def _exact_pairs(target: Target, rng: np.random.Generator) -> tuple[bool | None, str, float | None]:
    del rng
    if target.depth != 2 or not target.folded:
        return None, "computed for two layers with a fold only", None
    ones = np.eye(target.lanes, dtype=np.int64)
    found = [pair_bias(target, ones[lane]) for lane in (-1, -2, -3)]
    best = min(found, key=lambda bias: bias.pairs)
    text = (
        f"correlation {best.correlation:.0e} between blocks 1, 256 or 65,536 apart: "
        f"{best.pairs:.0e} pairs for one sd"
    )
    return best.pairs < _FEASIBLE_PAIRS, text, None


def _key_recovery(
    target: Target, rng: np.random.Generator
) -> tuple[bool | None, str, float | None]:
    if not target.folded:
        return None, "see linear algebra", None
    frame = TargetFrame.draw(target, rng)
    if target.depth > 1:
        left = landscape(frame, rng, wrong=_WRONG_LANES)
        text = ", ".join(f"{count}: {value:.3f}" for count, value in left.items())
        return False, f"correlation left by so many wrong lanes, {text}", None
    shape = (_RECOVERY_BLOCKS + _UNSEEN_BLOCKS, COUNTER_LANES)
    counters = rng.integers(256, size=shape, dtype=np.uint8)
    counters[:, : COUNTER_LANES - 3] = 0  # blocks that a frame has
    blocks, known = frame.at(counters), slice(_RECOVERY_BLOCKS)
    weight, adds = target.layers[0].weight, target.adds_input
    found = recover_first_layer(weight, counters[known], blocks[known], adds_input=adds)
    unseen = slice(_RECOVERY_BLOCKS, None)
    predicted = predict_frame(found, weight, counters[unseen], adds_input=adds)
    share = float((predicted == blocks[unseen]).mean())
    text = (
        f"{_RECOVERY_BLOCKS} blocks and 2^{SUM_BITS} tries a lane give all lanes' keys; "
        f"{share:.1%} of {_UNSEEN_BLOCKS:,} unseen blocks predicted"
    )
    return share == 1, text, None


ATTACKS: dict[str, Attack] = {
    "linear algebra over Z/256": _linear_algebra,
    "linear masks of the counter": _statistic(linear.linear_masks),
    "second differences over Z/256": _statistic(linear.second_differences),
    "lowest bits over GF(2)": _statistic(linear.low_plane),
    "differences, counter": _statistic(lambda t, r: differential.first_order(t, "counter", r)),
    "differences, material": _statistic(lambda t, r: differential.first_order(t, "material", r)),
    "related biases, one bit": _statistic(lambda t, r: differential.first_order(t, "key bias", r)),
    "second-order differences": _statistic(differential.second_order),
    "integrals over the counter": _statistic(integral.cube_sums),
    "uneven sums in one frame": _uneven_sums,
    "two layers' pairs, exactly": _exact_pairs,
    "key recovery": _key_recovery,
}
_SAT = "SAT, whole key of a toy"
_RELATED = "related keys through SHAKE-256"
_BLIND = "related biases, a blind step"


def study(
    title: str, network: KeystreamNetwork, plan: AttackPlan, on_step: Callable[[str], None]
) -> list[Study]:
    """Attack `network` and its controls; `on_step` is told of each attack that begins.

    Raises `BadInput` for a depth that `network` does not have.
    """
    whole = Target.of(title, network)
    if not plan.depths or not all(1 <= depth <= whole.depth for depth in plan.depths):
        raise BadInput(f"the network has 1 to {whole.depth} layers to attack")
    rng = np.random.default_rng(plan.seed)
    studies = []
    for target in (whole, random_like(whole, rng), whole.affine()):
        outcomes = list(_attack(target, plan, on_step))
        if target is whole:
            outcomes += [_blind(target, depth, plan, on_step) for depth in plan.depths]
            outcomes += _related(network, plan, on_step)
            outcomes += [_sat(depth, plan, on_step) for depth in plan.depths]
        studies.append(Study(target.title, target is not whole, tuple(outcomes)))
    return studies


def _attack(
    target: Target, plan: AttackPlan, on_step: Callable[[str], None]
) -> Iterator[AttackOutcome]:
    for depth, (number, (name, attack)) in itertools.product(
        plan.depths, enumerate(ATTACKS.items())
    ):
        on_step(f"{target.title}, {depth} layers: {name}")
        rng = np.random.default_rng([plan.seed, depth, number])
        falls, text, chance = attack(target.cut(depth), rng)
        yield AttackOutcome(name, depth, falls, text, chance)


def _related(
    network: KeystreamNetwork, plan: AttackPlan, on_step: Callable[[str], None]
) -> Iterator[AttackOutcome]:
    on_step(_RELATED)
    rng = np.random.default_rng([plan.seed, len(ATTACKS)])
    found = [relatedkey.derived_keys(network, rng), relatedkey.related_streams(network, rng)]
    text = "; ".join(f"{one.statistic}: {one.text}" for one in found)
    chance = min(one.chance for one in found)
    falls = any(one.decisive for one in found)
    for depth in plan.depths:
        whole = depth == len(network.layers)
        yield AttackOutcome(
            _RELATED, depth, falls if whole else None, text if whole else "", chance
        )


def _blind(
    target: Target, depth: int, plan: AttackPlan, on_step: Callable[[str], None]
) -> AttackOutcome:
    on_step(_BLIND)
    rng = np.random.default_rng([plan.seed, depth])
    evidence = relatedkey.blind_biases(target.cut(depth), rng)
    return AttackOutcome(_BLIND, depth, evidence.decisive, evidence.text, evidence.chance)


def _sat(depth: int, plan: AttackPlan, on_step: Callable[[str], None]) -> AttackOutcome:
    """Let the toys grow until one stands for the time allowed."""
    if not plan.seconds_limit:
        return AttackOutcome(_SAT, depth, None, "not asked for")
    if not satisfiability.available():
        return AttackOutcome(_SAT, depth, None, "python-sat is not installed")
    solved = ""
    for lanes in _TOY_LANES:
        on_step(f"{_SAT} of {lanes} lanes, {depth} layers")
        found = satisfiability.attempt(
            lanes,
            depth,
            blocks=_TOY_BLOCKS,
            seconds_limit=plan.seconds_limit,
            seed=plan.seed,
        )
        if found.outcome != "found":
            stands = f"{lanes} lanes ({found.unknown} bits) stand {plan.seconds_limit:.0f} s"
            return AttackOutcome(_SAT, depth, False, "; ".join(filter(None, (solved, stands))))
        solved = f"{lanes} lanes ({found.unknown} bits) fall in {found.seconds:.1f} s"
    return AttackOutcome(_SAT, depth, True, f"{solved}; lanes are independent of each other")


def rows(studies: Sequence[Study]) -> list[str]:
    """Return the names of all attacks in `studies`, in order, each once."""
    return list(dict.fromkeys(outcome.attack for one in studies for outcome in one.outcomes))
