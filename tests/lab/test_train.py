from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from lab.evaluate import evaluate, layer_avalanche
from lab.recipes import find_recipe
from lab.train import train
from shared.errors import BadInput
from shared.keystream.network import build_network

RECIPE = find_recipe("bp")


@pytest.fixture(scope="module")
def short_run():
    steps = []
    weights = train(
        RECIPE, seed=5, steps=16, check_every=8, on_step=lambda step, check: steps.append(step)
    )
    return weights, steps


def test_the_same_seed_trains_the_same_network(short_run) -> None:
    torch.manual_seed(123)  # nothing outside may matter
    again = train(RECIPE, seed=5, steps=16, check_every=8)
    first = build_network("bp", short_run[0].tensors)
    assert build_network("bp", again.tensors).digest == first.digest
    assert again.checks == short_run[0].checks


def test_another_seed_trains_another_network(short_run) -> None:
    other = train(RECIPE, seed=6, steps=1, check_every=1)
    digests = {
        build_network("bp", t).digest
        for t in (other.initial, short_run[0].initial, other.tensors, short_run[0].tensors)
    }
    assert len(digests) >= 3


def test_training_lowers_the_loss_on_held_out_inputs(short_run) -> None:
    weights, steps = short_run
    assert steps == list(range(1, 17))
    assert [check.step for check in weights.checks] == [0, 8, 16]
    assert weights.best.total < 0.9 * weights.checks[0].total
    before, after = (build_network("bp", t) for t in (weights.initial, weights.tensors))
    assert layer_avalanche(after) < 0.9 * layer_avalanche(before)


def test_trained_weights_keep_their_parity_and_everything_else(short_run) -> None:
    weights, _ = short_run
    for name, tensor in weights.tensors.items():
        assert tensor.dtype == weights.initial[name].dtype
        assert np.array_equal(tensor & 1, weights.initial[name] & 1)
        if name.endswith("bias"):
            assert np.array_equal(tensor, weights.initial[name])


def test_without_progress_training_stops_early_with_the_best_weights() -> None:
    still = dataclasses.replace(
        RECIPE, objective=dataclasses.replace(RECIPE.objective, learning_rate=0.0)
    )
    weights = train(still, seed=1, steps=50, check_every=1, patience=2)
    assert weights.stopped_early
    assert weights.best.step == 0
    assert len(weights.checks) == 3
    assert (
        build_network("bp", weights.tensors).digest == build_network("bp", weights.initial).digest
    )


def test_evaluation_tells_one_layer_from_three() -> None:
    network = build_network("bp", RECIPE.initial(np.random.default_rng(2)))
    one, three = evaluate(network, 1, seed=4), evaluate(network, 3, seed=4)
    assert one.avalanche_material > 0.4
    assert one.distinguisher > 0.9
    assert three.avalanche_material < 0.02
    assert abs(three.distinguisher) < 0.1
    assert abs(three.predictor) < 0.01


def test_evaluation_is_reproducible() -> None:
    network = build_network("bp", RECIPE.initial(np.random.default_rng(2)))
    assert evaluate(network, 1, seed=4) == evaluate(network, 1, seed=4)


def test_an_unknown_recipe_is_bad_input() -> None:
    with pytest.raises(BadInput, match="no training recipe"):
        find_recipe("perceptron")
