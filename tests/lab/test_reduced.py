from __future__ import annotations

import numpy as np
import pytest

from lab.cryptanalysis.target import Target
from lab.reduced import reduced, whole_block_depths
from shared.errors import BadInput
from shared.keystream.network import load_network
from shared.keystream.reference import ReferenceBackend
from shared.keystream.torch_cpu import TorchCpuBackend

KEY = bytes(range(32))


@pytest.mark.parametrize(
    ("family", "depths"),
    [("bp", (2, 3)), ("cnn", (1, 2, 3, 4)), ("resnet", (1, 3, 4)), ("gan", (2, 3))],
)
def test_a_network_can_be_cut_where_it_is_as_wide_as_a_block(family, depths) -> None:
    network = load_network(family)
    assert whole_block_depths(network) == depths
    for depth in depths:
        cut = reduced(network, depth)
        assert len(cut.layers) == depth
        assert cut.layers[-1].add_from == 0


@pytest.mark.parametrize(("family", "depth"), [("bp", 2), ("cnn", 2), ("resnet", 3)])
def test_a_cut_network_gives_the_blocks_of_its_layers_and_adds_the_input(family, depth) -> None:
    cut = reduced(load_network(family), depth)
    generated = TorchCpuBackend(cut).keyed(KEY).generate(5, 1000)
    assert np.array_equal(generated, ReferenceBackend(cut).keyed(KEY).generate(5, 1000))
    target = Target.of(family, load_network(family)).cut(depth)
    assert all(a.add_from == b.add_from for a, b in zip(target.layers, cut.layers, strict=True))


def test_a_whole_network_is_itself_and_a_cut_one_another() -> None:
    network = load_network("bp")
    assert reduced(network, 3) is network
    assert reduced(network, 2).digest != network.digest


@pytest.mark.parametrize("depth", [0, 1, 4])
def test_what_gives_no_whole_block_is_refused_with_what_does(depth) -> None:
    with pytest.raises(BadInput) as refused:
        reduced(load_network("bp"), depth)
    assert refused.value.hint == "it does after 2, 3"
