from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from shared.errors import DeviceUnavailable, SelfTestFailed
from shared.keystream import triton_backend
from shared.keystream.network import load_network, shipped_families
from shared.keystream.reference import ReferenceBackend
from shared.keystream.selftest import KnownAnswers
from shared.keystream.triton_backend import TritonBackend

KEY = bytes(range(32))

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture
def interpreted(monkeypatch):
    """The kernel in Triton's interpreter, on tensors of the CPU."""
    pytest.importorskip("triton")
    from triton.runtime.interpreter import InterpretedFunction

    kernel = InterpretedFunction(triton_backend.find_kernel().fn)
    monkeypatch.setattr(triton_backend, "find_kernel", lambda: kernel)
    monkeypatch.setattr(triton_backend, "find_cuda", lambda: torch.device("cpu"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_cuda_device_the_backend_says_so(make_network) -> None:
    with pytest.raises(DeviceUnavailable, match="CUDA"):
        TritonBackend(make_network(1))


def test_without_triton_the_backend_says_so(make_network, monkeypatch) -> None:
    monkeypatch.setattr(triton_backend, "find_cuda", lambda: torch.device("cpu"))
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "shared.keystream.triton_kernel", raising=False)
    with pytest.raises(DeviceUnavailable, match="triton is not installed"):
        TritonBackend(make_network(1))


@pytest.mark.parametrize("widths", [(128, 512, 128), (256, 256, 256, 256)])
def test_a_network_too_wide_for_the_kernel_is_refused(make_network, interpreted, widths) -> None:
    with pytest.raises(DeviceUnavailable, match="too wide"):
        TritonBackend(make_network(1, widths))


@pytest.mark.parametrize("warps", sorted({plan.warps for plan in triton_backend._PLANS}))
def test_programs_take_their_tiles_in_turn(make_network, interpreted, warps) -> None:
    """Five tiles and a piece of a block, by one program and by as many as there are tiles."""
    network = make_network(3, (64, 64, 64))
    nbytes = 64 * (5 * 16 * warps - 3) + 11
    expected = ReferenceBackend(network).keyed(KEY).generate(2**60, nbytes, 2**32 - 100)
    for programs in (1, 2, 99):
        backend = TritonBackend(network)
        backend.plan = triton_backend.Plan(warps, programs)
        output = backend.keyed(KEY).generate(2**60, nbytes, 2**32 - 100)
        assert np.array_equal(output, expected)


def test_the_plan_that_takes_least_is_kept_and_one_that_does_not_run_is_left_out(
    make_network, interpreted, monkeypatch
) -> None:
    plans = triton_backend._PLANS
    seconds = {plan: 5.0 - number for number, plan in enumerate(plans)}  # the last is the fastest
    backend = TritonBackend(make_network(1))

    def launch(generator, data, frame, first_block) -> None:
        if backend.plan == plans[-1]:
            raise RuntimeError("out of shared memory")

    monkeypatch.setattr(triton_backend.TritonGenerator, "launch", launch)
    monkeypatch.setattr(
        triton_backend, "device_seconds", lambda run, device, calls: seconds[backend.plan]
    )
    assert backend._fastest() == plans[-2]


@pytest.mark.parametrize("adds", [{2: 1}, {2: 0}, {1: 0, 3: 2}])
def test_a_layer_may_add_any_earlier_activation(make_network, interpreted, adds) -> None:
    network = make_network(4, (64, 64, 64, 64, 64), adds)
    expected = ReferenceBackend(network).keyed(KEY).generate(5, 64 * 20, 2**64 - 20)
    output = TritonBackend(network).keyed(KEY).generate(5, 64 * 20, 2**64 - 20)
    assert np.array_equal(output, expected)


def test_the_weights_of_two_constants_add_any_bias() -> None:
    biases = np.arange(-(2**17), 2**17)
    weights = triton_backend._addends(biases).astype(np.int64)
    assert np.array_equal((weights[:, 8] - 128 * weights[:, 9]) & 0x7FFF, biases & 0x7FFF)
    assert not weights[:, :8].any() and not weights[:, 10:].any()


def test_the_interpreted_kernel_passes_the_self_test(make_network, interpreted) -> None:
    network = make_network(3, (32, 32))
    KnownAnswers.of(network).check(TritonBackend(network))


def test_a_saturating_product_does_not_pass_the_self_test(
    make_network, interpreted, monkeypatch
) -> None:
    real = triton_backend.held_biases
    monkeypatch.setattr(
        triton_backend, "held_biases", lambda *args: [bias.clip(-(2**15)) for bias in real(*args)]
    )
    network = make_network(3, (32, 32))
    with pytest.raises(SelfTestFailed, match="triton"):
        KnownAnswers.of(network).check(TritonBackend(network))


@pytest.mark.parametrize(("architecture", "family"), [(80, "bp"), (90, "gan"), (90, "resnet")])
def test_the_kernel_compiles_for_gpus_without_one(
    interpreted, monkeypatch, tmp_path, family, architecture
) -> None:
    """Into machine code; the interpreter lets through what the compiler refuses."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from shared.keystream.triton_kernel import xor_keystream

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    backend = TritonBackend(load_network(family))
    calls = []

    class Kernel:
        def __getitem__(self, grid):
            return lambda *args, **options: calls.append((args, options))

    backend.kernel = Kernel()
    backend.keyed(KEY).xor_into(torch.zeros(128 * 64, dtype=torch.uint8), 0)
    ((args, options),) = calls
    compiling = {name: options.pop(name) for name in ("num_warps", "enable_fp_fusion")}
    kinds = {torch.uint8: "*u8", torch.int8: "*i8", torch.int32: "*i32"}
    names = xor_keystream.arg_names
    signature = {
        name: kinds[arg.dtype] if isinstance(arg, torch.Tensor) else "i32"
        for name, arg in zip(names, args, strict=False)
    }
    source = ASTSource(
        xor_keystream,
        signature=signature | dict.fromkeys(options, "constexpr"),
        constexprs=options,
        attrs={
            (names.index(name),): [["tt.divisibility", 16]]
            for name in ("data", "frame", "biases", "weights", "nbytes")
        },
    )
    target = GPUTarget("cuda", architecture, 32)
    compiled = triton.compile(source, target=target, options=compiling)
    assert compiled.asm["cubin"]
    assert compiled.metadata.shared <= 100 << 10  # what small GPUs give a program
    assert ".f32" not in compiled.asm["ptx"] and ".f16" not in compiled.asm["ptx"]
    assert "mma" in compiled.asm["ptx"]  # on the tensor cores
    if architecture == 90:
        assert "wgmma" in compiled.asm["ptx"]
        assert "shfl" not in compiled.asm["ptx"]  # sums are operands where they are


@needs_cuda
@pytest.mark.parametrize("family", shipped_families())
def test_on_cuda_the_self_test_passes(family) -> None:
    pytest.importorskip("triton")
    network = load_network(family)
    KnownAnswers.of(network).check(TritonBackend(network))


@needs_cuda
def test_on_cuda_every_plan_gives_the_same_bytes() -> None:
    pytest.importorskip("triton")
    backend = TritonBackend(load_network("bp"))
    assert backend.plan in triton_backend._PLANS
    outputs = []
    for backend.plan in triton_backend._PLANS:
        outputs.append(backend.keyed(KEY).generate(7, 3_000_001, 2**32 - 5))
    assert all(np.array_equal(output, outputs[0]) for output in outputs)


@needs_cuda
def test_on_cuda_a_frame_of_gigabytes_is_addressed_rightly() -> None:
    pytest.importorskip("triton")
    network = load_network("bp")
    generator = TritonBackend(network).keyed(KEY)
    frame = torch.zeros((5 << 30) + 1, dtype=torch.uint8, device="cuda")
    generator.xor_into(frame, 1, 2**32 - 2)
    for start in (0, (2 << 30) - 128, (4 << 30) - 128, 5 << 30):
        part = frame[start : start + 256].cpu().numpy()
        first = 2**32 - 2 + start // 128
        expected = ReferenceBackend(network).keyed(KEY).generate(1, len(part), first)
        assert np.array_equal(part, expected)
