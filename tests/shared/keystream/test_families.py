"""Every family: its shape, what it refuses, that it is not affine, and that a bit spreads."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest

from shared.errors import BadInput
from shared.keystream import reference
from shared.keystream.families import FAMILIES, find_family
from shared.keystream.families.family import LANES
from shared.keystream.layers import Layer
from shared.keystream.material import key_biases
from shared.keystream.network import (
    DEFAULT_FAMILY,
    KeystreamNetwork,
    build_network,
    load_network,
    shipped_families,
)
from shared.keystream.reference import ReferenceBackend, run_layers
from shared.keystream.selftest import KnownAnswers
from shared.keystream.torch_cpu import TorchCpuBackend

KEY = bytes(range(7, 39))
SHAPES = {
    "bp": {"layer1": (64, 128), "layer2": (128, 64), "layer3": (128, 128)},
    "cnn": {f"conv{i}": (8, 8, 8) for i in (1, 2, 3, 4)},
    "resnet": {
        "stem": (128, 128),
        "block1.in": (64, 128),
        "block1.out": (128, 64),
        "head": (128, 128),
    },
    "gan": {"widen": (256, 128), "narrow": (128, 256), "finish1": (128, 128)},
}

Tensors = dict[str, np.ndarray]


def drawn(shapes: dict[str, tuple[int, ...]], seed: int = 1) -> Tensors:
    rng = np.random.default_rng(seed)
    tensors: Tensors = {}
    for name, shape in shapes.items():
        tensors[f"{name}.weight"] = rng.integers(-64, 64, shape, dtype=np.int8)
        tensors[f"{name}.bias"] = rng.integers(-32768, 32768, shape[0], dtype=np.int32)
    return tensors


def test_four_families_are_shipped_and_the_default_is_the_dense_one() -> None:
    assert shipped_families() == ("bp", "cnn", "gan", "resnet")
    assert tuple(FAMILIES) == shipped_families()
    assert set(FAMILIES) == set(SHAPES)
    assert DEFAULT_FAMILY == "bp"
    assert load_network().family == "bp"


def test_no_two_families_have_the_same_identity() -> None:
    assert len({load_network(family).digest for family in shipped_families()}) == 4


@pytest.mark.parametrize("family", SHAPES)
def test_the_shipped_networks_have_the_shapes_of_the_page(family) -> None:
    widths = {
        "bp": [64, 128, 128],
        "cnn": [128, 128, 128, 128],
        "resnet": [128, 64, 128, 128],
        "gan": [256, 128, 128],
    }
    adds = {"resnet": [None, None, 1, 0]}.get(family, [None] * (len(widths[family]) - 1) + [0])
    layers = load_network(family).layers
    assert [layer.lanes_out for layer in layers] == widths[family]
    assert [layer.add_from for layer in layers] == adds


@pytest.mark.parametrize("family", SHAPES)
@pytest.mark.parametrize("nbytes", [0, 1, 127, 1001, 4096 * 128 + 5])
def test_the_cpu_gives_the_bytes_of_the_reference(family, nbytes) -> None:
    network = load_network(family)
    output = TorchCpuBackend(network).keyed(KEY).generate(2**63, nbytes, 2**32 - 3)
    expected = ReferenceBackend(network).keyed(KEY).generate(2**63, nbytes, 2**32 - 3)
    assert np.array_equal(output, expected)


@pytest.mark.parametrize("family", SHAPES)
def test_the_self_test_passes_on_random_weights_of_the_family(family) -> None:
    network = build_network(family, invertible(family))
    KnownAnswers.of(network).check(TorchCpuBackend(network))


def invertible(family: str) -> Tensors:
    """Random tensors that the loader takes: a random kernel may be of low rank mod 2."""
    for seed in range(200):
        tensors = drawn(SHAPES[family], seed)
        try:
            build_network(family, tensors)
        except BadInput:
            continue
        return tensors
    raise AssertionError("no random tensors of the family are taken")


def share_of_affine_bytes(network: KeystreamNetwork) -> float:
    """How many output bytes obey f(x + a + b) - f(x + a) - f(x + b) + f(x) = 0 mod 256."""
    rng = np.random.default_rng(8)
    x, a, b = rng.integers(0, 256, (3, 64, network.lanes), dtype=np.uint8)
    biases = key_biases(network, KEY)
    f = [run_layers(network, biases, inputs) for inputs in (x + a + b, x + a, x + b, x)]
    return float(np.mean(f[0] - f[1] - f[2] + f[3] == 0))


@pytest.mark.parametrize("family", SHAPES)
def test_no_family_is_affine_mod_256_and_each_would_be_without_the_fold(
    family, monkeypatch
) -> None:
    network = load_network(family)
    assert share_of_affine_bytes(network) < 0.02  # 1/256 by chance
    monkeypatch.setattr(reference, "fold", lambda accumulator: accumulator & 255)
    assert share_of_affine_bytes(network) == 1.0


@pytest.mark.parametrize("family", SHAPES)
@pytest.mark.parametrize("where", ["key", "counter", "block", "material"])
def test_one_flipped_bit_flips_half_of_every_lane(family, where) -> None:
    network = load_network(family)
    rng = np.random.default_rng(11)
    samples = 2000
    inputs = rng.integers(0, 256, (samples, LANES), dtype=np.uint8)
    inputs[:, 120:126] = 0
    biases = [rng.integers(0, 1 << 16, (samples, layer.lanes_out)) for layer in network.layers]
    base = run_layers(network, tuple(biases), inputs)
    for _ in range(4):
        reach = min(LANES - 8, network.layers[0].lanes_out)
        lane, bit = int(rng.integers(0, reach)), int(rng.integers(0, 8))
        changed, keys = inputs.copy(), list(biases)
        if where == "key":
            keys[0] = keys[0].copy()
            keys[0][:, lane] ^= 1 << bit
        else:
            place = {"counter": 127, "block": 126, "material": lane}[where]
            changed[:, place] ^= 1 << bit
        flipped = np.unpackbits(base ^ run_layers(network, tuple(keys), changed), axis=1)
        # 16,000 bits a lane: 0.5 within 5.5 standard deviations of 0.004
        assert np.abs(flipped.reshape(samples, LANES, 8).mean(axis=(0, 2)) - 0.5).max() < 0.022


@pytest.mark.parametrize("family", SHAPES)
def test_a_step_has_its_weights_at_places_of_their_own(family) -> None:
    for shape in FAMILIES[family].shapes.values():
        for step in FAMILIES[family].steps(shape):
            assert step.lanes_a_bias * step.bias_shape[0] == step.lanes_out
            if step.placement is not None:
                places = step.placement.rows * step.lanes_in + step.placement.columns
                assert len(np.unique(places)) == step.places


@pytest.mark.parametrize("family", SHAPES)
def test_the_shape_declared_as_shipped_is_that_of_the_shipped_network(family) -> None:
    declared = FAMILIES[family]
    steps = declared.steps(declared.shapes[declared.shipped])
    assert {step.name: step.weight_shape for step in steps} == SHAPES[family]
    assert [(step.lanes_out, step.lanes_in, step.add_from) for step in steps] == [
        (*layer.weight.shape, layer.add_from) for layer in load_network(family).layers
    ]


def test_any_two_convolutions_in_a_row_reach_every_lane_from_every_lane() -> None:
    layers = build_network("cnn", invertible("cnn")).layers
    reads = []
    for step, layer in zip(find_family("cnn").steps((4,)), layers, strict=True):
        read = np.zeros((LANES, LANES), dtype=np.int64)
        read[step.placement.rows, step.placement.columns] = 1
        assert (read.sum(axis=0) == 64).all()
        assert (read.sum(axis=1) == 64).all()
        assert not layer.weight[read == 0].any()
        reads.append(read)
    for first, second in pairwise(reads):
        assert (second @ first > 0).all()
        assert not (first > 0).all()


@pytest.mark.parametrize(("layer", "dilation"), [(1, 1), (2, 3)])
def test_a_convolution_is_the_sum_over_taps_and_channels(layer, dilation) -> None:
    tensors = invertible("cnn")
    kernel = tensors[f"conv{layer}.weight"].astype(int)
    weight = build_network("cnn", tensors).layers[layer - 1].weight.astype(int)
    x = np.random.default_rng(2).integers(0, 256, LANES)
    found = (weight @ x).reshape(8, 16)
    for out in range(8):
        for position in range(16):
            total = sum(
                kernel[out, channel, tap] * x[channel * 16 + (position + (tap - 4) * dilation) % 16]
                for channel in range(8)
                for tap in range(8)
            )
            assert found[out, position] == total


def test_a_channels_bias_is_that_of_all_its_positions() -> None:
    tensors = invertible("cnn")
    bias = build_network("cnn", tensors).layers[0].bias
    assert np.array_equal(bias.reshape(8, 16), np.repeat(tensors["conv1.bias"], 16).reshape(8, 16))


def test_a_residual_block_adds_what_it_read_mod_256() -> None:
    network = build_network("resnet", drawn(SHAPES["resnet"]))
    assert network.layers[2].add_from == 1
    biases = key_biases(network, KEY)
    x = np.random.default_rng(3).integers(0, 256, (50, LANES), dtype=np.uint8)
    plain = dataclasses.replace(network.layers[2], add_from=None)

    def through(*layers: Layer) -> np.ndarray:
        activation = x.astype(np.int64)
        for layer, bias in zip(layers, biases, strict=False):
            activation = reference.fold(activation @ layer.weight.T.astype(int) + layer.bias + bias)
        return activation

    summed = (through(*network.layers[:2], plain) + through(network.layers[0])) % 256
    head = network.layers[3]
    block = reference.fold(summed @ head.weight.T.astype(int) + head.bias + biases[3]) + x
    assert np.array_equal(run_layers(network, biases, x), block % 256)


def test_more_residual_blocks_each_add_the_activation_before_them() -> None:
    steps = find_family("resnet").steps((64, 256))
    assert [(step.name, step.add_from) for step in steps] == [
        ("stem", None),
        ("block1.in", None),
        ("block1.out", 1),
        ("block2.in", None),
        ("block2.out", 3),
        ("head", 0),
    ]
    shapes = {
        **SHAPES["resnet"],
        "block2.in": (256, 128),
        "block2.out": (128, 256),
    }
    network = build_network("resnet", drawn(shapes))
    output = TorchCpuBackend(network).keyed(KEY).generate(1, 5000)
    assert np.array_equal(output, ReferenceBackend(network).keyed(KEY).generate(1, 5000))


def reshaped(family: str, **shapes: tuple[int, ...] | None) -> Tensors:
    changed = {**SHAPES[family], **{name.replace("_", "."): s for name, s in shapes.items()}}
    return drawn({name: shape for name, shape in changed.items() if shape is not None})


REFUSED = {
    "one dense layer": ("bp", drawn({"layer1": (128, 128)})),
    "nine dense layers": ("bp", drawn({f"layer{i}": (128, 128) for i in range(1, 10)})),
    "a layer too narrow": ("bp", reshaped("bp", layer1=(56, 128), layer2=(128, 56))),
    "a layer too wide": ("bp", reshaped("bp", layer1=(264, 128), layer2=(128, 264))),
    "an end too narrow": ("bp", reshaped("bp", layer3=(64, 128))),
    "a gap in the numbers": ("bp", reshaped("bp", layer2=None, layer4=(128, 128))),
    "a tensor too many": ("bp", {**drawn(SHAPES["bp"]), "note": np.zeros(1, np.int8)}),
    "a bias too many": ("cnn", {**drawn(SHAPES["cnn"]), "conv5.bias": np.zeros(8, np.int32)}),
    "a kernel's bias for every lane": (
        "cnn",
        {**drawn(SHAPES["cnn"]), "conv2.bias": np.zeros(128, np.int32)},
    ),
    "a weight without its bias": (
        "gan",
        {n: t for n, t in drawn(SHAPES["gan"]).items() if n != "narrow.bias"},
    ),
    "a kernel of three taps": ("cnn", reshaped("cnn", conv2=(8, 8, 3))),
    "a kernel of four channels": ("cnn", reshaped("cnn", conv2=(4, 8, 5))),
    "a dense matrix for a kernel": ("cnn", reshaped("cnn", conv2=(8, 40))),
    "two convolutions": ("cnn", reshaped("cnn", conv3=None, conv4=None)),
    "nine convolutions": ("cnn", reshaped("cnn", **{f"conv{i}": (8, 8, 5) for i in range(5, 10)})),
    "a layer left out": ("cnn", reshaped("cnn", conv3=None)),
    "no tensors": ("cnn", {}),
    "another family's tensors": ("cnn", drawn(SHAPES["bp"])),
    "a block too narrow": ("resnet", reshaped("resnet", block1_in=(56, 128), block1_out=(128, 56))),
    "a block too wide": ("resnet", reshaped("resnet", block1_in=(264, 128), block1_out=(128, 264))),
    "a block that does not come back": ("resnet", reshaped("resnet", block1_out=(64, 64))),
    "layers that do not meet": ("resnet", reshaped("resnet", block1_out=(128, 72))),
    "a vector": ("resnet", reshaped("resnet", block1_in=(64,))),
    "no head": ("resnet", reshaped("resnet", head=None)),
    "no block": ("resnet", reshaped("resnet", block1_in=None, block1_out=None)),
    "half a block": ("resnet", reshaped("resnet", block1_in=None)),
    "a stem too narrow": ("resnet", reshaped("resnet", stem=(120, 128), block1_in=(64, 120))),
    "no widening": ("gan", reshaped("gan", widen=(128, 128), narrow=(128, 128))),
    "too wide": ("gan", reshaped("gan", widen=(520, 128), narrow=(128, 520))),
    "no narrowing": ("gan", reshaped("gan", narrow=(256, 256), finish1=(128, 256))),
    "nothing that finishes": ("gan", reshaped("gan", finish1=None)),
    "a scalar": ("gan", {**drawn(SHAPES["gan"]), "widen.weight": np.array(3, dtype=np.int8)}),
    "six layers of another name": ("gan", drawn(SHAPES["bp"])),
}


@pytest.mark.parametrize(("family", "tensors"), REFUSED.values(), ids=REFUSED.keys())
def test_tensors_that_are_not_of_the_familys_shape_are_refused(family, tensors) -> None:
    with pytest.raises(BadInput, match=rf"a {family} network\b.*") as refused:
        find_family(family).lower(tensors)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("family", SHAPES)
def test_tensors_of_other_types_or_out_of_range_are_refused(family) -> None:
    good = invertible(family)
    build_network(family, {name: tensor.copy() for name, tensor in good.items()})
    weight = next(iter(good))
    bias = weight.replace("weight", "bias")
    over = good[weight].copy()
    over.flat[0] = 64
    for part, value in (
        (weight, good[weight].astype(np.int16)),
        (weight, good[weight].astype(np.float32)),
        (weight, over),
        (weight, good[weight] * np.int8(0)),
        (weight, good[weight] | np.int8(1)),
        (bias, good[bias].astype(np.int64)),
        (bias, good[bias][:4].copy()),
        (bias, np.full_like(good[bias], 32768)),
    ):
        with pytest.raises(BadInput):
            build_network(family, {**good, part: value})
