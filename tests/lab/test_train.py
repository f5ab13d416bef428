from __future__ import annotations

import dataclasses
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from lab import adversaries
from lab import evaluate as evaluate_module
from lab import train as train_module
from lab.adversaries import Discriminator, Distinguisher, Predictor
from lab.evaluate import evaluate, layer_avalanche
from lab.recipe import Recipe, find_recipe
from lab.train import train
from shared.keystream.families import FAMILIES
from shared.keystream.network import build_network

RECIPE = find_recipe("bp")


def with_objective(recipe: Recipe, **changed: float) -> Recipe:
    objective = dataclasses.replace(recipe.family.objective, **changed)
    return dataclasses.replace(
        recipe, family=dataclasses.replace(recipe.family, objective=objective)
    )


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


class _FreshFromNumPy(torch.Tensor):
    """A tensor on the host: all that may be done with it is to convert it and to move it."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        result = super().__torch_function__(func, types, args, kwargs)
        if func is torch.Tensor.to:
            return result.as_subclass(torch.Tensor)
        if func is not torch.Tensor.float:
            raise AssertionError(f"{func.__name__} of a tensor that was not moved to the device")
        return result


@pytest.fixture
def host_tensors(monkeypatch):
    """A processor's own tensors look misplaced to it where a GPU would find them so."""
    from_numpy = torch.from_numpy
    monkeypatch.setattr(
        torch, "from_numpy", lambda array: from_numpy(array).as_subclass(_FreshFromNumPy)
    )
    adversaries._fold_autocorrelation.cache_clear()
    yield
    adversaries._fold_autocorrelation.cache_clear()


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_what_comes_from_numpy_is_moved_to_the_device(family, host_tensors) -> None:
    cheapest = next(iter(family.shapes.values()))
    train(Recipe.of(family, cheapest), seed=5, steps=1, check_every=1)


def test_the_adversaries_are_moved_to_the_device(monkeypatch) -> None:
    moved, to = [], torch.nn.Module.to

    def seen(module, device):
        moved.append(type(module))
        return to(module, device)

    monkeypatch.setattr(torch.nn.Module, "to", seen)
    train(RECIPE, seed=5, steps=1)
    assert set(moved) == {Predictor, Distinguisher, Discriminator}


@pytest.mark.parametrize("family", FAMILIES)
def test_training_puts_everything_on_the_device_it_was_given(family) -> None:
    # Whatever is not placed by name lands on the default device, which here computes nothing.
    # This can't see a tensor that is placed on the processor by name or by NumPy, as that is the
    # device here; the two tests above look for those.
    recipe = find_recipe(family)
    plain = train(recipe, seed=5, steps=2, check_every=2)
    with torch.device("meta"):
        placed = train(recipe, seed=5, steps=2, check_every=2, device="cpu")
    assert placed.checks == plain.checks
    assert all(np.array_equal(t, plain.tensors[n]) for n, t in placed.tensors.items())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("family", FAMILIES)
def test_training_on_cuda_gives_a_network_the_loader_takes(family) -> None:
    weights = train(find_recipe(family), seed=5, steps=8, check_every=8, device="cuda")
    build_network(family, weights.tensors)
    assert weights.gpu == torch.cuda.get_device_name()
    assert weights.best.total < weights.checks[0].total
    for name, tensor in weights.tensors.items():
        assert np.array_equal(tensor & 1, weights.initial[name] & 1)


@pytest.mark.parametrize("ends", [True, False], ids=["ends", "breaks off"])
def test_products_are_exact_while_training_and_as_they_were_after(ends) -> None:
    seen = []

    def look(_step, _check):
        seen.append(torch.get_float32_matmul_precision())
        if not ends:
            raise InterruptedError

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with nullcontext() if ends else pytest.raises(InterruptedError):
            train(RECIPE, seed=5, steps=1, on_step=look)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert seen == ["highest"]


def test_the_gpu_that_trained_is_named_and_a_processor_is_not(short_run, monkeypatch) -> None:
    assert short_run[0].gpu is None
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    assert train_module._gpu_name(torch.device("cuda", 3)) == "GPU 3"


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
    still = with_objective(RECIPE, learning_rate=0.0)
    weights = train(still, seed=1, steps=50, check_every=1, patience=2)
    assert weights.stopped_early
    assert weights.best.step == 0
    assert len(weights.checks) == 3
    assert (
        build_network("bp", weights.tensors).digest == build_network("bp", weights.initial).digest
    )


@pytest.fixture(scope="module", params=["cnn", "resnet", "gan"])
def other_run(request):
    recipe = find_recipe(request.param)
    return recipe, train(recipe, seed=5, steps=3, check_every=3)


def test_every_familys_training_lowers_the_loss_and_keeps_parities(other_run) -> None:
    recipe, weights = other_run
    before, after = (
        build_network(recipe.family.name, t) for t in (weights.initial, weights.tensors)
    )
    assert weights.best.total < weights.checks[0].total
    assert layer_avalanche(after) < layer_avalanche(before)
    for name, tensor in weights.tensors.items():
        assert tensor.dtype == weights.initial[name].dtype
        assert np.array_equal(tensor & 1, weights.initial[name] & 1)


def test_every_familys_training_is_the_same_again(other_run) -> None:
    recipe, weights = other_run
    again = train(recipe, seed=5, steps=3, check_every=3)
    assert all(np.array_equal(t, weights.tensors[n]) for n, t in again.tensors.items())
    assert again.checks == weights.checks


def test_only_gan_has_a_discriminator_and_its_losses_are_kept(other_run, short_run) -> None:
    recipe, weights = other_run
    kept = [loss for check in weights.checks for loss in check.discriminator.values()]
    assert bool(kept) == (recipe.family.name == "gan")
    assert all(0.0 < loss < 1.5 for loss in kept)
    assert not any(check.discriminator for check in short_run[0].checks)


def test_the_discriminator_moves_the_generators_weights() -> None:
    gan = find_recipe("gan")
    blind = with_objective(gan, adversarial_share=0.0)
    seen, unseen = (train(r, seed=2, steps=2, check_every=2).tensors for r in (gan, blind))
    assert any(not np.array_equal(t, unseen[n]) for n, t in seen.items())


@pytest.mark.parametrize("family", ["resnet", "gan"])
def test_networks_of_unequal_widths_are_evaluated_at_every_depth(family, monkeypatch) -> None:
    smaller = {"_SAMPLES": 128, "_DIFFERENCES": 4, "_FRAME_BLOCKS": 256}
    smaller |= {"_TRAINING_FRAMES": 1, "_TRAINING_BLOCKS": 128, "_TEST_FRAMES": 1}
    for name, value in smaller.items():
        monkeypatch.setattr(evaluate_module, name, value)
    network = build_network(family, find_recipe(family).initial(np.random.default_rng(2)))
    for depth in range(1, len(network.layers) + 1):
        found = evaluate(network, depth, seed=4)
        assert (found.avalanche_material > 0.3) == (depth == 1)


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
