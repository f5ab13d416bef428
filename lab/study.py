"""What depth, width and training change: networks of several shapes, before training and after it.

Every shape of a family is drawn from several seeds; each draw is measured before training and
after it, on inputs that training never saw.  One file of results, one table; nothing is left out
for being unfavourable.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from rich.table import Table

from lab.evaluate import Measures, evaluate, layer_avalanche
from lab.randomness.laboratory import TEST_KEY, passes
from lab.randomness.streams import NetworkStream
from lab.recipe import Recipe
from lab.reduced import reduced, whole_block_depths
from lab.train import train
from shared.keystream.families import FAMILIES
from shared.keystream.families.family import Tensors
from shared.keystream.network import KeystreamNetwork, build_network
from shared.keystream.torch_cpu import TorchCpuBackend

__all__ = ["SHAPES", "StudyResult", "as_json", "results_table", "shapes_of", "study"]

SHAPES: Mapping[str, Mapping[str, Recipe]] = {
    name: {title: Recipe.of(family, shape) for title, shape in family.shapes.items()}
    for name, family in FAMILIES.items()
}
"""Of each family, the shapes compared, from the cheapest up; widths are lanes."""

_EVALUATION_SEED = 501  # inputs that training never saw


@dataclass(frozen=True, slots=True)
class StudyResult:
    """One draw of one shape, `trained` or as drawn.

    `macs_per_byte` counts a block's multiply-accumulates, all layers and each place where the
    topology has a weight, by its bytes.  `layer_avalanche` is that of the layers alone;
    `measures` are of the network cut off after its first layers, the last entry of the whole
    network.  `batteries` says by number of layers whether the tests of SP 800-22 pass, for those
    after which there is a whole block, up to the first that passes.
    """

    family: str
    shape: str
    seed: int
    trained: bool
    macs_per_byte: float
    layer_avalanche: float
    measures: tuple[Measures, ...]
    batteries: Mapping[int, bool]

    @property
    def least_depth(self) -> int | None:
        """How many layers the tests of SP 800-22 need; None where none passed, or none was run."""
        return next((depth for depth, passed in self.batteries.items() if passed), None)


def shapes_of(families: Sequence[str]) -> Iterator[tuple[str, Recipe]]:
    """Yield each shape of `families`: what it is called, and its recipe."""
    for family in families:
        yield from SHAPES[family].items()


def study(
    shape: str,
    recipe: Recipe,
    *,
    seed: int,
    steps: int,
    sequences: int = 0,
    on_step: Callable[[], None] = lambda: None,
) -> tuple[StudyResult, StudyResult]:
    """Train one draw for at most `steps` steps; return what it was before and what it is after.

    SP 800-22 is run over `sequences` sequences of a million bits for each depth, up to the first
    that passes; 0 leaves it out.
    """
    weights = train(recipe, seed=seed, steps=steps, on_step=lambda _step, _check: on_step())
    before, after = (
        _measured(shape, recipe, seed, tensors, sequences, trained=trained)
        for tensors, trained in ((weights.initial, False), (weights.tensors, True))
    )
    return before, after


def _measured(
    shape: str, recipe: Recipe, seed: int, tensors: Tensors, sequences: int, *, trained: bool
) -> StudyResult:
    network = build_network(recipe.family.name, tensors)
    depths = range(1, len(network.layers) + 1)
    return StudyResult(
        family=recipe.family.name,
        shape=shape,
        seed=seed,
        trained=trained,
        macs_per_byte=sum(step.places for step in recipe.steps) / network.lanes,
        layer_avalanche=layer_avalanche(network),
        measures=tuple(evaluate(network, depth, seed=_EVALUATION_SEED) for depth in depths),
        batteries=_batteries(network, sequences),
    )


def _batteries(network: KeystreamNetwork, sequences: int) -> dict[int, bool]:
    passed: dict[int, bool] = {}
    for depth in whole_block_depths(network) if sequences else ():
        stream = NetworkStream(TorchCpuBackend(reduced(network, depth)), TEST_KEY)
        passed[depth] = passes(stream, sequences)
        if passed[depth]:
            break
    return passed


_COLUMNS: Mapping[str, Callable[[StudyResult], float]] = {
    "layers alone": lambda result: result.layer_avalanche,
    "2 layers: key": lambda result: result.measures[1].avalanche_key,
    "2 layers: counter": lambda result: result.measures[1].avalanche_counter,
    "whole: key": lambda result: result.measures[-1].avalanche_key,
    "whole: counter": lambda result: result.measures[-1].avalanche_counter,
    "whole: told from chance": lambda result: max(
        result.measures[-1].distinguisher, result.measures[-1].predictor
    ),
}


def results_table(results: Sequence[StudyResult]) -> Table:
    """Return a table with, for each shape, the mean and the range over the seeds."""
    table = Table(title="0 is perfect; mean (least to greatest) over the seeds", box=None)
    for column in ("shape", "MACs a byte", "", *_COLUMNS, "layers SP 800-22 needs"):
        table.add_column(column, justify="left" if column in ("shape", "") else "right")
    groups: dict[tuple[str, str, bool], list[StudyResult]] = {}
    for result in results:
        groups.setdefault((result.family, result.shape, result.trained), []).append(result)
    for (family, shape, trained), group in sorted(groups.items()):
        found = [[column(result) for result in group] for column in _COLUMNS.values()]
        table.add_row(
            f"{family} {shape}",
            f"{group[0].macs_per_byte:.0f}",
            f"trained, {len(group)}" if trained else f"untrained, {len(group)}",
            *(f"{statistics.fmean(v):.3f} ({min(v):.3f} to {max(v):.3f})" for v in found),
            ", ".join(sorted({str(result.least_depth or "-") for result in group})),
        )
    return table


def as_json(results: Sequence[StudyResult], *, steps: int, sequences: int) -> dict[str, object]:
    """Return everything that was measured, for a file."""
    return {
        "steps": steps,
        "sequences": sequences,
        "numpy": np.__version__,
        "results": [asdict(result) for result in results],
    }
