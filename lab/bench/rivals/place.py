"""Where the two ends of a stream run: on the loopback address, or on both sides of `lab.netlab`."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from lab.netlab import ImpairedNetwork, Sample
from lab.netlab.line import SAMPLE_NS

__all__ = ["Impaired", "Loopback", "Place", "Side", "Wire", "rates_by_second"]


@dataclass(frozen=True, slots=True)
class Wire:
    """What crossed the network while pictures were offered; bytes are those of IP packets.

    `rates` has rows of (second, Mbit/s forward, Mbit/s backward); `flows` the forward Mbit/s of
    each flow in the same seconds.  `counters` is whatever else the network counted.
    """

    forward_bytes: int
    backward_bytes: int
    seconds: float
    rates: list[tuple[float, float, float]] = field(default_factory=list)
    flows: dict[str, list[float]] = field(default_factory=dict)
    counters: Mapping[str, Any] = field(default_factory=dict)


class Side(Protocol):
    """One side of a place.  `address` is its IP address there."""

    @property
    def address(self) -> str: ...

    def popen(self, arguments: Sequence[str], **options: Any) -> subprocess.Popen[Any]: ...


class Place(Protocol):
    """Two sides and what lies between them: pictures go from `left` to `right`."""

    @property
    def left(self) -> Side: ...

    @property
    def right(self) -> Side: ...

    def begin(self) -> None:
        """The stream begins: the schedule of the impairment starts, and counting from zero."""
        ...

    def end(self) -> Wire | None:
        """The stream has ended: what was counted since it began, None where nothing is counted."""
        ...


@dataclass(frozen=True, slots=True)
class _Here:
    address: str = "127.0.0.1"

    def popen(self, arguments: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        return subprocess.Popen(list(arguments), **options)


class Loopback:
    """Both ends on this machine's loopback address: no impairment, and nobody counts bytes."""

    left = right = _Here()

    def begin(self) -> None:
        pass

    def end(self) -> None:
        return None


@dataclass(frozen=True, slots=True)
class _End:
    """One side of an impaired network, at one of its addresses."""

    network_side: Any
    address: str

    def popen(self, arguments: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        process: subprocess.Popen[Any] = self.network_side.popen(arguments, **options)
        return process


class Impaired:
    """Both ends on an impaired network that is up; `pair` chooses among its pairs of addresses."""

    def __init__(self, network: ImpairedNetwork, pair: int = 0) -> None:
        self._network = network
        self._began_ns = 0
        self.left = _End(network.left, network.left.addresses[pair])
        self.right = _End(network.right, network.right.addresses[pair])

    def begin(self) -> None:
        self._began_ns = self._network.begin()

    def end(self) -> Wire:
        counters = self._network.counters()
        seconds = (time.monotonic_ns() - self._began_ns) / 1e9
        series = self._network.series()
        return Wire(
            counters.forward.delivered_bytes,
            counters.backward.delivered_bytes,
            seconds,
            *rates_by_second(series.forward, series.backward),
            asdict(counters),
        )


def rates_by_second(
    forward: Sequence[Sample], backward: Sequence[Sample]
) -> tuple[list[tuple[float, float, float]], dict[str, list[float]]]:
    """`rates` and `flows` of a `Wire`, over whole seconds."""
    rates = zip(_megabits(forward), _megabits(backward), strict=False)
    return [(float(at), there, back) for at, (there, back) in enumerate(rates)], _flows(forward)


def _megabits(samples: Sequence[Sample]) -> list[float]:
    """Mbit/s delivered in each whole second."""
    return [sum(s.delivered_bytes for s in second) * 8 / 1e6 for second in _seconds(samples)]


def _flows(samples: Sequence[Sample]) -> dict[str, list[float]]:
    """Mbit/s delivered in each whole second, by flow."""
    names = sorted({name for sample in samples for name in sample.flows})
    return {
        name: [
            sum(sample.flows.get(name, 0) for sample in second) * 8 / 1e6
            for second in _seconds(samples)
        ]
        for name in names
    }


def _seconds(samples: Sequence[Sample]) -> list[Sequence[Sample]]:
    each = round(1e9 / SAMPLE_NS)
    return [samples[at : at + each] for at in range(0, len(samples) - each + 1, each)]
