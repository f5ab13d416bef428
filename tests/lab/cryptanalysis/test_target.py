from __future__ import annotations

import numpy as np
import pytest

from lab.cryptanalysis.target import Target, TargetFrame, draw_layers, random_like
from shared.errors import BadInput
from shared.keystream.material import block_counters, frame_material, key_biases
from shared.keystream.network import KeystreamNetwork
from shared.keystream.reference import ReferenceBackend

KEY = bytes(range(32))


@pytest.fixture(scope="module")
def network() -> KeystreamNetwork:
    return KeystreamNetwork("test", draw_layers([128, 64, 128, 128], np.random.default_rng(1)))


def test_a_whole_network_is_computed_as_the_reference_does(network):
    target = Target.of("test", network)
    key, material = key_biases(network, KEY), frame_material(network, KEY, 5)
    blocks = TargetFrame(target, key, material).blocks(300, 4)
    expected = ReferenceBackend(network).keyed(KEY).generate(5, 4 * 128, first_block=300)
    assert np.array_equal(blocks.reshape(-1), expected)


def test_a_key_a_row_is_the_same_as_each_key_alone(network):
    target, rng = Target.of("test", network), np.random.default_rng(2)
    keys = target.draw_key(rng, 3)
    inputs = rng.integers(256, size=(3, 128), dtype=np.uint8)
    together = target.run(keys, inputs)
    for i in range(3):
        alone = target.run(tuple(bias[i] for bias in keys), inputs[i : i + 1])
        assert np.array_equal(together[i], alone[0])


def test_a_cut_off_network_adds_the_input_only_where_it_fits(network):
    target = Target.of("test", network)
    assert not target.cut(1).adds_input and target.cut(1).lanes_out == 64
    assert target.cut(2).adds_input and target.cut(3).adds_input


def test_a_depth_that_a_network_does_not_have_is_refused(network):
    for depth in (0, 4):
        with pytest.raises(BadInput):
            Target.of("test", network).cut(depth)


def test_without_the_fold_a_network_is_affine_over_z_256(network):
    target, rng = Target.of("test", network).affine(), np.random.default_rng(3)
    key = target.draw_key(rng)
    x, a, b = rng.integers(256, size=(3, 16, 128), dtype=np.uint8)
    run = lambda inputs: target.run(key, inputs)  # noqa: E731
    assert not (run(x + a + b) - run(x + a) - run(x + b) + run(x)).any()


def test_the_untrained_control_keeps_the_shape_and_a_sparse_matrix_s_zeros():
    rng = np.random.default_rng(4)
    (layer,) = draw_layers([128, 128], rng)
    layer.weight[:, ::2] = 0
    control = random_like(Target("sparse", (layer,)), rng)
    assert not control.layers[0].weight[:, ::2].any()
    assert control.layers[0].weight[:, 1::2].any()


def test_block_counters_enter_most_significant_byte_first(network):
    frame = TargetFrame.draw(Target.of("test", network), np.random.default_rng(5))
    assert np.array_equal(frame.blocks(258, 1), frame.at(block_counters(258, 1)))
    assert block_counters(258, 1).tolist() == [[0, 0, 0, 0, 0, 0, 1, 2]]
