"""Timing several ways of doing a thing in turns, so that the machine's moods fall on all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

__all__ = ["medians_ms"]


def medians_ms(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median time in ms of each of `ways` over `rounds` rounds, after one uncounted."""
    for way in ways.values():
        way()
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            times[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(found) for name, found in times.items()}
