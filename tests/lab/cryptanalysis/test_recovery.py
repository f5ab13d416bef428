from __future__ import annotations

import numpy as np
import pytest

from lab.cryptanalysis.affine import share_predicted
from lab.cryptanalysis.recovery import landscape, predict_frame, recover_first_layer
from lab.cryptanalysis.target import SUM_BITS, Target, TargetFrame, draw_layers
from shared.errors import BadInput
from shared.keystream.material import block_counters

DENSE = Target("dense", draw_layers([32, 32, 32], np.random.default_rng(1)))


def frame_of(target: Target, seed: int = 2) -> TargetFrame:
    return TargetFrame.draw(target, np.random.default_rng(seed))


def counters(seed: int, count: int) -> np.ndarray:
    low = np.random.default_rng(seed).integers(1 << 24, size=count)
    return low.astype(">u8").view(np.uint8).reshape(-1, 8)


@pytest.mark.parametrize("depth", [1, 2])
def test_linear_algebra_predicts_all_of_an_affine_network(depth):
    assert share_predicted(frame_of(DENSE.affine().cut(depth)), np.random.default_rng(3)) == 1


@pytest.mark.parametrize("depth", [1, 2])
def test_linear_algebra_predicts_nothing_of_a_network_with_the_fold(depth):
    assert share_predicted(frame_of(DENSE.cut(depth)), np.random.default_rng(3)) < 0.1


@pytest.mark.parametrize("widths", [[32, 32], [32, 16]])
def test_one_layer_s_key_predicts_unseen_blocks_exactly(widths):
    target = Target("one layer", draw_layers(widths, np.random.default_rng(4)))
    frame, weight = frame_of(target), target.layers[0].weight
    known, unseen = counters(5, 24), counters(6, 2000)
    found = recover_first_layer(weight, known, frame.at(known), adds_input=target.adds_input)
    predicted = predict_frame(found, weight, unseen, adds_input=target.adds_input)
    assert np.array_equal(predicted, frame.at(unseen))


def test_one_layer_s_offset_is_the_key_bias_and_what_the_material_adds():
    target = Target("one layer", draw_layers([32, 16], np.random.default_rng(4)))
    frame, known = frame_of(target), counters(5, 40)
    weight = target.layers[0].weight.astype(np.int64)
    found = recover_first_layer(target.layers[0].weight, known, frame.at(known), adds_input=False)
    expected = (weight[:, :-8] @ frame.material + frame.key[0]) % (1 << SUM_BITS)
    sure = found.candidates == 1
    assert sure.sum() >= 14
    assert np.array_equal(found.offsets[sure], expected[sure])


def test_blocks_of_two_layers_fit_no_key_of_one():
    frame, known = frame_of(DENSE), counters(5, 24)
    with pytest.raises(BadInput):
        recover_first_layer(DENSE.layers[0].weight, known, frame.at(known), adds_input=True)


def test_one_wrong_lane_is_seen_and_many_are_not():
    target = Target("wide", draw_layers([128, 128, 128], np.random.default_rng(7)))
    left = landscape(frame_of(target), np.random.default_rng(8), wrong=(0, 1, 16), blocks=2048)
    assert left[0] == pytest.approx(1, abs=0.01)
    assert left[1] > 0.03
    assert left[16] < 0.005


def test_consecutive_blocks_from_the_first_are_enough():
    target = Target("one layer", draw_layers([32, 32], np.random.default_rng(9)))
    frame, weight = frame_of(target), target.layers[0].weight
    known = block_counters(0, 256)
    found = recover_first_layer(weight, known, frame.at(known), adds_input=True)
    low = block_counters(0, 256)
    assert np.array_equal(predict_frame(found, weight, low, adds_input=True), frame.at(low))
