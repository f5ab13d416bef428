"""Percentiles of latencies: exact ones of a few values, and close ones of however many.

A session may last for days, so its latencies can't all be kept.  `LatencySketch` counts them in
buckets whose bounds grow by a constant factor (DDSketch: Masson, Rim, Lee, VLDB 2019): memory is
bounded, and a percentile is off by `RELATIVE_ERROR` of itself at most.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate

from shared.telemetry.records import LatencyFigures

__all__ = ["RELATIVE_ERROR", "SMALLEST_MS", "LatencySketch", "latency_figures"]

RELATIVE_ERROR = 0.001  # 0.2 ms at 200 ms: two clocks can seldom be compared to that
SMALLEST_MS = 0.05  # what is less, either way, is one bucket
LARGEST_MS = 1e7  # nearly three hours; beyond, the last bucket

GROWTH = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_LOG_GROWTH = math.log(GROWTH)
_LAST = math.ceil(math.log(LARGEST_MS / SMALLEST_MS) / _LOG_GROWTH)


def latency_figures(latencies_ms: Sequence[float]) -> LatencyFigures:
    """Percentiles by linear interpolation between closest ranks; all None where empty."""
    if not len(latencies_ms):
        return LatencyFigures()
    values = sorted(latencies_ms)

    def percentile(share: float) -> float:
        rank = (len(values) - 1) * share
        low, high = values[math.floor(rank)], values[math.ceil(rank)]
        return low + (high - low) * (rank - math.floor(rank))

    p50, p95, p99 = percentile(0.50), percentile(0.95), percentile(0.99)
    return LatencyFigures(p50=p50, p95=p95, p99=p99, max=values[-1])


class LatencySketch:
    """Latencies in ms, counted in at most 19,115 buckets; least and greatest are kept exactly.

    One may be negative, by as much as the two clocks' comparison is off.
    """

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self._count = 0
        self._least = math.inf
        self._most = -math.inf

    def add(self, latency_ms: float) -> None:
        """Count one; anything but a number is passed over."""
        if math.isnan(latency_ms):
            return
        self._count += 1
        self._least = min(self._least, latency_ms)
        self._most = max(self._most, latency_ms)
        self._buckets[_bucket(latency_ms)] += 1

    def figures(self) -> LatencyFigures:
        """As `latency_figures` of all that was added; all but `max` within `RELATIVE_ERROR`.

        What is within `SMALLEST_MS` of nothing may be off by that much instead.
        """
        if not self._count:
            return LatencyFigures()
        buckets = sorted(self._buckets)
        reached = list(accumulate(self._buckets[bucket] for bucket in buckets))

        def percentile(share: float) -> float:
            rank = (self._count - 1) * share
            low, high = (
                self._value(buckets[bisect_right(reached, whole)])
                for whole in (math.floor(rank), math.ceil(rank))
            )
            return low + (high - low) * (rank - math.floor(rank))

        p50, p95, p99 = percentile(0.50), percentile(0.95), percentile(0.99)
        return LatencyFigures(p50=p50, p95=p95, p99=p99, max=self._most)

    def _value(self, bucket: int) -> float:
        """What stands for all values of `bucket`: as far from its lower end as from its upper."""
        size = SMALLEST_MS * GROWTH ** abs(bucket) * 2 / (1 + GROWTH) if bucket else 0.0
        return min(max(math.copysign(size, bucket), self._least), self._most)


def _bucket(latency_ms: float) -> int:
    """Number k > 0 holds what lies in (SMALLEST_MS · GROWTH^(k-1), SMALLEST_MS · GROWTH^k].

    Number -k holds what is that much less than nothing.
    """
    size = abs(latency_ms)
    if size <= SMALLEST_MS:
        return 0
    if size >= LARGEST_MS:
        number = _LAST
    else:
        number = max(1, math.ceil(math.log(size / SMALLEST_MS) / _LOG_GROWTH))
    return number if latency_ms > 0 else -number
