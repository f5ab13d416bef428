"""What computes a keystream network, and which implementation a device gets.

A backend is opened for one network, proves itself against known answers, and then makes bytes
for any key.  To add one: write its file, and name its class here under the device it runs on.
Nothing of a backend is imported before it is asked for.
"""

from __future__ import annotations

import importlib
import logging
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

from shared.errors import BadInput, DeviceUnavailable, SelfTestFailed
from shared.keystream.network import KeystreamNetwork
from shared.keystream.selftest import Backend, KeyedGenerator, KnownAnswers

__all__ = [
    "DEVICES",
    "Backend",
    "KeyedGenerator",
    "device_of",
    "measure_backend",
    "open_backend",
]

_LOG = logging.getLogger(__name__)

# Device -> module and class of its backend.
_BACKENDS = {
    "cpu": ("shared.keystream.torch_cpu", "TorchCpuBackend"),
    "cuda": ("shared.keystream.torch_cuda", "TorchCudaBackend"),
    "triton": ("shared.keystream.triton_backend", "TritonBackend"),
    "onnx": ("shared.keystream.onnx_backend", "OnnxBackend"),
}
DEVICES = ("auto", *_BACKENDS)

_MEASURED_NBYTES = 256 << 10  # a lossless 640 x 480 picture, or a large JPEG
_MEASURED_ROUNDS = 5
_MEASURED_NS = 10_000_000  # a slow backend gets fewer rounds: the choice is clear by then


def open_backend(network: KeystreamNetwork, device: str = "auto") -> Backend:
    """Return a backend for `network` on `device` that has passed its self-test.

    `auto` opens every device that is there, measures each that passes, takes the fastest, and
    logs in one line what it found; a device that fails in any of it is left out, with a warning.
    A named device never falls back: `DeviceUnavailable`, `SelfTestFailed`.  `BadInput` for an
    unknown device.  Blocks: for seconds when torch is first imported, else for a fraction of one.
    """
    if device not in DEVICES:
        raise BadInput(f"there is no device {device!r}", hint=f"choose from {', '.join(DEVICES)}")
    answers = KnownAnswers.of(network)
    if device != "auto":
        return _open(network, device, answers)
    return _open_fastest(network, answers)


def _open(network: KeystreamNetwork, device: str, answers: KnownAnswers) -> Backend:
    module, class_name = _BACKENDS[device]
    with _guarded(device):
        backend: Backend = getattr(importlib.import_module(module), class_name)(network)
        answers.check(backend)
    return backend


@contextmanager
def _guarded(device: str) -> Iterator[None]:
    """Make a `SelfTestFailed` of whatever a driver, a compiler or an optional package raises."""
    try:
        yield
    except (DeviceUnavailable, SelfTestFailed):
        raise
    except Exception as error:
        cause = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise SelfTestFailed(
            f"the keystream on {device} ended in an error ({cause})",
            hint="use --device auto or --device cpu",
        ) from error


def _open_fastest(network: KeystreamNetwork, answers: KnownAnswers) -> Backend:
    speeds: dict[Backend, float] = {}
    unavailable: list[DeviceUnavailable | SelfTestFailed] = []
    for device in _BACKENDS:
        try:
            backend = _open(network, device, answers)
            with _guarded(device):
                speeds[backend] = measure_backend(backend)
        except DeviceUnavailable as error:
            _LOG.debug("keystream does not run on %s: %s", device, error)
            unavailable.append(error)
        except SelfTestFailed as error:
            _LOG.warning("keystream: %s is left out: %s", device, error)
            unavailable.append(error)
    if not speeds:
        raise unavailable[0]
    fastest = max(speeds, key=speeds.__getitem__)
    measured = ", ".join(f"{backend.name} {speed:.0f} MB/s" for backend, speed in speeds.items())
    _LOG.info("keystream: %s; using %s", measured, fastest.name)
    return fastest


def device_of(backend: Backend) -> str:
    """Return the device of a backend that was opened here, such as the one that `auto` took."""
    return next(d for d, (_, name) in _BACKENDS.items() if name == type(backend).__name__)


def measure_backend(backend: Backend) -> float:
    """Return how many MB/s a frame's worth comes to, as the median of a few milliseconds.

    The bytes end on the host, where live frames are, so a GPU's transfers count.
    """
    generator = backend.keyed(bytes(32))
    generator.generate(0, _MEASURED_NBYTES)
    times: list[int] = []
    while len(times) < _MEASURED_ROUNDS and sum(times) < _MEASURED_NS:
        start = time.perf_counter_ns()
        generator.generate(1 + len(times), _MEASURED_NBYTES)
        times.append(time.perf_counter_ns() - start)
    return _MEASURED_NBYTES * 1e3 / max(statistics.median(times), 1)
