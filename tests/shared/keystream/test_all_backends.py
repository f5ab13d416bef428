"""Every backend gives the reference's bytes, at whatever arithmetic is likely to get wrong.

The CUDA backends run here without a GPU as well: the arithmetic of `torch-cuda` on the CPU, with
the demands that CUDA makes on a product, and the Triton kernel in Triton's interpreter.  Where
there is a GPU, both run on it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from shared.keystream import torch_cuda, triton_backend
from shared.keystream.backend import DEVICES, Backend, open_backend
from shared.keystream.network import KeystreamNetwork, load_network, shipped_families
from shared.keystream.reference import ReferenceBackend

KEY = bytes(range(32))
VECTORS = Path(__file__).parents[2] / "vectors"

Open = Callable[[KeystreamNetwork], Backend]

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def needs(*packages: str):
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")


THREADED = [
    "cpu",
    pytest.param("onnx", marks=needs("onnx", "onnxruntime")),
    "cuda on the CPU",
    pytest.param("cuda", marks=needs_cuda),
    pytest.param("triton", marks=[needs_cuda, needs("triton")]),
]
ALL = [*THREADED, pytest.param("triton interpreted", marks=needs("triton"))]


@pytest.fixture
def opener(request, monkeypatch) -> Open:
    name = request.param
    if name in DEVICES:
        return lambda network: open_backend(network, name)
    if name == "cuda on the CPU":
        product = torch._int_mm

        def as_strict_as_cuda(left, right):
            assert left.shape[0] > 16 and left.shape[1] % 8 == 0 and right.shape[1] % 8 == 0
            assert left.is_contiguous() and right.is_contiguous()
            return product(left, right)

        monkeypatch.setattr(torch, "_int_mm", as_strict_as_cuda)
        monkeypatch.setattr(torch_cuda, "find_cuda", lambda: torch.device("cpu"))
        return torch_cuda.TorchCudaBackend
    from triton.runtime.interpreter import InterpretedFunction

    kernel = InterpretedFunction(triton_backend.find_kernel().fn)
    monkeypatch.setattr(triton_backend, "find_kernel", lambda: kernel)
    monkeypatch.setattr(triton_backend, "find_cuda", lambda: torch.device("cpu"))
    return triton_backend.TritonBackend


def assert_equal(
    opener: Open, network: KeystreamNetwork, spans: list[tuple[int, int, int]], key: bytes = KEY
) -> None:
    generator = opener(network).keyed(key)
    reference = ReferenceBackend(network).keyed(key)
    assert generator.block_nbytes == network.lanes
    for counter, nbytes, first in spans:
        output = generator.generate(counter, nbytes, first)
        assert output.dtype == np.uint8 and output.shape == (nbytes,)
        assert np.array_equal(output, reference.generate(counter, nbytes, first))


@pytest.mark.parametrize("family", shipped_families())
@pytest.mark.parametrize("opener", ALL, indirect=True)
def test_odd_lengths_are_exact(opener, family) -> None:
    network = load_network(family)
    lanes = network.lanes
    lengths = (0, 1, lanes - 1, lanes, lanes + 1, 17 * lanes - 3, 65 * lanes + 7)
    assert_equal(opener, network, [(3, nbytes, 5) for nbytes in lengths])


@pytest.mark.parametrize("family", shipped_families())
@pytest.mark.parametrize("opener", ALL, indirect=True)
def test_counters_at_the_edges_of_their_bits_are_exact(opener, family) -> None:
    network = load_network(family)
    lanes = network.lanes
    edges = (0, 1, 2, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 2)
    spans = [(counter, 2 * lanes, first) for counter, first in zip(edges, edges[::-1], strict=True)]
    crossings = [(9, 3 * lanes + 1, edge - 2) for edge in (256, 2**16, 2**32, 2**63, 2**64 - 2)]
    assert_equal(opener, network, [*spans, *crossings, (2**64 - 1, 5, 2**64 - 1)])


@pytest.mark.parametrize("opener", ALL, indirect=True)
@pytest.mark.parametrize(
    ("widths", "adds"),
    [
        ((16, 16), {}),
        ((24, 40, 24), {}),
        ((64, 256, 128, 64), {}),
        ((128, 64, 128, 128), {}),
        ((128, 128, 64, 128, 128, 128), {3: 1, 4: 3}),
    ],
)
def test_layers_may_have_any_widths_and_sums(make_network, opener, widths, adds) -> None:
    lanes = widths[0]
    spans = [(1, nbytes, 2**32 - 3) for nbytes in (1, lanes, 5 * lanes + 1, 70 * lanes - 1)]
    assert_equal(opener, make_network(11, widths, adds), spans, bytes(range(100, 132)))


@pytest.mark.parametrize("family", shipped_families())
@pytest.mark.parametrize("opener", ALL, indirect=True)
def test_the_shared_vectors_are_met(opener, family) -> None:
    backend = opener(load_network(family))
    vectors = json.loads((VECTORS / f"keystream_{family}.json").read_text())
    assert vectors["cases"]
    for case in vectors["cases"]:
        generator = backend.keyed(bytes.fromhex(case["key"]))
        output = generator.generate(int(case["counter"]), case["nbytes"], int(case["first_block"]))
        assert hashlib.sha256(output.tobytes()).hexdigest() == case["sha256"], case["name"]


@pytest.mark.parametrize("opener", ALL, indirect=True)
def test_counters_outside_64_bits_are_refused(make_network, opener) -> None:
    generator = opener(make_network(1)).keyed(KEY)
    for counter, nbytes, first in ((-1, 1, 0), (2**64, 1, 0), (0, -1, 0), (0, 129, 2**64 - 1)):
        with pytest.raises(ValueError, match=r"64-bit|negative"):
            generator.generate(counter, nbytes, first)
    with pytest.raises(ValueError, match="32 bytes"):
        opener(make_network(1)).keyed(bytes(31))


@pytest.mark.parametrize("opener", ALL, indirect=True)
def test_what_was_handed_out_is_the_callers_own(make_network, opener) -> None:
    generator = opener(make_network(2)).keyed(KEY)
    first = generator.generate(1, 1000)
    kept = first.copy()
    generator.generate(2, 1000)[:] = 0
    assert np.array_equal(first, kept)
    first[:] = 0
    assert np.array_equal(generator.generate(1, 1000), kept)


@pytest.mark.parametrize("threads", [2, 8])
@pytest.mark.parametrize("opener", THREADED, indirect=True)
def test_threads_do_not_disturb_each_other(opener, threads) -> None:
    network = load_network("resnet")
    backend = opener(network)
    shared = backend.keyed(KEY)
    answers: dict[int, list[np.ndarray]] = {}
    together = threading.Barrier(threads)

    def work(i: int) -> None:
        own = backend.keyed(bytes([i]) * 32)
        together.wait()
        answers[i] = [g.generate(c, 3000 + i) for c in range(4) for g in (shared, own)]

    workers = [threading.Thread(target=work, args=(i,)) for i in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    expected = ReferenceBackend(network).keyed(KEY)
    for i in range(threads):
        own = ReferenceBackend(network).keyed(bytes([i]) * 32)
        wanted = [g.generate(c, 3000 + i) for c in range(4) for g in (expected, own)]
        assert all(map(np.array_equal, answers[i], wanted))


ON_DEVICE = [
    "cuda on the CPU",
    pytest.param("triton interpreted", marks=needs("triton")),
    pytest.param("cuda", marks=needs_cuda),
    pytest.param("triton", marks=[needs_cuda, needs("triton")]),
]


@pytest.mark.parametrize("nbytes", [0, 1, 127, 128, 129, 3 * 128, 65 * 128 + 3])
@pytest.mark.parametrize("opener", ON_DEVICE, indirect=True)
def test_a_frame_on_the_device_is_xored_in_place_and_nothing_beside_it(opener, nbytes) -> None:
    network = load_network("gan")
    backend = opener(network)
    plain = np.random.default_rng(1).integers(0, 256, nbytes + 64, dtype=np.uint8)
    memory = torch.from_numpy(plain.copy()).to(backend.device)
    backend.keyed(KEY).xor_into(memory[32 : 32 + nbytes], 2**33, 2**32 - 2)
    expected = plain.copy()
    expected[32 : 32 + nbytes] ^= (
        ReferenceBackend(network).keyed(KEY).generate(2**33, nbytes, 2**32 - 2)
    )
    assert np.array_equal(memory.cpu().numpy(), expected)


@pytest.mark.parametrize("opener", ON_DEVICE, indirect=True)
def test_a_picture_is_xored_whole_and_twice_gives_it_back(opener) -> None:
    backend = opener(load_network("bp"))
    picture = torch.arange(12 * 20 * 3, device=backend.device).to(torch.uint8).view(12, 20, 3)
    before = picture.cpu().numpy().copy()
    generator = backend.keyed(KEY)
    generator.xor_into(picture, 5)
    wrapped = picture.cpu().numpy()
    assert np.array_equal(wrapped.reshape(-1), before.reshape(-1) ^ generator.generate(5, 720))
    generator.xor_into(picture, 5)
    assert np.array_equal(picture.cpu().numpy(), before)


@pytest.mark.parametrize("opener", ON_DEVICE, indirect=True)
def test_only_contiguous_bytes_on_the_device_are_xored_in_place(make_network, opener) -> None:
    backend = opener(make_network(1))
    generator = backend.keyed(KEY)
    wrong = [
        torch.zeros(8, dtype=torch.int8, device=backend.device),
        torch.zeros((8, 8), dtype=torch.uint8, device=backend.device)[:, :4],
        torch.zeros(8, dtype=torch.uint8, device="meta"),
    ]
    for data in wrong:
        with pytest.raises(ValueError, match="contiguous uint8"):
            generator.xor_into(data, 0)
    with pytest.raises(ValueError, match="64-bit"):
        generator.xor_into(torch.zeros(129, dtype=torch.uint8, device=backend.device), 0, 2**64 - 1)
