from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.telemetry.percentiles import (
    RELATIVE_ERROR,
    SMALLEST_MS,
    LatencySketch,
    latency_figures,
)
from shared.telemetry.records import LatencyFigures


def interpolated(values: list[float], percent: float) -> float:
    """The percentile by its definition: linear between the two closest ranks."""
    ordered = sorted(values)
    rank = (len(ordered) - 1) * percent / 100
    low = int(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)


@given(st.lists(st.floats(0, 5000), min_size=1, max_size=80))
def test_percentiles_follow_their_definition(latencies: list[float]) -> None:
    figures = latency_figures(latencies)
    assert figures.p50 == pytest.approx(interpolated(latencies, 50))
    assert figures.p95 == pytest.approx(interpolated(latencies, 95))
    assert figures.p99 == pytest.approx(interpolated(latencies, 99))
    assert figures.max == max(latencies)


def sketched(latencies: list[float]) -> LatencyFigures:
    sketch = LatencySketch()
    for latency in latencies:
        sketch.add(latency)
    return sketch.figures()


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200))
def test_sketched_percentiles_are_as_close_as_they_say(latencies: list[float]) -> None:
    exact, figures = latency_figures(latencies), sketched(latencies)
    assert figures.max == max(latencies)
    ranks = sorted(latencies)
    for share in (50, 95, 99):
        found = getattr(figures, f"p{share}")
        true = getattr(exact, f"p{share}")
        rank = int((len(ranks) - 1) * share / 100)
        size = max(abs(value) for value in ranks[rank : rank + 2])  # what it lies between
        room = max(RELATIVE_ERROR * size, SMALLEST_MS)
        assert found == pytest.approx(true, abs=room * 1.0001)


def test_a_latency_below_nothing_is_as_close_as_any_other() -> None:
    figures = sketched([-4.0] * 999 + [-50.0, 10.0])
    assert figures.p50 == pytest.approx(-4.0, rel=RELATIVE_ERROR)
    assert figures.max == 10.0


def test_of_equal_latencies_every_percentile_is_that_latency() -> None:
    assert sketched([20.0] * 7) == LatencyFigures(p50=20.0, p95=20.0, p99=20.0, max=20.0)


def test_a_sketch_of_nothing_has_no_figures() -> None:
    assert sketched([]) == sketched([float("nan")]) == LatencyFigures()


def test_a_latency_beyond_all_measure_is_counted() -> None:
    figures = sketched([10.0, 1e300, float("inf")])
    assert figures.p50 is not None and figures.p50 >= 1e6


def test_a_sketch_takes_no_more_memory_however_many_it_counts() -> None:
    sketch = LatencySketch()
    latencies = [(index % 9973) * 0.37 + 0.01 for index in range(20_000)]
    for latency in latencies:
        sketch.add(latency)
    tracemalloc.start()
    try:
        for latency in latencies * 5:
            sketch.add(latency)
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < 250_000  # bytes: larger counts; 100,000 latencies as floats are 800,000
