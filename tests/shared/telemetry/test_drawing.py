"""How charts are drawn: what stands on the axes, and what markup comes of it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from shared.telemetry.drawing import (
    LEFT,
    MOST_POINTS,
    RIGHT,
    VARIABLES,
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
from shared.telemetry.tiers import AMBER_MS, GREEN_MS

SVG = "{http://www.w3.org/2000/svg}"


def axes() -> Axes:
    return Figure().add_axes((0.0, 0.0, 1.0, 1.0))


def drawn(draw: Callable[[Axes], object], label: str = "a label") -> str:
    with chart(label, height=200) as (on, drawing):
        draw(on)
        assert drawing.svg == ""
    return str(drawing.svg)


def parsed(svg: str) -> ET.Element:
    """As HTML does, which knows the namespace."""
    return ET.fromstring(svg.replace("<svg ", f"<svg xmlns='{SVG[1:-1]}' ", 1))  # noqa: S314


def series(values: list[float]) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(len(values), dtype=float), np.array(values)


# -- the markup -----------------------------------------------------------------------------------


def test_a_chart_is_an_inline_svg_that_says_what_it_shows() -> None:
    svg = drawn(lambda on: on.plot([0, 1], [0, 1]), 'Size & "rate" <of> frames')
    head = parsed(svg)
    assert head.attrib["viewBox"] == f"0 0 {WIDTH} 200"
    assert head.attrib["role"] == "img"
    assert head.attrib["aria-label"] == 'Size & "rate" <of> frames'
    assert "<?xml" not in svg and "<style" not in svg and "metadata" not in svg
    assert "xlink" not in svg


def test_colours_are_the_pages_own_variables() -> None:
    def draw(on: Axes) -> None:
        on.plot([0, 1], [0, 1], color=colour("accent"))
        on.plot([0, 1], [1, 0], color=colour("keystream"))

    svg = drawn(draw)
    assert "var(--accent)" in svg and "var(--keystream)" in svg
    assert "var(--line)" in svg  # the grid
    assert "var(--soft)" in svg  # the labels
    assert "#fe00" not in svg


def test_every_variable_has_a_colour_of_its_own() -> None:
    assert len({colour(variable) for variable in VARIABLES}) == len(VARIABLES)
    assert all(re.fullmatch(r"#fe00[0-9a-f]{2}", colour(variable)) for variable in VARIABLES)


def test_the_same_drawing_gives_the_same_markup_and_two_on_a_page_share_no_id() -> None:
    def draw(on: Axes) -> None:
        curve(on, *series([1.0, 3.0, 2.0]), "accent", margins=0.5, pause=9.0)

    first, again, other = drawn(draw, "one"), drawn(draw, "one"), drawn(draw, "two")
    assert first == again
    ids = [set(re.findall(r' id="([^"]+)"', svg)) for svg in (first, other)]
    assert ids[0] and not ids[0] & ids[1]
    assert all(f'url(#{used})"' in first or f'"#{used}"' in first for used in ids[0])


def test_text_is_text_and_no_markup_nor_mathematics() -> None:
    svg = drawn(lambda on: on.set_title("<b>$x$ & 画"))
    root = parsed(svg)
    assert "<b>$x$ & 画" in {text.text for text in root.iter(f"{SVG}text")}


def test_a_chart_whose_drawing_fails_has_no_markup() -> None:
    with pytest.raises(ZeroDivisionError):
        with chart("it", height=100) as (_, drawing):
            raise ZeroDivisionError
    assert drawing.svg == ""


# -- the axes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("duration_s", "scale", "unit"), [(0.0, 1, "s"), (120.0, 1, "s"), (121.0, 60, "minutes")]
)
def test_time_is_in_seconds_up_to_two_minutes_and_in_minutes_beyond(
    duration_s: float, scale: float, unit: str
) -> None:
    on = axes()
    assert time_axis(on, duration_s) == scale
    assert on.get_xlabel() == unit
    assert on.get_xlim() == (0.0, max(duration_s, 0.1) / scale)


def test_bands_are_shaded_from_the_bottom_to_the_top_and_no_further() -> None:
    on = axes()
    on.set_ylim(-10.0, AMBER_MS + 100)
    bands(on)
    spans = [(patch.get_y(), patch.get_y() + patch.get_height()) for patch in rectangles(on)]
    assert spans == [(-10.0, GREEN_MS), (GREEN_MS, AMBER_MS), (AMBER_MS, AMBER_MS + 100)]
    assert texts(on) == [f"up to {GREEN_MS:.0f} ms", f"up to {AMBER_MS:.0f} ms"]
    low = axes()
    low.set_ylim(0.0, GREEN_MS / 2)
    bands(low)
    assert [patch.get_height() for patch in rectangles(low)] == [GREEN_MS / 2]
    assert texts(low) == []


# -- what stands on them --------------------------------------------------------------------------


def test_a_short_series_is_drawn_point_by_point() -> None:
    on = axes()
    curve(on, *series([5.0, 1.0, 4.0]), "accent", pause=9.0)
    (line,) = on.lines
    assert line.get_xydata().tolist() == [[0, 5], [1, 1], [2, 4]]
    assert not on.collections


def test_its_margins_are_an_area_around_it() -> None:
    on = axes()
    curve(on, *series([5.0, 1.0]), "accent", margins=np.array([1.0, 0.5]), pause=9.0)
    (area,) = on.collections
    vertices = {tuple(vertex) for vertex in area.get_paths()[0].vertices.tolist()}
    assert vertices == {(0, 4), (0, 6), (1, 0.5), (1, 1.5)}


def test_of_a_long_series_the_mean_of_each_slice_is_drawn_and_its_extremes_are_kept() -> None:
    values = [0.0, 10.0, 20.0] * MOST_POINTS
    values[100] = 500.0
    on = axes()
    curve(on, *series(values), "accent", pause=9.0)
    (line,) = on.lines
    assert len(line.get_xydata()) == MOST_POINTS
    assert line.get_xydata()[0].tolist() == [1, 10]
    (area,) = on.collections
    assert area.get_paths()[0].vertices[:, 1].max() == 500.0
    assert area.get_paths()[0].vertices[:, 1].min() == 0.0


def test_nothing_is_drawn_across_a_gap_in_which_nothing_was_measured() -> None:
    at = np.array([0.0, 1.0, 2.0, 20.0, 40.0, 41.0])
    on = axes()
    curve(on, at, np.ones(6), "accent", pause=3.0)
    assert [line.get_xdata().tolist() for line in on.lines] == [[0, 1, 2], [20], [40, 41]]
    assert [line.get_marker() for line in on.lines] == ["", ".", ""]  # one alone must be seen


def test_a_series_that_is_slow_throughout_has_no_gaps() -> None:
    on = axes()
    curve(on, np.array([0.0, 10.0, 20.0, 45.0]), np.ones(4), "accent", pause=1.0)
    assert len(on.lines) == 1


def test_a_gap_that_is_no_pause_is_drawn_across() -> None:
    on = axes()
    curve(on, np.array([0.0, 1.0, 2.0, 8.0]), np.ones(4), "accent", pause=7.0)
    assert len(on.lines) == 1


def test_one_measurement_alone_is_a_dot() -> None:
    on = axes()
    curve(on, np.array([7.0]), np.ones(1), "accent", pause=1.0)
    assert [line.get_marker() for line in on.lines] == ["."]


def test_a_curve_is_named_over_or_under_its_end() -> None:
    on = axes()
    name_at_end(on, "p50", 20.0, "accent", above=True)
    name_at_end(on, "p95", 40.0, "accent", above=False)
    assert [(text.get_text(), text.xy, text.get_va()) for text in on.texts] == [
        ("p50", (1, 20.0), "bottom"),
        ("p95", (1, 40.0), "top"),
    ]
    assert on.texts[0].xyann[1] > 0 > on.texts[1].xyann[1]


def marked(lines: list[tuple[float, str, str]], until: float = 100.0) -> Axes:
    on = axes()
    on.set_xlim(0.0, until)
    marks(on, lines)
    return on


def test_marks_that_fall_on_one_column_of_the_screen_are_one() -> None:
    column = 100.0 / (WIDTH - LEFT - RIGHT)
    on = marked([(50.0, "a", "ink"), (50.0 + column / 10, "b", "ink"), (50.0 + column, "c", "ink")])
    assert len(on.lines) == 2
    assert texts(on) == ["a", "c"]


def test_no_name_of_a_mark_stands_over_another_and_two_rows_are_enough() -> None:
    on = marked([(10.0 + at, f"epoch {at}", "ink") for at in range(4)])
    assert len(on.lines) == 4
    assert texts(on) == ["epoch 0", "epoch 1"]  # the others have no room
    heights = [text.xyann[1] for text in on.texts]
    assert heights[0] < heights[1]
    apart = marked([(at, "x", "ink") for at in (10.0, 50.0, 90.0)])
    assert len({text.xyann[1] for text in apart.texts}) == 1


def test_ticks_are_one_a_column_of_the_screen() -> None:
    on = axes()
    on.set_xlim(0.0, 10.0)
    ticks(on, [1.0, 1.0001, 2.0], "red")
    (strokes,) = on.collections
    places = [path.vertices[0, 0] for path in strokes.get_paths()]
    assert places == pytest.approx([1.0, 2.0])
    ticks(on, [], "red")
    assert len(on.collections) == 1


def rectangles(on: Axes) -> list[Any]:
    return list(on.patches)


def texts(on: Axes) -> list[str]:
    return [text.get_text() for text in on.texts]
