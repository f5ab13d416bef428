"""The charts of a session's report, drawn from its log by matplotlib as inline SVG.

Pure: a log in, markup out, the same for the same log.  Where the log holds nothing to draw there
is no drawing.  Colours are the page's CSS variables, so that one drawing serves light and dark.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from shared.telemetry.metrics import AMBER_MS, GREEN_MS, FreezeDetector, tier
from shared.telemetry.reader import SessionLog
from shared.telemetry.records import FrameLine, SentFrameLine, SentStages, ShownStages

__all__ = [
    "StageRow",
    "distribution",
    "latency_chart",
    "path_chart",
    "psnr_chart",
    "size_chart",
    "stage_chart",
    "stage_rows",
]

WIDTH = 960  # SVG units; a figure is drawn at 72 dpi, where one is a point and a pixel
LEFT, RIGHT, TOP, BOTTOM = 58, 16, 36, 46  # margins in SVG units, room for the labels
MOST_POINTS = 960  # a screen has no more columns; a longer series is drawn as mean and range
BINS = 48
STYLE: dict[Any, object] = {
    "font.size": 11.5,
    "text.parse_math": False,  # a log's text is text
    "svg.fonttype": "none",
    "lines.linewidth": 1.6,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
# The page's CSS variables.  Each is drawn in a colour that stands for it and is then replaced.
STAGES = tuple(ShownStages.model_fields)
VARIABLES = (
    *("ink", "soft", "line", "card", "accent", "psnr", "size", "green", "amber", "red"),
    *("green-band", "amber-band", "red-band", "in-bar"),
    *STAGES,
)

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # its font cache is nobody's concern


@dataclass(frozen=True, slots=True)
class StageRow:
    """One stage's times in ms."""

    name: str
    mean: float
    p50: float
    p95: float
    most: float


def latency_chart(log: SessionLog) -> Markup | None:
    """Latency at a receiver; at a sender the time from capture until the frame had left."""
    known = [(f, latency) for f in log.frames if (latency := _latency(f)) is not None]
    if not known:
        return None
    receiver = log.session.role == "receiver"
    values = np.array([latency for _, latency in known])
    bounds = np.array([getattr(f, "latency_bound_ms", None) or 0.0 for f, _ in known])
    title = "Latency" if receiver else "Time at the sender"
    with _chart(f"{title}, in ms, over time", height=314) as (axes, drawing):
        at_s = np.array([f.at_s for f, _ in known])
        low, high = min(0.0, (values - bounds).min()), (values + bounds).max() * 1.08
        axes.set_ylim(low, max(high, 1.0))
        if receiver:
            _bands(axes)
        _over_time(axes, log, at_s, values, "accent", margins=bounds)
        _ticks(axes, log, [drop.at_s for drop in log.drops], "red")
        _ticks(axes, log, _freezes(log), "amber")
    return drawing.svg


def distribution(log: SessionLog) -> Markup | None:
    """How many frames took how long; the slowest few are counted in the last bar."""
    latencies = [value for f in log.frames if (value := _latency(f)) is not None]
    if not latencies:
        return None
    receiver = log.session.role == "receiver"
    # a few outliers must not flatten the rest
    high = max(float(np.percentile(latencies, 99.5)) * 1.1, 1e-3)
    counts, edges = np.histogram(np.clip(latencies, 0.0, high), bins=BINS, range=(0.0, high))
    colours = [tier(edge) if receiver else "accent" for edge in edges[:-1].tolist()]
    title = "latency" if receiver else "time at the sender"
    with _chart(f"Distribution of {title}, in ms", height=254) as (axes, drawing):
        axes.bar(
            edges[:-1], counts, 0.9 * high / BINS, align="edge", color=[_colour(c) for c in colours]
        )
        axes.set_xlim(0.0, high)
        axes.set_xlabel("ms")
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        values = np.percentile(latencies, [50, 95, 99]).tolist()
        percentiles = zip(values, ("median", "p95", "p99"), strict=True)
        _marks(axes, [(value, name, "ink") for value, name in percentiles if value <= high])
    return drawing.svg


def stage_rows(log: SessionLog) -> list[StageRow]:
    """The stages that were measured, in the order of a frame's life."""
    kind = SentStages if log.session.role == "sender" else ShownStages
    rows = []
    for name in kind.model_fields:
        known = [v for f in log.frames if (v := getattr(f.stages_ms, name)) is not None]
        if known:
            p50, p95, most = np.percentile(known, [50, 95, 100]).tolist()
            rows.append(StageRow(name, float(np.mean(known)), p50, p95, most))
    return rows


def stage_chart(rows: Sequence[StageRow]) -> Markup | None:
    """Mean and p95 of each stage, end to end."""
    if not rows:
        return None
    with _chart("Time split by stage, in ms", height=184, left=110) as (axes, drawing):
        bars = {"mean": [row.mean for row in rows], "p95 each": [row.p95 for row in rows]}
        lengths = np.maximum(np.array(list(bars.values())), 0.0)
        ends = np.cumsum(lengths, axis=1)
        longest = max(float(ends.max()), 1e-3)
        axes.set_xlim(0.0, longest * 1.1)
        for row, end, length in zip(rows, ends.T, lengths.T, strict=True):
            bar = axes.barh([1, 0], length, 0.66, end - length, color=_colour(row.name))
            room = longest * 1.1 * (7 * len(row.name) + 10) / WIDTH
            names = [row.name if wide else "" for wide in length > room]
            axes.bar_label(bar, names, label_type="center", color=_colour("in-bar"))
        for y, total in zip((1, 0), ends[:, -1].tolist(), strict=True):
            axes.annotate(
                f"{total:.1f}", (total, y), (8, 0), textcoords="offset points", va="center",
                color=_colour("ink"),
            )  # fmt: skip
        axes.set_yticks([1, 0], list(bars))
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x", color=_colour("line"))
        axes.set_xlabel("ms")
    return drawing.svg


def psnr_chart(log: SessionLog) -> Markup | None:
    """PSNR of the frames that are not bit-exact; None where all are."""
    known = [(f.at_s, f.psnr_db) for f in log.frames if f.psnr_db is not None]
    if not known:
        return None
    with _chart("PSNR, in dB, over time", height=254) as (axes, drawing):
        at_s, values = np.array(known).T
        margin = max(0.08 * float(np.ptp(values)), 0.5)
        axes.set_ylim(values.min() - margin, values.max() + margin)
        _over_time(axes, log, at_s, values, "psnr")
    return drawing.svg


def size_chart(log: SessionLog) -> Markup | None:
    """KiB of each sealed frame."""
    if not log.frames:
        return None
    with _chart("Size of the sealed frame, in KiB, over time", height=234) as (axes, drawing):
        at_s, values = np.array([(f.at_s, f.bytes / 1024) for f in log.frames]).T
        axes.set_ylim(0.0, values.max() * 1.1 + 0.1)
        _over_time(axes, log, at_s, values, "size")
    return drawing.svg


def path_chart(log: SessionLog) -> Markup | None:
    """What the path carried and what was aimed at, in Mbit/s, with each change of quality.

    Of several receivers the one decides whose path carried least at the moment.
    """
    if not log.paths:
        return None
    moments: dict[int, tuple[float, float]] = {}  # by the second: rate, target
    for line in log.paths:
        rate, target = line.rate_bps / 1e6, (line.target_bps or np.nan) / 1e6
        moments[round(line.at_s)] = min(
            moments.get(round(line.at_s), (rate, target)), (rate, target)
        )
    at_s = np.array(sorted(moments), float)
    rates, targets = np.array([moments[round(second)] for second in at_s]).T
    with _chart("Rate of the path, in Mbit/s, over time", height=254) as (axes, drawing):
        scale = _time_axis(axes, log)
        top = max(float(rates.max()), float(np.nanmax([*targets, 0.0])))
        axes.set_ylim(0.0, top * 1.15 + 0.1)
        axes.step(at_s / scale, rates, color=_colour("size"), where="post")
        axes.step(at_s / scale, targets, color=_colour("accent"), where="post", linestyle="--")
        axes.annotate(
            "path", (at_s[-1] / scale, rates[-1]), (-8, 5), textcoords="offset points", ha="right",
            color=_colour("size"),
        )  # fmt: skip
        _marks(axes, [(e.at_s / scale, e.event, _tone(e.event)) for e in log.quality_changes])
    return drawing.svg


def _tone(event: str) -> str:
    return "amber" if event.endswith("lowered") else "green"


# -- what is measured -----------------------------------------------------------------------------


def _latency(frame: FrameLine | SentFrameLine) -> float | None:
    if isinstance(frame, FrameLine):
        return frame.latency_ms
    known = [v for name in SentStages.model_fields if (v := getattr(frame.stages_ms, name))]
    return sum(known) if known else None


def _freezes(log: SessionLog) -> list[float]:
    if log.session.role == "sender":
        return []
    detector = FreezeDetector()
    return [f.at_s for f in log.frames if detector.add(round(f.at_s * 1e9))]


# -- drawing --------------------------------------------------------------------------------------


class _Drawing:
    svg = Markup("")


@contextmanager
def _chart(label: str, *, height: int, left: int = LEFT) -> Iterator[tuple[Axes, _Drawing]]:
    """Axes to draw on; the drawing's `svg` is there when the block ends."""
    drawing = _Drawing()
    # The salt makes ids the same each time, and different among the charts of a page.
    with mpl.rc_context({**STYLE, "svg.hashsalt": label}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of glyphs that matplotlib's font lacks: the page has more
        figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
        box = (left, BOTTOM, WIDTH - left - RIGHT, height - TOP - BOTTOM)
        axes = figure.add_axes((box[0] / WIDTH, box[1] / height, box[2] / WIDTH, box[3] / height))
        figure.patch.set_visible(False)
        axes.patch.set_visible(False)
        axes.grid(visible=True, axis="y", color=_colour("line"))
        axes.tick_params(color=_colour("line"), labelcolor=_colour("soft"))
        axes.xaxis.label.set_color(_colour("soft"))
        for spine in axes.spines.values():
            spine.set_color(_colour("line"))
        yield axes, drawing
        drawing.svg = _inline_svg(figure, label, height)


def _inline_svg(figure: Figure, label: str, height: int) -> Markup:
    file = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(file, format="svg", metadata=nothing)
    body = file.getvalue().partition("<svg")[2].partition(">")[2]
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.DOTALL)
    body = re.sub(r' id="[\w.]+_\d+"', "", body)  # nothing refers to these
    body = body.replace("xlink:href", "href")
    body = re.sub(r"#fe00([0-9a-f]{2})", lambda m: f"var(--{VARIABLES[int(m[1], 16)]})", body)
    head = f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">'
    return Markup(head + body)  # noqa: S704 - matplotlib escapes the texts that it draws


def _colour(variable: str) -> str:
    """What stands for the page's CSS variable while matplotlib draws."""
    return f"#fe00{VARIABLES.index(variable):02x}"


def _over_time(
    axes: Axes,
    log: SessionLog,
    at_s: NDArray[np.float64],
    values: NDArray[np.float64],
    colour: str,
    *,
    margins: NDArray[np.float64] | float = 0.0,
) -> None:
    """Draw `values` ± `margins`; of a long series the mean and range of each slice."""
    scale = _time_axis(axes, log)
    slices = np.unique(np.linspace(0, len(at_s), MOST_POINTS, endpoint=False).astype(int))
    counts = np.diff(slices, append=len(at_s))
    times = np.add.reduceat(at_s, slices) / counts
    means = np.add.reduceat(values, slices) / counts
    lows = np.minimum.reduceat(values - margins, slices)
    highs = np.maximum.reduceat(values + margins, slices)
    gaps = np.diff(times)
    longest = max(0.25, 4 * float(np.median(gaps))) if len(gaps) else 0.0
    # across a long pause nothing was measured, so no line is drawn
    for run in np.split(np.arange(len(times)), np.flatnonzero(gaps > longest) + 1):
        x, lone = times[run] / scale, "." if len(run) == 1 else ""
        axes.plot(x, means[run], color=_colour(colour), marker=lone)
        if (highs[run] > lows[run]).any():
            axes.fill_between(
                x, lows[run], highs[run], color=_colour(colour), alpha=0.25, linewidth=0
            )
    epochs = [(e.at_s / scale, f"epoch {e.epoch}", "soft") for e in log.epochs]
    events = [(e.at_s / scale, e.event.replace("_", " "), "amber") for e in log.events]
    _marks(axes, sorted(epochs + events))


def _time_axis(axes: Axes, log: SessionLog) -> float:
    """Set up the time axis; returns how many seconds its unit has."""
    scale, name = (1.0, "s") if log.duration_s <= 120 else (60.0, "minutes")
    axes.set_xlim(0.0, max(log.duration_s, 0.1) / scale)
    axes.set_xlabel(name)
    axes.xaxis.set_major_locator(MaxNLocator(10))
    return scale


def _bands(axes: Axes) -> None:
    low, high = axes.get_ylim()
    edges = ((low, GREEN_MS, "green"), (GREEN_MS, AMBER_MS, "amber"), (AMBER_MS, np.inf, "red"))
    for bottom, top, name in edges:
        if bottom < high:
            top = min(top, high)
            axes.axhspan(bottom, top, color=_colour(f"{name}-band"), linewidth=0, zorder=0)
    names = ((GREEN_MS, f"{GREEN_MS:.0f} ms"), (AMBER_MS, f"{AMBER_MS:.0f} ms"))
    for limit, name in names:
        if limit < high:
            axes.annotate(
                f"up to {name}", (1, limit), (-8, -4), ("axes fraction", "data"),
                "offset points", ha="right", va="top", color=_colour("soft"),
            )  # fmt: skip


def _marks(axes: Axes, marks: Iterable[tuple[float, str, str]]) -> None:
    """Dashed lines at `(x, name, colour)`, in order; names in two rows, none over another."""
    _, until = axes.get_xlim()
    column, rooms = -1, [-np.inf, -np.inf]
    for x, name, colour in marks:
        place = x / until * (WIDTH - LEFT - RIGHT)
        if int(place) == column:
            continue
        column = int(place)
        axes.axvline(x, color=_colour(colour), linewidth=1.2, linestyle=(0, (3, 3)))
        row = next((row for row, room in enumerate(rooms) if place > room), None)
        if row is not None:
            rooms[row] = place + 8 + 6.5 * len(name)
            axes.annotate(
                name, (x, 1), (3, 4 + 14 * row), ("data", "axes fraction"), "offset points",
                color=_colour("soft"),
            )  # fmt: skip


def _ticks(axes: Axes, log: SessionLog, at_s: Sequence[float], colour: str) -> None:
    """Short strokes on the time axis, one a column of the screen."""
    _, until = axes.get_xlim()
    scale = until / max(log.duration_s, 0.1)
    columns = np.unique(np.round(np.array(at_s) * scale / until * WIDTH)) * until / WIDTH
    if len(columns):
        axes.vlines(columns, 0, 0.05, _colour(colour), transform=axes.get_xaxis_transform())
