from __future__ import annotations

import pytest
import torch

from lab import experiments
from lab.experiments import KINDS, differences_of, draw_differences, frame_of
from lab.surrogate import SurrogateLayer

LAYERS = (SurrogateLayer(torch.zeros(128, 128), torch.zeros(128), 0),)


@pytest.fixture
def seen(monkeypatch):
    """What the layers would be run on."""
    calls = []

    def run(layers, keys, inputs):
        calls.append((inputs.to(torch.int64), keys[0].to(torch.int64)))
        return torch.ones(len(inputs), 128, 8)

    monkeypatch.setattr(experiments, "run", run)
    return calls


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def bits_set(values: torch.Tensor) -> torch.Tensor:
    return torch.stack([(values >> i) & 1 for i in range(16)]).sum(dim=(0, 2))


@pytest.mark.parametrize("kind", KINDS)
def test_each_difference_is_one_bit_of_its_kind(seen, kind) -> None:
    places = draw_differences(kind, 10, LAYERS, rng())
    assert len(set(places.places)) == 10
    differences_of(LAYERS, places, 6, rng())
    inputs, keys = seen[0]
    inputs, keys = inputs.view(11, 6, 128), keys.view(11, 6, 128)
    flipped_inputs = (inputs[1:] ^ inputs[0]).view(60, 128)
    flipped_keys = (keys[1:] ^ keys[0]).view(60, 128)
    changed, still = (
        (flipped_keys, flipped_inputs) if kind == "key" else (flipped_inputs, flipped_keys)
    )
    assert bits_set(changed).tolist() == [1] * 60
    assert still.count_nonzero() == 0
    lanes = {lane for lane, _ in places.places}
    assert {"material": max(lanes) < 120, "counter": lanes == {126, 127}, "key": True}[kind]


def test_differences_in_a_key_reach_every_lane_that_the_first_layer_gives() -> None:
    widening = (SurrogateLayer(torch.zeros(256, 128), torch.zeros(256)), *LAYERS)
    drawn = draw_differences("key", 256 * 15, widening, rng())
    assert {lane for lane, _ in drawn.places} == set(range(256))
    assert {bit for _, bit in drawn.places} == set(range(15))
    narrowing = (SurrogateLayer(torch.zeros(64, 128), torch.zeros(64)),)
    assert len(draw_differences("key", 10**6, narrowing, rng()).places) == 64 * 15


def test_upper_counter_lanes_are_zero_unless_the_layers_are_inner_ones(seen) -> None:
    places = draw_differences("material", 2, LAYERS, rng())
    differences_of(LAYERS, places, 50, rng())
    differences_of(LAYERS, places, 50, rng(), inner=True)
    assert seen[0][0][:, 120:126].count_nonzero() == 0
    assert seen[1][0][:, 120:126].count_nonzero() > 0


def test_a_frame_has_consecutive_counters_and_all_else_the_same(seen) -> None:
    frame_of(LAYERS, 600, rng())
    inputs, _ = seen[0]
    counters = inputs[:, 126] * 256 + inputs[:, 127]
    assert (counters[1:] - counters[:-1] == 1).all()
    assert (inputs[:, :126] == inputs[0, :126]).all()
    assert inputs[:, 120:126].count_nonzero() == 0
