from __future__ import annotations

import numpy as np
import torch

from lab.surrogate import (
    SurrogateLayer,
    bits_to_bytes,
    bytes_to_bits,
    exact_layers,
    round_weight,
    run,
    window,
)
from shared.keystream.material import key_biases
from shared.keystream.network import load_network
from shared.keystream.reference import run_layers


def test_forward_gives_the_bytes_of_the_reference() -> None:
    network = load_network("bp")
    biases = key_biases(network, bytes(range(32)))
    inputs = np.random.default_rng(0).integers(0, 256, (200, network.lanes), dtype=np.uint8)
    bits = run(
        exact_layers(network.layers),
        [torch.from_numpy(b).float() for b in biases],
        torch.from_numpy(inputs).float(),
    )
    found = bits_to_bytes(bits).numpy()
    assert np.array_equal(found, run_layers(network, biases, inputs).astype(np.float32))


def test_bits_are_signs_least_significant_first() -> None:
    bits = bytes_to_bits(torch.tensor([0.0, 1.0, 130.0]))
    assert bits.tolist() == [[1.0] * 8, [-1.0] + [1.0] * 7, [1, -1, 1, 1, 1, 1, 1, -1]]
    values = torch.arange(256.0)
    assert torch.equal(bits_to_bytes(bytes_to_bits(values)), values)


def test_rounding_keeps_parity_and_range_and_passes_gradients() -> None:
    weight = torch.tensor([0.9, 0.9, -70.0, -70.0, 70.0, 70.0, 10.0], requires_grad=True)
    parity = torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0])
    rounded = round_weight(weight, parity)
    assert rounded.tolist()[:6] == [0.0, 1.0, -64.0, -63.0, 62.0, 63.0]
    assert rounded[6] in (9.0, 11.0)
    rounded.sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [1.0] * 7


def test_gradients_reach_every_weight_through_all_layers() -> None:
    torch.manual_seed(1)
    layers = [
        SurrogateLayer(
            torch.randint(-64, 64, (32, 32)).float().requires_grad_(), torch.zeros(32), add
        )
        for add in (None, None, 0)
    ]
    bits = run(layers, [torch.zeros(32)] * 3, torch.randint(0, 256, (64, 32)).float())
    (bits * torch.randn(bits.shape)).sum().backward()
    for layer in layers:
        assert layer.weight.grad is not None
        assert layer.weight.grad.count_nonzero() > 1000


def test_a_window_leaves_out_sums_from_before_it() -> None:
    weight, bias = torch.zeros(2, 2), torch.zeros(2)
    layers = [SurrogateLayer(weight, bias, add) for add in (None, 1, 0, 2)]
    assert [layer.add_from for layer in window(layers, 1, 4)] == [0, None, 1]
    assert [layer.add_from for layer in window(layers, 0, 2)] == [None, 1]
