"""Masks: what they cover is black, all else is untouched, and a mask that hides nothing is told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sender.masks.rectangles import (
    apply_masks,
    fit_masks,
    hidden_pixels,
    outside,
    parse_rect,
    share_hidden,
)
from shared.errors import BadInput
from shared.frame import Rect

rects_within = st.builds(
    Rect, st.integers(0, 39), st.integers(0, 29), st.integers(1, 60), st.integers(1, 60)
)


def covered(rects: tuple[Rect, ...] | list[Rect], width: int = 40, height: int = 30) -> np.ndarray:
    """Which pixels the rectangles cover, counted one by one."""
    times = np.zeros((height, width), int)
    for y in range(height):
        for x in range(width):
            times[y, x] = sum(r.x <= x < r.x + r.width and r.y <= y < r.y + r.height for r in rects)
    return times


@settings(deadline=None)
@given(rects=st.lists(rects_within, max_size=4), colour=st.booleans())
def test_masked_pixels_are_black_and_the_others_untouched(rects: list[Rect], colour: bool) -> None:
    image = np.full((30, 40, 3) if colour else (30, 40), 200, np.uint8)
    image.flags.writeable = False
    masked = apply_masks(image, rects)
    hidden = covered(rects) > 0
    assert np.all(masked[hidden] == 0)
    assert np.all(masked[~hidden] == 200)


def test_without_masks_nothing_is_copied() -> None:
    image = np.zeros((30, 40), np.uint8)
    assert apply_masks(image, ()) is image


def test_a_mask_that_reaches_over_the_edge_is_clipped() -> None:
    assert fit_masks([Rect(30, 20, 100, 100)], 40, 30) == (Rect(30, 20, 10, 10),)


@pytest.mark.parametrize("rect", [Rect(40, 0, 5, 5), Rect(0, 30, 5, 5)])
def test_a_mask_wholly_outside_is_refused(rect: Rect) -> None:
    with pytest.raises(BadInput, match="outside the 40x30 picture"):
        fit_masks([rect], 40, 30)
    with pytest.raises(BadInput):
        apply_masks(np.zeros((30, 40), np.uint8), [rect])


def test_masks_are_read_as_x_y_width_height() -> None:
    assert parse_rect("1,2,30,4") == Rect(x=1, y=2, width=30, height=4)
    assert parse_rect(" 1, 2, 30, 4 ") == Rect(1, 2, 30, 4)


@pytest.mark.parametrize(
    "text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "1.5,0,3,3", "-1,0,3,3", "0,0,0,3", "0,0,3,-1"]
)
def test_what_is_no_rectangle_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        parse_rect(text)


@settings(deadline=None)
@given(kept=st.lists(rects_within, max_size=4))
def test_all_but_the_kept_regions_is_covered_exactly_once(kept: list[Rect]) -> None:
    masks = outside(kept, 40, 30)
    assert np.array_equal(covered(list(masks)), (covered(kept) == 0).astype(int))
    assert fit_masks(masks, 40, 30) == masks  # none reaches over the edge


@settings(deadline=None)
@given(rects=st.lists(rects_within, max_size=6))
def test_hidden_pixels_are_those_that_the_masks_blacken(rects: list[Rect]) -> None:
    hidden = hidden_pixels(rects, 40, 30)
    assert np.array_equal(hidden, covered(rects) > 0)
    masked = apply_masks(np.full((30, 40), 200, np.uint8), rects)
    assert np.array_equal(hidden, masked == 0)
    assert share_hidden(rects, Rect(0, 0, 40, 30)) == pytest.approx(hidden.mean())


@settings(deadline=None)
@given(rects=st.lists(rects_within, max_size=6), area=rects_within)
def test_the_share_of_an_area_is_counted_inside_of_it(rects: list[Rect], area: Rect) -> None:
    inside = hidden_pixels(rects, 120, 120)[
        area.y : area.y + area.height, area.x : area.x + area.width
    ]
    assert share_hidden(rects, area) == pytest.approx(inside.mean())
