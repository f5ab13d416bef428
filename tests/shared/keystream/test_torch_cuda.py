from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from shared.errors import DeviceUnavailable
from shared.keystream import torch_cuda
from shared.keystream.reference import ReferenceBackend
from shared.keystream.selftest import KnownAnswers
from shared.keystream.torch_cuda import TorchCudaBackend

KEY = bytes(range(32))

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture
def on_the_cpu(monkeypatch) -> None:
    monkeypatch.setattr(torch_cuda, "find_cuda", lambda: torch.device("cpu"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_cuda_device_the_backend_says_so(make_network) -> None:
    with pytest.raises(DeviceUnavailable, match="CUDA"):
        TorchCudaBackend(make_network(1))


@pytest.mark.parametrize("extra", [-1, 0, 1, 128])
def test_chunks_join_without_a_seam(make_network, monkeypatch, on_the_cpu, extra) -> None:
    monkeypatch.setattr(torch_cuda, "_CHUNK_BLOCKS", 8)
    network = make_network(2)
    backend = TorchCudaBackend(network)
    nbytes = 3 * 8 * 128 + extra
    expected = ReferenceBackend(network).keyed(KEY).generate(1, nbytes, 77)
    assert np.array_equal(backend.keyed(KEY).generate(1, nbytes, 77), expected)
    frame = torch.zeros(nbytes, dtype=torch.uint8)
    backend.keyed(KEY).xor_into(frame, 1, 77)
    assert np.array_equal(frame.numpy(), expected)


def test_no_tensor_on_the_way_is_a_float(make_network, monkeypatch, on_the_cpu) -> None:
    dtypes: set[torch.dtype] = set()

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                dtypes.add(result.dtype)
            return result

    generator = TorchCudaBackend(make_network(2)).keyed(KEY)
    with Watch():
        generator.xor_into(torch.zeros(1000, dtype=torch.uint8), 0)
    assert dtypes == {torch.uint8, torch.int8, torch.int32, torch.int64}


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.enable_grad])
def test_it_works_inside_any_autograd_mode(make_network, on_the_cpu, mode) -> None:
    generator = TorchCudaBackend(make_network(2)).keyed(KEY)
    plain = generator.generate(0, 500)
    with mode():
        frame = torch.zeros(500, dtype=torch.uint8)
        generator.xor_into(frame, 0)
        assert np.array_equal(generator.generate(0, 500), plain)
        assert np.array_equal(frame.numpy(), plain)


@needs_cuda
def test_on_cuda_the_self_test_passes_and_long_frames_overlap_their_copies_rightly(
    make_network,
) -> None:
    network = make_network(7)
    backend = TorchCudaBackend(network)
    KnownAnswers.of(network).check(backend)
    output = backend.keyed(KEY).generate(2**40, 50 * 2**20 + 1, 2**32 - 2)
    parts = [
        backend.keyed(KEY).generate(2**40, 128 * 1000, 2**32 - 2 + start)
        for start in (0, 16_384, 100_000, 400_000)
    ]
    for start, part in zip((0, 16_384, 100_000, 400_000), parts, strict=True):
        assert np.array_equal(output[128 * start :][: 128 * 1000], part)


@needs_cuda
def test_on_cuda_a_frame_is_xored_in_the_callers_stream(make_network) -> None:
    network = make_network(7)
    generator = TorchCudaBackend(network).keyed(KEY)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        frame = torch.full((3_000_000,), 7, dtype=torch.uint8, device="cuda")
        generator.xor_into(frame, 1)
        result = frame.cpu().numpy()
    assert np.array_equal(result ^ 7, generator.generate(1, 3_000_000))
