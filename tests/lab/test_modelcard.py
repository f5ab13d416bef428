from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from lab import modelcard
from lab.evaluate import MEASURES, Measures
from lab.modelcard import EVALUATIONS, Comparison, compare, model_card
from lab.recipe import find_recipe
from lab.train import Check, TrainedWeights
from shared.keystream import network as network_module
from shared.keystream.families import FAMILIES
from shared.keystream.network import build_network

RECIPE = find_recipe("bp")


@pytest.fixture
def weights() -> TrainedWeights:
    initial = RECIPE.initial(np.random.default_rng(1))
    tensors = RECIPE.initial(np.random.default_rng(2))
    checks = (Check(0, {1: 0.5, 2: 0.25}), Check(20, {1: 0.125, 2: 0.0625}))
    return TrainedWeights("bp", 1, tensors, initial, checks, checks[1], stopped_early=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_shipped_card_describes_the_design_as_its_family_does(family) -> None:
    card = Path(network_module.__file__).parent / "networks" / f"{family}.md"
    assert f"## Design\n\n{FAMILIES[family].design}\n" in card.read_text(encoding="utf-8")


def test_a_difference_counts_only_outside_the_spread_of_the_controls() -> None:
    assert Comparison(1, "balance", 0.30, (0.50, 0.52, 0.49)).differs
    assert Comparison(1, "balance", 0.70, (0.50, 0.52, 0.49)).differs
    assert not Comparison(1, "balance", 0.48, (0.50, 0.52, 0.49)).differs
    assert not Comparison(1, "balance", 0.51, (0.50, 0.52, 0.49)).differs
    assert not Comparison(1, "balance", 0.001, (0.0, 0.0, 0.0)).differs


def test_all_networks_are_measured_at_all_depths_on_the_same_seeds(weights, monkeypatch) -> None:
    asked = []

    def evaluate(network, depth, *, seed):
        asked.append((network.digest, depth, seed))
        return Measures(*[float(depth)] * len(MEASURES))

    monkeypatch.setattr(modelcard, "evaluate", evaluate)
    done = []
    rows = compare(RECIPE, weights, on_evaluation=lambda: done.append(1))
    assert len(rows) == 3 * len(MEASURES)
    assert len(done) == EVALUATIONS * 3 == len(set(asked))
    digest = build_network("bp", weights.tensors).digest
    mine = {(depth, seed) for d, depth, seed in asked if d == digest}
    assert all({(p, s) for d, p, s in asked if d == other} == mine for other, _, _ in asked)


def card_of(weights: TrainedWeights, deployed: float, shallow: float) -> str:
    rows = [Comparison(1, "balance", shallow, (0.5, 0.51))]
    rows += [Comparison(3, name, deployed, (0.0, 0.001)) for name in MEASURES]
    return model_card(RECIPE, weights, rows, "train it")


def test_the_card_says_so_where_training_adds_nothing(weights) -> None:
    card = card_of(weights, deployed=0.0005, shallow=0.505)
    assert "training adds nothing measurable over random weights" in card
    assert "nothing that can be told from another draw either" in card


def test_the_card_says_what_training_moved_for_better_or_worse(weights) -> None:
    card = card_of(weights, deployed=0.2, shallow=0.9)
    assert "some measures differ from all untrained networks" in card
    assert "balance of a frame's bits after 1 (0.500 to 0.900)" in card


def test_the_card_names_digest_seed_losses_and_disclaims_security(weights) -> None:
    card = card_of(weights, deployed=0.0, shallow=0.4)
    assert build_network("bp", weights.tensors).digest.hex() in card
    assert "Seed 1" in card
    assert "20 steps (stopped early)" in card
    assert "| 1 | 0.5000 | 0.1250 |" in card
    assert "No security is claimed" in card
    assert "train it" in card


def test_the_card_promises_the_same_digest_where_a_processor_made_it_alone(weights) -> None:
    assert "one thread. The same seed gives the same digest there" in card_of(weights, 0.0, 0.4)
    on_gpu = dataclasses.replace(weights, gpu="NVIDIA A100-SXM4-80GB")
    card = card_of(on_gpu, 0.0, 0.4)
    assert "on NVIDIA A100-SXM4-80GB. The same seed may give another digest" in card
    assert "gives the same digest" not in card
    assert "one thread" not in card


def test_the_card_names_the_curves(weights) -> None:
    card = card_of(weights, 0.0, 0.4)
    assert "`bp.curves.json`" in card
    assert "`bp.curves.svg`" in card


def test_the_card_says_what_the_network_was_trained_against(weights) -> None:
    card = card_of(weights, deployed=0.0, shallow=0.4)
    assert RECIPE.family.design in card
    assert "a predictor, a distinguisher" in card
    assert "discriminator" not in card


def test_the_card_lists_the_discriminators_losses_where_there_was_one() -> None:
    recipe = find_recipe("gan")
    tensors = [recipe.initial(np.random.default_rng(seed)) for seed in (1, 2)]
    checks = (Check(0, {1: 0.5}), Check(20, {1: 0.125}, {1: 0.25, 2: 0.6875}))
    weights = TrainedWeights("gan", 1, tensors[1], tensors[0], checks, checks[1], False)
    rows = [Comparison(3, name, 0.0, (0.0, 0.001)) for name in MEASURES]
    card = model_card(recipe, weights, rows, "train it")
    assert "a discriminator that sees random bytes" in card
    assert "a predictor" not in card
    assert "| 20 | 0.2500 | 0.6875 |" in card
