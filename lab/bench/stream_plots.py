"""Plots of what `veilscope bench stream` and `veilscope bench fairness` found, from their JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from shared.errors import OutputFailed

__all__ = ["draw_fairness", "draw_stream"]

_SIZE = (8.0, 3.6)  # inches: the width of a page


def draw_stream(found: dict[str, Any], folder: Path) -> list[Path]:
    """Draw latency's distribution and course, and memory; returns the files."""
    name = found["case"]["profile"]
    first = [r for r in found["results"] if r["round"] == 1]
    distribution, axes = _figure("latency, ms", "share of pictures offered")
    for result in first:
        _distribution(axes, result)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.01)
    axes.legend(fontsize=8)
    course, axes = _figure("captured at, s", "latency, ms")
    for result in first:
        rows = np.asarray(result["series"]["latency"], float).reshape(-1, 3)
        axes.plot(rows[:, 0], rows[:, 2], ".", markersize=2, label=result["name"])
    axes.set_yscale("log")
    axes.legend(fontsize=8, markerscale=4)
    memory, axes = _figure("s", "memory, MiB")
    for result in first:
        for side, usage in result["series"]["usage"].items():
            rows = np.asarray(usage, float).reshape(-1, 3)
            label = f"{result['name']}, {side}"
            style = "-" if side == "sender" else "--"
            axes.plot(rows[:, 0], rows[:, 2] / 2**20, style, linewidth=1, label=label)
    axes.set_ylim(bottom=0)
    if axes.has_data():  # there is nothing to measure memory with on some systems
        axes.legend(fontsize=6, ncols=2)
    drawn = {"latency-distribution": distribution, "latency-course": course, "memory": memory}
    return _saved({f"stream-{name}-{kind}": figure for kind, figure in drawn.items()}, folder)


def draw_fairness(found: dict[str, Any], folder: Path) -> list[Path]:
    """Draw what each stream on the bottleneck got, second by second; returns the files."""
    figure, axes = _figure("s", "Mbit/s on the wire")
    for label, rates in found["rates"].items():
        axes.plot(np.arange(len(rates)) + 0.5, rates, linewidth=1.2, label=label)
    if (rate := found["case"].get("rate_mbit")) is not None:
        axes.axhline(rate, color="grey", linewidth=0.8, linestyle=":", label="bottleneck")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
    name = f"fairness-{found['case']['beside']}-{found['case']['profile']}"
    return _saved({name: figure}, folder)


def _distribution(axes: Axes, result: dict[str, Any]) -> None:
    """A curve that ends below 1 where pictures were never shown."""
    figures = result["figures"]
    latencies = np.sort([row[2] for row in result["series"]["latency"]])
    if latencies.size:
        shares = np.arange(1, latencies.size + 1) / latencies.size * figures["shown_share"]
        axes.step(latencies, shares, where="post", label=result["name"])


def _figure(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    return figure, axes


def _saved(figures: dict[str, Figure], folder: Path) -> list[Path]:
    written: Sequence[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, figure in figures.items():
            path = folder / f"{name}.svg"
            figure.savefig(path, metadata={"Date": None})
            written = [*written, path]
    except OSError as error:
        raise OutputFailed(f"can't draw into {folder}: {error.strerror}") from error
    return list(written)
