from __future__ import annotations

import logging
import subprocess
import sys

import numpy as np
import pytest

from shared.errors import BadInput, DeviceUnavailable, SelfTestFailed
from shared.keystream import backend as backend_module
from shared.keystream.backend import device_of, measure_backend, open_backend
from shared.keystream.reference import ReferenceBackend

KEY = bytes(32)


class Fake:
    """The reference under another name, with a speed that the test decides."""

    def __init__(self, network, name: str, speed: float) -> None:
        self.name, self.speed = name, speed
        self.keyed = ReferenceBackend(network).keyed


@pytest.fixture
def devices(monkeypatch):
    """Let each device give a speed or raise an error; return the order of opening."""

    def install(outcomes: dict[str, float | Exception]) -> list[str]:
        opened: list[str] = []

        def fake_open(network, device, answers):
            opened.append(device)
            outcome = outcomes[device]
            if isinstance(outcome, Exception):
                raise outcome
            return Fake(network, f"fake-{device}", outcome)

        monkeypatch.setattr(backend_module, "_open", fake_open)
        monkeypatch.setattr(backend_module, "measure_backend", lambda backend: backend.speed)
        return opened

    return install


ABSENT = DeviceUnavailable("none here")


def test_auto_takes_the_fastest_and_says_what_it_measured(make_network, devices, caplog) -> None:
    opened = devices({"cpu": 480.2, "cuda": 95.0, "triton": ABSENT, "onnx": 700.0})
    with caplog.at_level(logging.INFO, logger=backend_module.__name__):
        assert open_backend(make_network(1)).name == "fake-onnx"
    assert opened == ["cpu", "cuda", "triton", "onnx"]
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (
            logging.INFO,
            "keystream: fake-cpu 480 MB/s, fake-cuda 95 MB/s, fake-onnx 700 MB/s; using fake-onnx",
        )
    ]


def test_auto_leaves_out_a_device_that_fails_its_self_test_with_a_warning(
    make_network, devices, caplog
) -> None:
    wrong = SelfTestFailed("does not give the known answers")
    devices({"cpu": 10.0, "cuda": wrong, "triton": ABSENT, "onnx": ABSENT})
    with caplog.at_level(logging.INFO, logger=backend_module.__name__):
        assert open_backend(make_network(1)).name == "fake-cpu"
    warning, choice = caplog.records
    assert warning.levelno == logging.WARNING
    assert "cuda" in warning.getMessage() and str(wrong) in warning.getMessage()
    assert choice.getMessage() == "keystream: fake-cpu 10 MB/s; using fake-cpu"


def test_auto_leaves_out_a_device_that_breaks_while_it_is_measured(
    make_network, devices, caplog, monkeypatch
) -> None:
    devices({"cpu": 10.0, "cuda": 90.0, "triton": ABSENT, "onnx": ABSENT})

    def measure(backend: Fake) -> float:
        if backend.name == "fake-cuda":
            raise RuntimeError("CUDA out of memory\nwith a long trace")
        return backend.speed

    monkeypatch.setattr(backend_module, "measure_backend", measure)
    with caplog.at_level(logging.INFO, logger=backend_module.__name__):
        assert open_backend(make_network(1)).name == "fake-cpu"
    warning, choice = caplog.records
    assert warning.levelno == logging.WARNING
    assert "cuda" in warning.getMessage() and "CUDA out of memory" in warning.getMessage()
    assert "with a long trace" not in warning.getMessage()
    assert choice.getMessage() == "keystream: fake-cpu 10 MB/s; using fake-cpu"


def test_the_device_that_a_backend_stands_for_is_known(make_network) -> None:
    assert device_of(open_backend(make_network(1), "cpu")) == "cpu"


def test_auto_without_any_device_ends_with_the_processors_error(make_network, devices) -> None:
    wrong = SelfTestFailed("wrong on the processor")
    devices({"cpu": wrong, "cuda": ABSENT, "triton": ABSENT, "onnx": ABSENT})
    with pytest.raises(SelfTestFailed, match="on the processor"):
        open_backend(make_network(1))


def test_a_named_device_does_not_fall_back(make_network, devices) -> None:
    opened = devices({"cpu": 1.0, "cuda": ABSENT, "triton": 1.0, "onnx": 1.0})
    with pytest.raises(DeviceUnavailable):
        open_backend(make_network(1), "cuda")
    assert opened == ["cuda"]


def test_an_unknown_device_is_bad_input(make_network) -> None:
    with pytest.raises(BadInput, match="no device"):
        open_backend(make_network(1), "tpu")


def test_the_processor_opens_and_gives_the_bytes_of_the_reference(make_network) -> None:
    network = make_network(1)
    backend = open_backend(network, "cpu")
    assert backend.name == "torch-cpu"
    output = backend.keyed(KEY).generate(1, 777)
    assert np.array_equal(output, ReferenceBackend(network).keyed(KEY).generate(1, 777))


def test_auto_really_opens_something_right(make_network) -> None:
    network = make_network(3)
    output = open_backend(network).keyed(KEY).generate(1, 777)
    assert np.array_equal(output, ReferenceBackend(network).keyed(KEY).generate(1, 777))


class Wrong(ReferenceBackend):
    def keyed(self, keystream_key: bytes):
        return super().keyed(keystream_key[::-1])


class Broken(ReferenceBackend):
    def keyed(self, keystream_key: bytes):
        raise RuntimeError("driver error 700\nwith a long trace")


@pytest.mark.parametrize(
    ("broken", "message"), [(Wrong, "known answers"), (Broken, r"RuntimeError: driver error 700\)")]
)
def test_a_backend_that_errs_or_breaks_is_not_opened(
    make_network, monkeypatch, broken, message
) -> None:
    monkeypatch.setattr("shared.keystream.torch_cpu.TorchCpuBackend", broken)
    with pytest.raises(SelfTestFailed, match=message):
        open_backend(make_network(1), "cpu")


class Counting:
    """A generator that takes `round_ns` a call by the clock that it moves itself."""

    name = "counting"
    block_nbytes = 128

    def __init__(self, round_ns: int) -> None:
        self.round_ns, self.now, self.calls = round_ns, 0, 0

    def keyed(self, keystream_key: bytes):
        return self

    def generate(self, counter: int, nbytes: int, first_block: int = 0):
        self.calls += 1
        # The first call warms up and one round is disturbed: neither may count.
        self.now += self.round_ns * (50 if self.calls in (1, 3) else 1)
        return np.zeros(nbytes, dtype=np.uint8)


def test_speed_is_the_median_of_a_few_rounds(monkeypatch) -> None:
    backend = Counting(round_ns=100_000)
    monkeypatch.setattr(backend_module.time, "perf_counter_ns", lambda: backend.now)
    assert measure_backend(backend) == pytest.approx((256 << 10) / 100_000 * 1e3)


def test_a_slow_backend_is_not_measured_for_long(monkeypatch) -> None:
    backend = Counting(round_ns=20_000_000)
    monkeypatch.setattr(backend_module.time, "perf_counter_ns", lambda: backend.now)
    measure_backend(backend)
    assert backend.calls == 2


def test_nothing_of_a_backend_is_imported_before_it_is_asked_for() -> None:
    names = "torch, onnx, onnxruntime, triton"
    code = (
        "import sys; import shared.keystream.backend; "
        f"print([name for name in '{names}'.split(', ') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
