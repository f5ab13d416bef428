"""The charts of a session's report: what of its log is drawn, and over what.

Pure: a log in, markup out, the same for the same log.  Where the log holds nothing to draw there
is no drawing.  How it is drawn is `shared.telemetry.drawing`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from shared.telemetry.drawing import (
    WIDTH,
    bands,
    chart,
    colour,
    curve,
    marks,
    name_at_end,
    ticks,
    time_axis,
)
from shared.telemetry.metrics import FreezeDetector
from shared.telemetry.reader import SessionLog
from shared.telemetry.records import (
    DropReason,
    FrameLine,
    SentFrameLine,
    SentStages,
    ShownStages,
)
from shared.telemetry.tiers import tier

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

BINS = 48
PAUSE_S = 0.25  # between two frames; longer, and it is a pause
LEAST_MBIT = 0.01  # the bottom of a rate's axis, which has no zero


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
    with chart(f"{title}, in ms, over time", height=314) as (axes, drawing):
        at_s = np.array([f.at_s for f, _ in known])
        low, high = min(0.0, (values - bounds).min()), (values + bounds).max() * 1.08
        axes.set_ylim(low, max(high, 1.0))
        if receiver:
            bands(axes)
        scale = _over_time(axes, log, at_s, values, "accent", margins=bounds)
        lost = [drop.at_s for drop in log.drops if drop.reason is not DropReason.FROZEN]
        for moments, variable in ((lost, "red"), (_freezes(log), "amber")):
            ticks(axes, [moment / scale for moment in moments], variable)
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
    with chart(f"Distribution of {title}, in ms", height=254) as (axes, drawing):
        axes.bar(
            edges[:-1], counts, 0.9 * high / BINS, align="edge", color=[colour(c) for c in colours]
        )
        axes.set_xlim(0.0, high)
        axes.set_xlabel("ms")
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        values = np.percentile(latencies, [50, 95, 99]).tolist()
        percentiles = zip(values, ("median", "p95", "p99"), strict=True)
        marks(axes, [(value, name, "ink") for value, name in percentiles if value <= high])
    return drawing.svg


def stage_rows(log: SessionLog) -> list[StageRow]:
    """The stages that were measured, in the order of a frame's life."""
    kind = SentStages if log.session.role == "sender" else ShownStages
    rows = []
    for name in kind.model_fields:
        lines = [f.stages_ms for f in log.frames if not f.repeated]
        known = [v for stages in lines if (v := getattr(stages, name)) is not None]
        if known:
            p50, p95, most = np.percentile(known, [50, 95, 100]).tolist()
            rows.append(StageRow(name, float(np.mean(known)), p50, p95, most))
    return rows


def stage_chart(rows: Sequence[StageRow]) -> Markup | None:
    """Mean and p95 of each stage, end to end."""
    if not rows:
        return None
    with chart("Time split by stage, in ms", height=184, left=110) as (axes, drawing):
        bars = {"mean": [row.mean for row in rows], "p95 each": [row.p95 for row in rows]}
        lengths = np.maximum(np.array(list(bars.values())), 0.0)
        ends = np.cumsum(lengths, axis=1)
        longest = max(float(ends.max()), 1e-3)
        axes.set_xlim(0.0, longest * 1.1)
        for row, end, length in zip(rows, ends.T, lengths.T, strict=True):
            bar = axes.barh([1, 0], length, 0.66, end - length, color=colour(row.name))
            room = longest * 1.1 * (7 * len(row.name) + 10) / WIDTH
            names = [row.name if wide else "" for wide in length > room]
            axes.bar_label(bar, names, label_type="center", color=colour("in-bar"))
        for y, total in zip((1, 0), ends[:, -1].tolist(), strict=True):
            axes.annotate(
                f"{total:.1f}", (total, y), (8, 0), textcoords="offset points", va="center",
                color=colour("ink"),
            )  # fmt: skip
        axes.set_yticks([1, 0], list(bars))
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x", color=colour("line"))
        axes.set_xlabel("ms")
    return drawing.svg


def psnr_chart(log: SessionLog) -> Markup | None:
    """PSNR of the frames that are not bit-exact; None where all are."""
    known = [(f.at_s, f.psnr_db) for f in log.frames if f.psnr_db is not None]
    if not known:
        return None
    with chart("PSNR, in dB, over time", height=254) as (axes, drawing):
        at_s, values = np.array(known).T
        margin = max(0.08 * float(np.ptp(values)), 0.5)
        axes.set_ylim(values.min() - margin, values.max() + margin)
        _over_time(axes, log, at_s, values, "psnr")
    return drawing.svg


def size_chart(log: SessionLog) -> Markup | None:
    """KiB of each sealed frame."""
    if not log.frames:
        return None
    with chart("Size of the sealed frame, in KiB, over time", height=234) as (axes, drawing):
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
    several = len({line.receiver for line in log.paths}) > 1
    moments: dict[float, tuple[float, float]] = {}  # rate, target
    for line in log.paths:
        at = round(line.at_s) if several else line.at_s  # each writes once a second
        path = line.rate_bps / 1e6, (line.target_bps or np.nan) / 1e6
        moments[at] = min(moments.get(at, path), path)
    at_s = np.array(sorted(moments), float)
    rates, targets = np.array([moments[at] for at in sorted(moments)]).T
    with chart("Rate of the path, in Mbit/s, over time", height=254) as (axes, drawing):
        scale = time_axis(axes, log.duration_s)
        _rate_axis(axes, np.array([*rates, *targets]))
        x = np.append(at_s, max(log.duration_s, at_s[-1])) / scale
        for name, values, variable, dashes in (
            ("path", rates, "size", "-"),
            ("target", targets, "accent", "--"),
        ):
            shown = np.maximum(np.append(values, values[-1]), LEAST_MBIT)
            axes.step(x, shown, color=colour(variable), where="post", linestyle=dashes)
            if np.isfinite(shown[-1]):
                above = name == "path" or not shown[-1] <= rates[-1]
                name_at_end(axes, name, float(shown[-1]), variable, above=above)
        marks(axes, [(e.at_s / scale, e.event, _tone(e.event)) for e in log.quality_changes])
    return drawing.svg


def _rate_axis(axes: Axes, rates: NDArray[np.float64]) -> None:
    """A logarithmic axis: a path may carry a hundred times what the stream aims at."""
    known = np.maximum(rates[np.isfinite(rates)], LEAST_MBIT)
    axes.set_yscale("log")
    axes.set_ylim(float(known.min()) / 2, float(known.max()) * 2)
    axes.yaxis.set_major_locator(LogLocator(10, (1.0, 2.0, 5.0), numticks=8))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _tone(event: str) -> str:
    if event.startswith("codec "):
        return "soft"
    return "green" if event.endswith("raised") else "amber"


# -- what is measured -----------------------------------------------------------------------------


def _latency(frame: FrameLine | SentFrameLine) -> float | None:
    """None too for a repeated frame: how long its source stood still is no latency."""
    if frame.repeated:
        return None
    if isinstance(frame, FrameLine):
        return frame.latency_ms
    known = [v for name in SentStages.model_fields if (v := getattr(frame.stages_ms, name))]
    return sum(known) if known else None


def _freezes(log: SessionLog) -> list[float]:
    """When freezes ended; there was none while the picture was held or the source stood still."""
    if log.session.role == "sender":
        return []
    held = [drop.at_s for drop in log.drops if drop.reason is DropReason.FROZEN]
    detector = FreezeDetector()
    moments = []
    for frame in log.frames:
        while held and held[0] <= frame.at_s:
            detector.pause()
            held.pop(0)
        if frame.repeated:
            detector.pause()
        elif detector.add(round(frame.at_s * 1e9)):
            moments.append(frame.at_s)
    return moments


# -- over time ------------------------------------------------------------------------------------


def _over_time(
    axes: Axes,
    log: SessionLog,
    at_s: NDArray[np.float64],
    values: NDArray[np.float64],
    variable: str,
    *,
    margins: NDArray[np.float64] | float = 0.0,
) -> float:
    """Draw `values` ± `margins`, and what happened meanwhile; returns the time axis's unit in s."""
    scale = time_axis(axes, log.duration_s)
    curve(axes, at_s / scale, values, variable, margins=margins, pause=PAUSE_S / scale)
    epochs = [(e.at_s / scale, f"epoch {e.epoch}", "soft") for e in log.epochs]
    events = [(e.at_s / scale, e.event.replace("_", " "), _tone(e.event)) for e in log.events]
    marks(axes, sorted(epochs + events))
    return scale
