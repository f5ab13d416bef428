"""Timing several ways of doing a thing in turns, so that the machine's moods fall on all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Spread", "take_turns"]


@dataclass(frozen=True, slots=True)
class Spread:
    """What `count` timings came to, in seconds."""

    count: int
    median_s: float
    p95_s: float

    @classmethod
    def of(cls, times_s: Sequence[float]) -> Spread:
        """Of at least one timing; p95 is the nearest rank."""
        ordered = sorted(times_s)
        rank = -(-95 * len(ordered) // 100)
        return cls(len(ordered), statistics.median(ordered), ordered[rank - 1])


def take_turns(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Spread]:
    """Time each of `ways` once in each of `rounds` rounds, after one uncounted."""
    for way in ways.values():
        way()
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - start)
    return {name: Spread.of(found) for name, found in times.items()}
