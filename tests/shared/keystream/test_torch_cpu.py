from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from shared.keystream.layers import Layer
from shared.keystream.network import KeystreamNetwork
from shared.keystream.reference import ReferenceBackend
from shared.keystream.torch_cpu import TorchCpuBackend

KEY = bytes(range(32))

counters = st.one_of(
    st.integers(0, 2**64 - 1),
    st.sampled_from([0, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1]),
)
first_blocks = st.one_of(
    st.integers(0, 2**64 - 64), st.sampled_from([0, 255, 256, 2**32 - 3, 2**63 - 3, 2**64 - 64])
)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    widths=st.sampled_from([(128, 128), (128, 128, 128, 128), (16, 64, 16), (64, 256, 64, 64)]),
    key=st.binary(min_size=32, max_size=32),
    counter=counters,
    first=first_blocks,
    nbytes=st.integers(0, 1000),
)
def test_the_cpu_gives_the_bytes_of_the_reference(
    make_network, seed, widths, key, counter, first, nbytes
) -> None:
    network = make_network(seed, widths)
    output = TorchCpuBackend(network).keyed(key).generate(counter, nbytes, first)
    expected = ReferenceBackend(network).keyed(key).generate(counter, nbytes, first)
    assert output.dtype == np.uint8
    assert np.array_equal(output, expected)


def test_sums_of_earlier_activations_are_exact(make_network) -> None:
    network = make_network(5, (64, 64, 64, 64, 64), {2: 1, 3: 0})
    output = TorchCpuBackend(network).keyed(KEY).generate(3, 5000)
    assert np.array_equal(output, ReferenceBackend(network).keyed(KEY).generate(3, 5000))


def test_extreme_weights_at_the_greatest_width_are_exact() -> None:
    rng = np.random.default_rng(6)
    weights = [rng.choice(np.array([-64, -63, -63], dtype=np.int8), (512, 512)) for _ in range(2)]
    bias = np.full(512, -32768, dtype=np.int32)
    network = KeystreamNetwork("random", (Layer(weights[0], bias), Layer(weights[1], bias, 0)))
    output = TorchCpuBackend(network).keyed(KEY).generate(3, 20_000)
    assert np.array_equal(output, ReferenceBackend(network).keyed(KEY).generate(3, 20_000))


@pytest.mark.parametrize("first", [0, 1, 255, 256, 2**16 - 3])
@pytest.mark.parametrize(("chunk_blocks", "turns"), [(256, 3), (512, 3), (700, 3), (1024, 9)])
@pytest.mark.parametrize("extra", [-1, 0, 1, 128])
def test_turns_and_chunks_join_without_a_seam(
    make_network, monkeypatch, first, chunk_blocks, turns, extra
) -> None:
    monkeypatch.setattr(TorchCpuBackend, "chunk_blocks", chunk_blocks)
    network = make_network(2)
    nbytes = turns * 256 * 128 + extra
    output = TorchCpuBackend(network).keyed(KEY).generate(1, nbytes, first)
    assert np.array_equal(output, ReferenceBackend(network).keyed(KEY).generate(1, nbytes, first))


def test_what_was_handed_out_is_not_written_to_again(make_network) -> None:
    generator = TorchCpuBackend(make_network(2)).keyed(KEY)
    first = generator.generate(1, 1000)
    kept = first.copy()
    first_again = generator.generate(1, 1000)
    generator.generate(2, 5000)
    assert np.array_equal(first, kept)
    first_again[:] = 0
    assert np.array_equal(generator.generate(1, 1000), kept)


def test_threads_do_not_disturb_each_other(make_network) -> None:
    network = make_network(4)
    backend = TorchCpuBackend(network)
    generators = [backend.keyed(bytes([i]) * 32) for i in range(4)]
    expected = [ReferenceBackend(network).keyed(bytes([i]) * 32) for i in range(4)]
    answers: dict[int, list[np.ndarray]] = {}

    def work(i: int) -> None:
        answers[i] = [generators[i].generate(counter, 3000) for counter in range(20)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, reference in enumerate(expected):
        for counter in range(20):
            assert np.array_equal(answers[i][counter], reference.generate(counter, 3000))


def test_the_host_programs_thread_count_is_left_alone(make_network, monkeypatch) -> None:
    counts = []
    product = torch._int_mm

    def watched(*args, **kwargs):
        counts.append(torch.get_num_threads())
        return product(*args, **kwargs)

    monkeypatch.setattr(torch, "_int_mm", watched)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        TorchCpuBackend(make_network(2)).keyed(KEY).generate(0, 1000)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert set(counts) == {1}


class _Watch(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.dtypes: set[torch.dtype] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in [*args, *(kwargs or {}).values(), result]:
            if isinstance(value, torch.Tensor):
                self.dtypes.add(value.dtype)
        return result


def test_no_tensor_on_the_way_is_a_float(make_network) -> None:
    with _Watch() as watch:
        TorchCpuBackend(make_network(2)).keyed(KEY).generate(0, 100_000, 77)
    assert watch.dtypes <= {torch.int8, torch.int16, torch.int32, torch.uint8}
    assert torch.int32 in watch.dtypes


def test_generation_needs_no_gradients_and_works_inside_any_autograd_mode(make_network) -> None:
    generator = TorchCpuBackend(make_network(2)).keyed(KEY)
    plain = generator.generate(0, 500)
    with torch.inference_mode():
        assert np.array_equal(generator.generate(0, 500), plain)
    with torch.enable_grad():
        assert np.array_equal(generator.generate(0, 500), plain)
