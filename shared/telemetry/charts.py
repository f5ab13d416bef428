"""Draws the report's charts as inline SVG.

Pure: numbers in, markup out; colours are CSS classes of the report's page, so that one drawing
serves light, dark and print.  It loads nothing, and every text it is given is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from markupsafe import Markup, escape

__all__ = ["Chart", "Mark", "Series", "histogram", "stage_bars", "time_chart"]

WIDTH = 960.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 16.0, 18.0, 34.0  # margins in SVG units, room for the labels
TIME_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)
MOST_POINTS = 1200  # more than a screen has columns; longer series are drawn as mean and range


_Axis = Callable[[float], float]  # a value's place in SVG units


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment on the time axis: an epoch, a drop, a freeze."""

    at_s: float
    text: str
    css: str


@dataclass(frozen=True, slots=True)
class Series:
    """Values over time, of equal lengths; `margins` (±) may be empty."""

    at_s: Sequence[float]
    values: Sequence[float]
    labels: Sequence[str]
    margins: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """An SVG drawing and the points that the page's script shows on hover: `[x, y, text]`."""

    svg: Markup
    points: tuple[tuple[float, float, str], ...] = ()


def time_chart(
    series: Series,
    *,
    title: str,
    unit: str,
    until_s: float,
    css: str = "line",
    height: float = 250.0,
    from_zero: bool = True,
    bands: Sequence[tuple[float, float, str, str]] = (),
    marks: Sequence[Mark] = (),
    ticks: Sequence[Mark] = (),
) -> Chart:
    """Draw `series` from 0 to `until_s` seconds.

    `bands` are (low, high, CSS class, text) behind the line; `marks` are vertical lines;
    `ticks` short strokes on the time axis.
    """
    drawn = _thinned(series)
    low, high = _value_range(drawn, from_zero=from_zero)
    steps = _steps(low, high)
    low, high = min(low, steps[0]), max(high, steps[-1])
    until_s = max(until_s, 0.1)
    bottom = height - BOTTOM

    def x(at_s: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(max(at_s / until_s, 0.0), 1.0)

    def y(value: float) -> float:
        return bottom - (bottom - TOP) * (value - low) / (high - low)

    parts: list[str] = []
    for band_low, band_high, band_css, text in bands:
        if band_low < high:
            top = y(min(band_high, high))
            parts.append(
                f'<rect class="{band_css}" x="{LEFT:g}" y="{top:.1f}" '
                f'width="{WIDTH - LEFT - RIGHT:g}" height="{y(band_low) - top:.1f}"/>'
            )
            parts.append(_text(WIDTH - RIGHT - 8, top + 14, text, "band-name", "end"))
    for step in steps:
        parts.append(_line(LEFT, y(step), WIDTH - RIGHT, y(step), "grid"))
        parts.append(_text(LEFT - 8, y(step) + 4, f"{step:g}", "axis", "end"))
    parts += [
        _text(x(step), bottom + 20, _clock(step, until_s), "axis", "middle")
        for step in _time_steps(until_s)
    ]
    parts += [_stroke(x(tick.at_s), bottom - 9, bottom, tick) for tick in ticks]
    room = -math.inf
    for mark in marks:
        parts.append(_stroke(x(mark.at_s), TOP, bottom, mark))
        if x(mark.at_s) > room:  # no name over a name
            parts.append(_text(x(mark.at_s) + 4, TOP + 12, mark.text, "mark-name", "start"))
            room = x(mark.at_s) + 8 + 7 * len(mark.text)
    if drawn.lows:
        parts.append(_area(drawn, x, y, f"range {css}-range"))
    parts.append(_path(drawn, x, y, css))
    points = tuple(
        (round(x(t), 1), round(y(v), 1), label)
        for t, v, label in zip(drawn.at_s, drawn.values, drawn.labels, strict=True)
    )
    return Chart(_svg("".join(parts), height, f"{title}, in {unit}, over time"), points)


def histogram(
    values: Sequence[float],
    *,
    title: str,
    unit: str,
    marks: Sequence[tuple[float, str]] = (),
    tiers: Sequence[tuple[float, str]] = (),
    height: float = 220.0,
) -> Chart:
    """Draw how often `values` occur; bars take the CSS class of the first tier they lie below."""
    if not values:
        return Chart(Markup(""))
    top_value = float(np.percentile(values, 99.5)) * 1.1  # a few outliers must not flatten the rest
    steps = _steps(0.0, max(top_value, 1e-3), about=8)
    high = steps[-1]
    counts, edges = np.histogram(np.minimum(values, high), bins=48, range=(0.0, high))
    most = int(counts.max())
    bottom = height - BOTTOM

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(value / high, 1.0)

    def y(count: float) -> float:
        return bottom - (bottom - TOP - 14) * count / most

    parts = [_line(LEFT, bottom, WIDTH - RIGHT, bottom, "grid")]
    points = []
    for index, count in enumerate(counts.tolist()):
        left, right = float(edges[index]), float(edges[index + 1])
        if not count:
            continue
        css = next((name for below, name in tiers if left < below), "bar")
        parts.append(
            f'<rect class="{css}" x="{x(left) + 1:.1f}" y="{y(count):.1f}" rx="2" '
            f'width="{x(right) - x(left) - 2:.1f}" height="{bottom - y(count):.1f}"/>'
        )
        share = 100 * count / len(values)
        and_more = " and more" if index == len(counts) - 1 else ""
        label = f"{left:.1f} to {right:.1f} {unit}{and_more}: {count} frames ({share:.1f} %)"
        points.append((round((x(left) + x(right)) / 2, 1), round(y(count), 1), label))
    parts += [_text(x(step), bottom + 20, f"{step:g}", "axis", "middle") for step in steps]
    parts.append(_text(LEFT - 8, y(most) + 4, str(most), "axis", "end"))
    parts.append(_text(LEFT - 8, bottom + 4, "0", "axis", "end"))
    room = -math.inf
    for value, name in marks:
        if value <= high:
            parts.append(_line(x(value), TOP, x(value), bottom, "mark percentile"))
            row = TOP - 4 if x(value) > room else TOP + 10
            parts.append(_text(x(value) + 4, row, name, "mark-name", "start"))
            room = x(value) + 8 + 7 * len(name)
    return Chart(_svg("".join(parts), height, f"Distribution of {title}, in {unit}"), tuple(points))


def stage_bars(rows: Sequence[tuple[str, Sequence[tuple[str, float]]]], *, unit: str) -> Chart:
    """Draw one stacked bar a row: (row's name, [(stage, value), …])."""
    totals = [sum(value for _, value in stages) for _, stages in rows]
    high = max([*totals, 1e-3])
    steps = _steps(0.0, high, about=8)
    high = max(high, steps[-1])
    bar, gap = 40.0, 20.0
    height = TOP + len(rows) * (bar + gap) + BOTTOM - 14
    left = 110.0
    bottom = height - BOTTOM
    scale = (WIDTH - left - 90) / high
    parts: list[str] = []
    points = []
    for step in steps:
        parts.append(_line(left + step * scale, TOP - 8, left + step * scale, bottom, "grid"))
        parts.append(_text(left + step * scale, bottom + 20, f"{step:g}", "axis", "middle"))
    for row, (name, stages) in enumerate(rows):
        top = TOP + row * (bar + gap)
        parts.append(_text(left - 10, top + bar / 2 + 5, name, "row-name", "end"))
        start = left
        for stage, value in stages:
            width = value * scale
            parts.append(
                f'<rect class="stage-{stage}" x="{start:.2f}" y="{top:g}" '
                f'width="{max(width - 1, 0.4):.2f}" height="{bar:g}"/>'
            )
            if width > 7.2 * len(stage) + 10:
                parts.append(_text(start + width / 2, top + bar / 2 + 4, stage, "in-bar", "middle"))
            points.append((round(start + width / 2, 1), top, f"{name}: {stage} {value:.2f} {unit}"))
            start += width
        parts.append(_text(start + 8, top + bar / 2 + 5, f"{totals[row]:.1f}", "row-name", "start"))
    return Chart(_svg("".join(parts), height, "Time split by stage"), tuple(points))


@dataclass(frozen=True, slots=True)
class _Drawn:
    at_s: list[float]
    values: list[float]
    labels: list[str]
    lows: list[float]
    highs: list[float]


def _thinned(series: Series) -> _Drawn:
    """At most `MOST_POINTS` points; of a longer series the mean and range of each slice."""
    count = len(series.values)
    values = np.asarray(series.values, dtype=np.float64)
    margins = np.asarray(series.margins or np.zeros(count), dtype=np.float64)
    if count <= MOST_POINTS:
        ranged = bool(series.margins)
        return _Drawn(
            list(series.at_s),
            values.tolist(),
            list(series.labels),
            (values - margins).tolist() if ranged else [],
            (values + margins).tolist() if ranged else [],
        )
    edges = np.linspace(0, count, MOST_POINTS + 1).astype(int)
    slices = [slice(a, b) for a, b in pairwise(edges.tolist())]
    at_s = np.asarray(series.at_s)
    return _Drawn(
        [float(at_s[s].mean()) for s in slices],
        [float(values[s].mean()) for s in slices],
        [f"{series.labels[s.start]} and {s.stop - s.start - 1} more (mean)" for s in slices],
        [float((values[s] - margins[s]).min()) for s in slices],
        [float((values[s] + margins[s]).max()) for s in slices],
    )


def _value_range(drawn: _Drawn, *, from_zero: bool) -> tuple[float, float]:
    if not drawn.values:
        return 0.0, 1.0
    low = min([*drawn.values, *drawn.lows])
    high = max([*drawn.values, *drawn.highs])
    margin = max((high - low) * 0.08, 1e-3)
    if from_zero:  # below zero only what the clocks' error puts there
        return min(0.0, low), high + margin
    return low - margin, high + margin


def _steps(low: float, high: float, *, about: int = 5) -> list[float]:
    """Round numbers that cover `low` to `high`, about `about` of them."""
    rough = max(high - low, 1e-9) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first = math.floor(low / step)
    last = math.ceil(high / step - 1e-9)
    return [round(index * step, 10) for index in range(first, last + 1)]


def _time_steps(until_s: float) -> list[float]:
    """At most ten moments from 0 to `until_s` at intervals that people count in."""
    step = next((s for s in TIME_STEPS_S if until_s / s <= 9), until_s / 9)
    return [index * step for index in range(int(until_s / step + 1e-9) + 1)]


def _clock(at_s: float, until_s: float) -> str:
    if until_s <= 120:
        return f"{at_s:g} s"
    minutes, seconds = divmod(round(at_s), 60)
    if until_s <= 7200:
        return f"{minutes}:{seconds:02d}"
    return f"{minutes // 60}:{minutes % 60:02d} h"


def _path(drawn: _Drawn, x: _Axis, y: _Axis, css: str) -> str:
    lines = []
    for run in _runs(drawn.at_s):
        points = [f"{x(drawn.at_s[i]):.1f},{y(drawn.values[i]):.1f}" for i in run]
        # a lone point becomes a line to itself, which round ends make a dot
        points = points if len(points) > 1 else points * 2
        lines.append(f'<polyline class="{css}" points="{" ".join(points)}"/>')
    return "".join(lines)


def _area(drawn: _Drawn, x: _Axis, y: _Axis, css: str) -> str:
    areas = []
    for run in _runs(drawn.at_s):
        upper = [f"{x(drawn.at_s[i]):.1f},{y(drawn.highs[i]):.1f}" for i in run]
        lower = [f"{x(drawn.at_s[i]):.1f},{y(drawn.lows[i]):.1f}" for i in reversed(run)]
        areas.append(f'<polygon class="{css}" points="{" ".join(upper + lower)}"/>')
    return "".join(areas)


def _runs(at_s: Sequence[float]) -> list[range]:
    """Stretches of points to join; across a long pause nothing was measured, so no line is."""
    if not at_s:
        return []
    gaps = np.diff(at_s)
    longest = max(0.25, 4 * float(np.median(gaps))) if len(gaps) else math.inf
    starts = [0, *(int(i) + 1 for i in np.flatnonzero(gaps > longest)), len(at_s)]
    return [range(first, end) for first, end in pairwise(starts)]


def _stroke(x: float, top: float, bottom: float, mark: Mark) -> str:
    return (
        f'<line class="mark {mark.css}" x1="{x:.1f}" y1="{top:g}" x2="{x:.1f}" y2="{bottom:g}">'
        f"<title>{escape(mark.text)}</title></line>"
    )


def _line(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    return f'<line class="{css}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, css: str, anchor: str) -> str:
    return (
        f'<text class="{css}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
    )


def _svg(body: str, height: float, label: str) -> Markup:
    head = f'<svg viewBox="0 0 {WIDTH:g} {height:g}" role="img" aria-label="{escape(label)}">'
    return Markup(f"{head}{body}</svg>")  # noqa: S704 - built of numbers and escaped text
