"""How the report's charts are drawn: axes in the page's own style, and what stands on them.

By matplotlib, as inline SVG, the same for the same data.  Colours are the page's CSS variables, so
that one drawing serves light and dark.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from shared.telemetry.records import ShownStages
from shared.telemetry.tiers import AMBER_MS, GREEN_MS

__all__ = [
    "WIDTH",
    "Drawing",
    "bands",
    "chart",
    "colour",
    "curve",
    "marks",
    "name_at_end",
    "ticks",
    "time_axis",
]

WIDTH = 960  # SVG units; a figure is drawn at 72 dpi, where one is a point and a pixel
LEFT, RIGHT, TOP, BOTTOM = 58, 16, 36, 46  # margins in SVG units, room for the labels
MOST_POINTS = 960  # a screen has no more columns; a longer series is drawn as mean and range
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


class Drawing:
    """What comes of a chart: its `svg`, once it is drawn."""

    svg = Markup("")


@contextmanager
def chart(label: str, *, height: int, left: int = LEFT) -> Iterator[tuple[Axes, Drawing]]:
    """Axes to draw on; the drawing's `svg` is there when the block ends."""
    drawing = Drawing()
    # The salt makes ids the same each time, and different among the charts of a page.
    with mpl.rc_context({**STYLE, "svg.hashsalt": label}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of glyphs that matplotlib's font lacks: the page has more
        figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
        box = (left, BOTTOM, WIDTH - left - RIGHT, height - TOP - BOTTOM)
        axes = figure.add_axes((box[0] / WIDTH, box[1] / height, box[2] / WIDTH, box[3] / height))
        figure.patch.set_visible(False)
        axes.patch.set_visible(False)
        axes.grid(visible=True, axis="y", color=colour("line"))
        axes.tick_params(color=colour("line"), labelcolor=colour("soft"))
        axes.xaxis.label.set_color(colour("soft"))
        for spine in axes.spines.values():
            spine.set_color(colour("line"))
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


def colour(variable: str) -> str:
    """What stands for the page's CSS variable while matplotlib draws."""
    return f"#fe00{VARIABLES.index(variable):02x}"


def time_axis(axes: Axes, duration_s: float) -> float:
    """Set up the time axis; returns how many seconds its unit has."""
    scale, name = (1.0, "s") if duration_s <= 120 else (60.0, "minutes")
    axes.set_xlim(0.0, max(duration_s, 0.1) / scale)
    axes.set_xlabel(name)
    axes.xaxis.set_major_locator(MaxNLocator(10))
    return scale


def curve(
    axes: Axes,
    x: NDArray[np.float64],
    values: NDArray[np.float64],
    variable: str,
    *,
    margins: NDArray[np.float64] | float = 0.0,
    pause: float,
) -> None:
    """Draw `values` ± `margins` at `x`; of a long series the mean and range of each slice.

    Across a gap that is longer than `pause`, and than most are, nothing was measured: no line.
    """
    slices = np.unique(np.linspace(0, len(x), MOST_POINTS, endpoint=False).astype(int))
    counts = np.diff(slices, append=len(x))
    places = np.add.reduceat(x, slices) / counts
    means = np.add.reduceat(values, slices) / counts
    lows = np.minimum.reduceat(values - margins, slices)
    highs = np.maximum.reduceat(values + margins, slices)
    gaps = np.diff(places)
    longest = max(pause, 4 * float(np.median(gaps))) if len(gaps) else 0.0
    for run in np.split(np.arange(len(places)), np.flatnonzero(gaps > longest) + 1):
        lone = "." if len(run) == 1 else ""
        axes.plot(places[run], means[run], color=colour(variable), marker=lone)
        if (highs[run] > lows[run]).any():
            axes.fill_between(
                places[run], lows[run], highs[run], color=colour(variable), alpha=0.25, linewidth=0
            )


def name_at_end(axes: Axes, name: str, value: float, variable: str, *, above: bool) -> None:
    """Write a curve's name over or under its right end, which is at `value`."""
    axes.annotate(
        name, (1, value), (-8, 5 if above else -5), ("axes fraction", "data"), "offset points",
        ha="right", va="bottom" if above else "top", color=colour(variable),
    )  # fmt: skip


def bands(axes: Axes) -> None:
    """Shade what is green, amber and red, up to the top of the axes."""
    low, high = axes.get_ylim()
    edges = ((low, GREEN_MS, "green"), (GREEN_MS, AMBER_MS, "amber"), (AMBER_MS, np.inf, "red"))
    for bottom, top, name in edges:
        if bottom < high:
            top = min(top, high)
            axes.axhspan(bottom, top, color=colour(f"{name}-band"), linewidth=0, zorder=0)
    names = ((GREEN_MS, f"{GREEN_MS:.0f} ms"), (AMBER_MS, f"{AMBER_MS:.0f} ms"))
    for limit, name in names:
        if limit < high:
            axes.annotate(
                f"up to {name}", (1, limit), (-8, -4), ("axes fraction", "data"),
                "offset points", ha="right", va="top", color=colour("soft"),
            )  # fmt: skip


def marks(axes: Axes, lines: Iterable[tuple[float, str, str]]) -> None:
    """Dashed lines at `(x, name, colour)`, in order; names in two rows, none over another."""
    _, until = axes.get_xlim()
    column, rooms = -1, [-np.inf, -np.inf]
    for x, name, variable in lines:
        place = x / until * (WIDTH - LEFT - RIGHT)
        if int(place) == column:
            continue
        column = int(place)
        axes.axvline(x, color=colour(variable), linewidth=1.2, linestyle=(0, (3, 3)))
        row = next((row for row, room in enumerate(rooms) if place > room), None)
        if row is not None:
            rooms[row] = place + 8 + 6.5 * len(name)
            axes.annotate(
                name, (x, 1), (3, 4 + 14 * row), ("data", "axes fraction"), "offset points",
                color=colour("soft"),
            )  # fmt: skip


def ticks(axes: Axes, x: Sequence[float], variable: str) -> None:
    """Short strokes on the horizontal axis, one a column of the screen."""
    _, until = axes.get_xlim()
    columns = np.unique(np.round(np.array(x) / until * WIDTH)) * until / WIDTH
    if len(columns):
        axes.vlines(columns, 0, 0.05, colour(variable), transform=axes.get_xaxis_transform())
