"""How fast keystream is XORed onto frames that lie in a GPU's memory, beside what its bus allows.

Timed by the device's own events over many calls in a row, whole calls as a program makes them: for
a small frame the host, which prepares each, is the slower one, and the figure is its pace.  The
rivals in the same turns are torch's copy of a frame and its XOR of two, which compute nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Protocol

import torch

from lab.bench.keystream_results import COPY, XOR
from lab.bench.timing import Spread
from shared.keystream.cuda_device import device_seconds

__all__ = ["DEVICE_SIZES", "InPlace", "fitting_sizes", "time_in_place"]

DEVICE_SIZES = (640 * 480, 1280 * 720 * 3, 1920 * 1080 * 3, 64 << 20, 256 << 20, 1 << 30)
_CALLS_NBYTES = 1 << 30  # in a timing: hides the first call's wait for the host
_CALLS = (4, 64)  # at least and at most
_FRAMES = 4  # of the largest size in memory at once: two, and what a backend needs for its own


class InPlace(Protocol):
    """A generator that can reach a GPU's memory."""

    def xor_into(self, data: torch.Tensor, counter: int, first_block: int = 0) -> None: ...


def fitting_sizes(free_nbytes: int, sizes: Sequence[int] = DEVICE_SIZES) -> tuple[int, ...]:
    """Return those sizes for which a device with so much free memory has room."""
    return tuple(nbytes for nbytes in sizes if _FRAMES * nbytes <= free_nbytes)


def time_in_place(
    generators: Mapping[str, InPlace], device: torch.device, nbytes: int, rounds: int
) -> dict[str, Spread]:
    """Return what a frame of `nbytes` takes each generator and both rivals, in turns."""
    data = torch.zeros(nbytes, dtype=torch.uint8, device=device)
    other = torch.ones_like(data)
    ways: dict[str, Callable[[], object]] = {
        name: _onto(generator, data) for name, generator in generators.items()
    }
    ways[COPY] = lambda: data.copy_(other)
    ways[XOR] = lambda: data.bitwise_xor_(other)
    calls = min(max(_CALLS_NBYTES // nbytes, _CALLS[0]), _CALLS[1])
    times: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(rounds):
        for name, way in ways.items():
            times[name].append(device_seconds(way, device, calls))
    return {name: Spread.of(found) for name, found in times.items()}


def _onto(generator: InPlace, data: torch.Tensor) -> Callable[[], object]:
    counters = count()
    return lambda: generator.xor_into(data, next(counters))
