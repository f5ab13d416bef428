"""Writes a trained network's card: what it was trained on, and what came of it beside the control.

Figures are printed as they are.  Where training changed nothing that can be told from another
draw of random weights, the card says so.
"""

from __future__ import annotations

import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lab.evaluate import MEASURES, Measures, evaluate, layer_avalanche
from lab.recipe import Recipe
from lab.train import TrainedWeights
from shared.keystream.families.training import TrainingObjective
from shared.keystream.network import KeystreamNetwork, build_network

__all__ = ["EVALUATIONS", "Comparison", "compare", "model_card"]

_CONTROL_SEEDS = (9001, 9002, 9003)  # untrained networks besides the trained one's own beginning
_EVALUATION_SEEDS = (501, 502)  # inputs that training never saw
_NOTABLE = 0.005  # the noise of two evaluations; below, a difference is not told from chance

_TITLES: Mapping[str, str] = {
    "avalanche_material": "avalanche, a bit of the frame's material",
    "avalanche_counter": "avalanche, a bit of the block counter",
    "avalanche_key": "avalanche, a bit of a key-dependent bias",
    "balance": "balance of a frame's bits",
    "correlation": "correlation of a frame's bits",
    "predictor": "predictor's advantage",
    "distinguisher": "distinguisher's advantage",
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """A measure of the trained network, and of untrained ones: the first is its own beginning."""

    depth: int
    measure: str
    trained: float
    untrained: tuple[float, ...]

    @property
    def differs(self) -> bool:
        """Whether training moved it farther from all controls than these are from each other."""
        spread = max(self.untrained) - min(self.untrained)
        distance = min(abs(self.trained - control) for control in self.untrained)
        return distance > max(spread, _NOTABLE)


EVALUATIONS = len(_EVALUATION_SEEDS) * (2 + len(_CONTROL_SEEDS))  # per depth, for progress bars


def compare(
    recipe: Recipe, weights: TrainedWeights, *, on_evaluation: Callable[[], None] = lambda: None
) -> tuple[Comparison, ...]:
    """Evaluate the trained network and the controls at every depth; a minute or two."""
    trained = build_network(weights.family, weights.tensors)
    beginnings = [recipe.initial(np.random.default_rng(seed)) for seed in _CONTROL_SEEDS]
    controls = [build_network(weights.family, t) for t in (weights.initial, *beginnings)]
    rows = []
    for depth in range(1, len(trained.layers) + 1):
        results = [_measure(network, depth, on_evaluation) for network in (trained, *controls)]
        for name in MEASURES:
            mine, *others = (result[name] for result in results)
            rows.append(Comparison(depth, name, mine, tuple(others)))
    return tuple(rows)


def _measure(
    network: KeystreamNetwork, depth: int, on_evaluation: Callable[[], None]
) -> dict[str, float]:
    found: list[Measures] = []
    for seed in _EVALUATION_SEEDS:
        found.append(evaluate(network, depth, seed=seed))
        on_evaluation()
    return {name: statistics.fmean(getattr(m, name) for m in found) for name in MEASURES}


def model_card(
    recipe: Recipe, weights: TrainedWeights, rows: Sequence[Comparison], command: str
) -> str:
    """Return the card in Markdown; `command` is what trains the same network again."""
    trained = build_network(weights.family, weights.tensors)
    control = build_network(weights.family, weights.initial)
    objective = recipe.family.objective
    first, best, last = weights.checks[0], weights.best, weights.checks[-1]
    ended = "stopped early" if weights.stopped_early else "ran to its end"
    depth = len(trained.layers)
    values = np.concatenate([layer.weight.ravel() for layer in trained.layers])
    start_values = np.concatenate([layer.weight.ravel() for layer in control.layers])
    lines = [
        f"# Keystream network `{weights.family}`",
        "",
        f"- Digest: `{trained.digest.hex()}`",
        f"- {depth} layers, {trained.lanes} lanes, integer weights in [-64, 63]; "
        f"{values.size:,} weights, of which training changed {np.mean(values != start_values):.0%}",
        f"- Distinct weight values: {len(np.unique(values))} "
        f"(before training: {len(np.unique(start_values))})",
        f"- Train it again: `{command}`",
        f"- Every check of its training: `{weights.family}.curves.json`, drawn in "
        f"`{weights.family}.curves.svg`",
        f"- Made with torch {torch.__version__}, NumPy {np.__version__}, "
        + _repeatable(weights.gpu),
        "",
        "No security is claimed for this network. Confidentiality and integrity rest on "
        "AES-256-GCM and the handshake.",
        "",
        "## Design",
        "",
        recipe.family.design,
        "",
        "## Training",
        "",
        "No data: inputs and key biases are drawn uniformly from the seed. Each step descends on "
        f"every layer's avalanche, exact over the key, and on {_against(objective)}, for one frame "
        f"of {' or '.join(map(str, objective.windows))} layers in a row, picked at random.",
        "",
        f"- Seed {weights.seed}; control: the same network before the first step",
        f"- Optimiser: Adam, learning rate {objective.learning_rate} with cosine decay; "
        f"{objective.differences} differences and {objective.frame_blocks} blocks a step; "
        f"adversarial share {objective.adversarial_share}",
        f"- {last.step} steps ({ended}); these are the weights of step {best.step}",
        "- Each weight keeps its parity (why: docs/KEYSTREAM.md)",
        "",
        "Held-out loss (avalanche, balance and correlation beyond chance):",
        "",
        "| layers | untrained | trained |",
        "|---|---|---|",
        *(
            f"| {windowed} | {first.validation[windowed]:.4f} | {best.validation[windowed]:.4f} |"
            for windowed in first.validation
        ),
        "",
        *_discriminator(weights),
        "## Results on held-out inputs",
        "",
        "Mean of (2 P[flip] - 1)² of the layers each on its own, exact over the key: "
        f"untrained {layer_avalanche(control):.4f}, trained {layer_avalanche(trained):.4f}.",
        "",
        "The network cut off after its first layers, beyond chance, 0 is perfect. Avalanche is the "
        "root mean square of 2 P[flip] - 1. The range is that of "
        f"{len(rows[0].untrained)} untrained networks, this one's beginning among them.",
        "",
        "| layers | measure | trained | untrained (same seed) | untrained (range) | differs |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = min(row.untrained), max(row.untrained)
        lines.append(
            f"| {row.depth} | {_TITLES[row.measure]} | {row.trained:.4f} | {row.untrained[0]:.4f} "
            f"| {low:.4f} to {high:.4f} | {'yes' if row.differs else 'no'} |"
        )
    return "\n".join([*lines, "", _verdict(rows, depth), ""])


def _repeatable(gpu: str | None) -> str:
    """Return what it was made on, and whether it can be made again there."""
    if gpu is not None:
        return (
            f"on {gpu}. The same seed may give another digest, there as well: the order of every "
            "sum on a GPU is not promised."
        )
    return (
        f"{platform.machine()}, one thread. The same seed gives the same digest there; another "
        "version or processor may round a gradient differently and end at other weights."
    )


def _against(objective: TrainingObjective) -> str:
    parts = {
        "the balance and the correlations of bits": objective.balance,
        "a predictor": objective.predictor,
        "a distinguisher": objective.distinguisher,
        "a discriminator that sees random bytes (NumPy's Philox) as well": objective.discriminator,
    }
    return ", ".join(part for part, weight in parts.items() if weight)


def _discriminator(weights: TrainedWeights) -> list[str]:
    """Return the discriminator's losses by step, if there was one."""
    checks = [check for check in weights.checks if check.discriminator]
    if not checks:
        return []
    windows = sorted({depth for check in checks for depth in check.discriminator})
    return [
        "The discriminator's mean loss since the row before (ln 2 = 0.693 at chance; the "
        "generator's weights move as well):",
        "",
        "| step | " + " | ".join(f"{depth} layer{'s' * (depth > 1)}" for depth in windows) + " |",
        "|---" * (1 + len(windows)) + "|",
        *(
            f"| {check.step} | "
            + " | ".join(f"{check.discriminator.get(d, float('nan')):.4f}" for d in windows)
            + " |"
            for check in checks
        ),
        "",
    ]


def _verdict(rows: Sequence[Comparison], depth: int) -> str:
    deployed = [row for row in rows if row.depth == depth and row.differs]
    shallow = [row for row in rows if row.depth < depth and row.differs]
    said = (
        "cut off earlier, training moved: "
        + "; ".join(
            f"{_TITLES[r.measure]} after {r.depth} ({r.untrained[0]:.3f} to {r.trained:.3f})"
            for r in shallow
        )
        if shallow
        else "cut off earlier, nothing that can be told from another draw either"
    )
    at_depth = (
        "some measures differ from all untrained networks: "
        + "; ".join(_TITLES[r.measure] for r in deployed)
        if deployed
        else "training adds nothing measurable over random weights: no measure leaves the noise of "
        "the untrained networks"
    )
    return f"At the deployed depth of {depth} layers, {at_depth}. With the network {said}."
