"""Turning, mirroring and pixel aspect: pictures one way, rectangles both ways."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PilImage
from PIL import ImageOps

from sender.sources.geometry import Geometry
from shared.errors import BadInput
from shared.frame import MAX_SIDE, Image, Rect

WIDTH, HEIGHT = 37, 22

orientations = st.integers(1, 8)
aspects = st.sampled_from([Fraction(1), Fraction(2), Fraction(1, 2), Fraction(12, 11)])
rects = st.builds(
    lambda x, y, w, h: Rect(x, y, min(w, WIDTH - x), min(h, HEIGHT - y)),
    st.integers(0, WIDTH - 1),
    st.integers(0, HEIGHT - 1),
    st.integers(1, WIDTH),
    st.integers(1, HEIGHT),
)


def painted(width: int, height: int, rect: Rect) -> Image:
    image = np.zeros((height, width), np.uint8)
    image[rect.y : rect.y + rect.height, rect.x : rect.x + rect.width] = 255
    return image


def covers(rect: Rect, image: Image) -> bool:
    """Whether nothing bright of `image` lies outside `rect`."""
    left = image.copy()
    left[rect.y : rect.y + rect.height, rect.x : rect.x + rect.width] = 0
    return not left.any()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_exif_says(orientation: int) -> None:
    stored = np.random.default_rng(orientation).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    photo = PilImage.fromarray(stored)
    photo.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(photo))
    geometry = Geometry(WIDTH, HEIGHT, orientation)
    assert np.array_equal(geometry.shown(stored), expected)
    assert geometry.shown_size == (expected.shape[1], expected.shape[0])


@given(orientation=orientations, rect=rects)
def test_a_rectangle_is_found_where_its_pixels_went(orientation: int, rect: Rect) -> None:
    geometry = Geometry(WIDTH, HEIGHT, orientation)
    shown = geometry.to_shown(rect)
    expected = painted(*geometry.shown_size, shown)
    assert np.array_equal(geometry.shown(painted(WIDTH, HEIGHT, rect)), expected)
    assert geometry.to_stored(shown) == rect


@given(orientation=orientations, aspect=aspects, block=st.sampled_from([1, 8, 16]), rect=rects)
def test_what_was_hidden_under_a_grown_mask_leaves_no_trace_beside_it(
    orientation: int, aspect: Fraction, block: int, rect: Rect
) -> None:
    geometry = Geometry(WIDTH, HEIGHT, orientation, aspect, block)
    grown = geometry.grown(geometry.to_shown(rect))
    # All of every block that the rectangle touches may be marked by what it covered.
    x0, y0 = rect.x // block * block, rect.y // block * block
    x1 = min(WIDTH, -(-(rect.x + rect.width) // block) * block)
    y1 = min(HEIGHT, -(-(rect.y + rect.height) // block) * block)
    marked = painted(WIDTH, HEIGHT, Rect(x0, y0, x1 - x0, y1 - y0))
    assert covers(grown, geometry.shown(marked))


def test_without_loss_and_with_square_pixels_a_mask_stays_as_it_is() -> None:
    assert Geometry(WIDTH, HEIGHT, 6).grown(Rect(3, 4, 5, 6)) == Rect(3, 4, 5, 6)


def test_a_mask_grows_to_the_blocks_of_the_picture_as_stored() -> None:
    # Turned by half, the blocks are counted from the right and the bottom.
    geometry = Geometry(40, 24, 3, block=16)
    assert geometry.grown(Rect(0, 0, 1, 1)) == Rect(0, 0, 8, 8)


@pytest.mark.parametrize(
    ("aspect", "size"),
    [
        (Fraction(2), (384, 128)),
        (Fraction(1, 2), (192, 256)),
        (Fraction(16, 15), (205, 128)),
    ],
)
def test_pixels_become_square_by_stretching(aspect: Fraction, size: tuple[int, int]) -> None:
    geometry = Geometry(192, 128, pixel_aspect=aspect)
    assert geometry.shown_size == size
    assert geometry.shown(np.zeros((128, 192), np.uint8)).shape == size[::-1]


def test_a_stretched_picture_still_fits_the_protocol() -> None:
    width, height = Geometry(4000, 1000, pixel_aspect=Fraction(2)).shown_size
    assert width == MAX_SIDE
    assert height == pytest.approx(1000 * MAX_SIDE / 8000, abs=1)


@pytest.mark.parametrize("wrong", [{"orientation": 9}, {"pixel_aspect": Fraction(0)}, {"block": 0}])
def test_an_impossible_geometry_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(BadInput):
        Geometry(10, 10, **wrong)  # type: ignore[arg-type]
