"""What the backends on a CUDA device share: finding it, and moving bytes between it and the host.

Transfers go through pinned memory, which torch pools, and never wait for the device unless the
host needs the bytes.  On any other device, such as the CPU in a test, they are plain copies.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from shared.errors import DeviceUnavailable

__all__ = [
    "OwnStream",
    "device_seconds",
    "find_cuda",
    "flatten_frame",
    "keep_for_stream",
    "upload",
]


def find_cuda() -> torch.device:
    """Return the current CUDA device, or raise `DeviceUnavailable`."""
    if not torch.cuda.is_available():
        raise DeviceUnavailable(
            "no CUDA device is available to PyTorch", hint="use --device auto or --device cpu"
        )
    return torch.device("cuda", torch.cuda.current_device())


def upload(host: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a copy of `host` on `device`, in the order of its current stream."""
    if device.type != "cuda":
        return host.clone()
    return host.pin_memory().to(device, non_blocking=True)


def keep_for_stream(*tensors: torch.Tensor) -> None:
    """Let nobody have the tensors' memory, should they go, before the current stream is done."""
    for tensor in tensors:
        if tensor.is_cuda:
            tensor.record_stream(torch.cuda.current_stream(tensor.device))


def device_seconds(run: Callable[[], object], device: torch.device, calls: int) -> float:
    """Return how long the device's current stream takes for a call of `run`, the mean of `calls`.

    They are put on the stream in a row, so that its waits for the host don't count unless the
    host is the slower one.  On the CPU by the clock.
    """
    if device.type != "cuda":
        started = time.perf_counter()
        for _ in range(calls):
            run()
        return (time.perf_counter() - started) / calls
    with torch.cuda.device(device):
        first = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        last = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        first.record()
        for _ in range(calls):
            run()
        last.record()
        last.synchronize()
        return float(first.elapsed_time(last)) / 1e3 / calls


class OwnStream:
    """A stream for each thread, so that a keystream waits for nobody else's work."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._local = threading.local()

    @contextmanager
    def entered(self) -> Iterator[torch.cuda.Stream | None]:
        """Make the calling thread's stream the current one; None where there are no streams."""
        if self.device.type != "cuda":
            yield None
            return
        stream: torch.cuda.Stream | None = getattr(self._local, "stream", None)
        if stream is None:
            stream = self._local.stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        with torch.cuda.device(self.device), torch.cuda.stream(stream):
            yield stream


def flatten_frame(data: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return `data` as one row of bytes in place; `ValueError` where that can't be."""
    if data.dtype != torch.uint8 or not data.is_contiguous() or data.device != device:
        raise ValueError(f"a frame to be XORed in place must be contiguous uint8 on {device}")
    return data.view(-1)
