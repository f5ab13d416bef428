from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.telemetry.charts import (
    MOST_POINTS,
    Chart,
    Mark,
    Series,
    histogram,
    stage_bars,
    time_chart,
)


def series(values: list[float], margin: float = 0.0) -> Series:
    return Series(
        [index / 30 for index in range(len(values))],
        values,
        [f"frame {index}" for index in range(len(values))],
        [margin] * len(values) if margin else (),
    )


def coordinates(chart: Chart) -> list[float]:
    root = ET.fromstring(str(chart.svg))  # noqa: S314 - drawn here
    found: list[float] = []
    for element in root.iter():
        for points in (element.get("points"),) if element.get("points") else ():
            found += [float(number) for number in re.findall(r"-?[\d.]+", points)]
    return found


@given(st.lists(st.floats(-50, 1e5), min_size=0, max_size=60))
def test_every_line_stays_inside_its_drawing(values: list[float]) -> None:
    chart = time_chart(series(values, 0.5), title="t", unit="ms", until_s=2.0)
    found = coordinates(chart)
    assert all(0 <= number <= 960 for number in found[::2])
    assert all(number <= 250 for number in found[1::2])


def test_a_long_series_is_thinned_and_its_extremes_stay_in_the_range() -> None:
    values = [20.0] * 50_000
    values[31_234] = 500.0
    chart = time_chart(series(values), title="t", unit="ms", until_s=50_000 / 30)
    assert len(chart.points) == MOST_POINTS
    heights = coordinates(chart)[1::2]
    assert min(heights) < 60  # the one slow frame reaches the top of the drawing


def test_no_line_is_drawn_across_a_long_pause() -> None:
    times = [0.0, 0.03, 0.06, 2.0, 2.03]
    chart = time_chart(Series(times, [1.0] * 5, ["x"] * 5), title="t", unit="ms", until_s=3.0)
    assert str(chart.svg).count("<polyline") == 2


def test_texts_are_escaped() -> None:
    chart = time_chart(
        series([1.0, 2.0]),
        title="<x>",
        unit="ms",
        until_s=1.0,
        marks=[Mark(0.5, '<script>"&', "epoch")],
    )
    assert "<script>" not in chart.svg
    ET.fromstring(str(chart.svg))  # noqa: S314 - drawn here


def test_a_histogram_counts_every_value_once() -> None:
    values = [float(value) for value in range(100)] + [10_000.0]
    chart = histogram(values, title="latency", unit="ms")
    counts = [int(match) for _, _, text in chart.points for match in re.findall(r"(\d+) fr", text)]
    assert sum(counts) == 101


def test_the_stages_of_a_bar_lie_end_to_end() -> None:
    chart = stage_bars([("mean", [("encode", 2.0), ("network", 6.0)])], unit="ms")
    boxes = [
        element
        for element in ET.fromstring(str(chart.svg)).iter()  # noqa: S314 - drawn here
        if (element.get("class") or "").startswith("stage-")
    ]
    first, second = boxes
    end = float(first.get("x") or 0) + float(first.get("width") or 0)
    assert float(second.get("x") or 0) == pytest.approx(end + 1, abs=0.1)
    assert float(second.get("width") or 0) == pytest.approx(
        3 * (float(first.get("width") or 0) + 1) - 1, abs=0.1
    )
