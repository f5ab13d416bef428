"""Which rectangles of an ultrasound file are kept, and what is refused."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from sender.masks.rectangles import apply_masks
from sender.sources.dicom.regions import MAX_REGIONS, masks_of
from sender.sources.geometry import Geometry
from shared.errors import BadInput
from tests.sender.sources.dicom.headers import item

WIDTH, HEIGHT = 60, 40
PLAIN = Geometry(WIDTH, HEIGHT)


def region(
    left: Any, top: Any, right: Any, bottom: Any, *, spatial: Any = 1, data: Any = 1
) -> Dataset:
    """A region, by default a 2D one of tissue; an element of None is left out."""
    elements = {
        "RegionSpatialFormat": spatial,
        "RegionDataType": data,
        "RegionLocationMinX0": left,
        "RegionLocationMinY0": top,
        "RegionLocationMaxX1": right,
        "RegionLocationMaxY1": bottom,
    }
    return item(**{name: value for name, value in elements.items() if value is not None})


def declaring(*regions: Dataset) -> Dataset:
    return item(SequenceOfUltrasoundRegions=list(regions))


def kept(*regions: Dataset, geometry: Geometry = PLAIN) -> np.ndarray:
    """Which pixels of the shown picture stay."""
    width, height = geometry.shown_size
    white = np.full((height, width), 255, np.uint8)
    return np.asarray(apply_masks(white, masks_of(declaring(*regions), geometry)) == 255)


def box(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    found = np.zeros((HEIGHT, WIDTH), bool)
    found[top : bottom + 1, left : right + 1] = True
    return found


# -- what is kept ----------------------------------------------------------------------------------

IMAGES = {0: False, 1: True, 2: True, 3: True, 4: True, 5: False, 6: False, 99: False, None: False}
TYPES = {
    **dict.fromkeys(range(1, 13), True),
    **dict.fromkeys(range(15, 19), True),
    **dict.fromkeys((0, 13, 14, 19, 255, None), False),
}


@pytest.mark.parametrize(("spatial", "data"), list(product(IMAGES, TYPES)))
def test_a_region_is_kept_only_if_it_is_said_to_be_an_image(
    spatial: int | None, data: int | None
) -> None:
    first = region(10, 5, 29, 14)
    asked = region(30, 20, 49, 34, spatial=spatial, data=data)
    expected = box(10, 5, 29, 14)
    if IMAGES[spatial] and TYPES[data]:
        expected |= box(30, 20, 49, 34)
    assert np.array_equal(kept(first, asked), expected)


def test_a_region_that_is_none_over_all_the_screen_hides_nothing_of_an_image() -> None:
    over_all = region(0, 0, 59, 39, spatial=0, data=0)
    for regions in ((over_all, region(10, 5, 29, 14)), (region(10, 5, 29, 14), over_all)):
        assert np.array_equal(kept(*regions), box(10, 5, 29, 14))


def test_regions_may_overlap() -> None:
    expected = box(10, 5, 29, 14) | box(25, 10, 49, 34)
    assert np.array_equal(kept(region(10, 5, 29, 14), region(25, 10, 49, 34)), expected)


def test_one_pixel_beyond_the_picture_is_a_slip() -> None:
    assert np.array_equal(kept(region(10, 5, 60, 40)), box(10, 5, 59, 39))


@pytest.mark.parametrize(
    "broken",
    [
        region(29, 5, 10, 14),  # reversed
        region(10, 14, 29, 5),
        region(-5, 5, 29, 14),
        region(10, None, 29, 14),
    ],
)
def test_what_makes_no_rectangle_is_not_kept(broken: Dataset) -> None:
    assert np.array_equal(kept(region(30, 20, 49, 34), broken), box(30, 20, 49, 34))


def test_a_region_of_one_pixel_is_one_pixel() -> None:
    assert np.array_equal(kept(region(7, 8, 7, 8)), box(7, 8, 7, 8))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, WIDTH - 1),
            st.integers(0, HEIGHT - 1),
            st.integers(1, WIDTH),
            st.integers(1, HEIGHT),
            st.booleans(),
        ),
        max_size=6,
    )
)
def test_only_pixels_of_an_image_region_ever_stay(drawn: list[Any]) -> None:
    allowed = np.zeros((HEIGHT, WIDTH), bool)
    regions = []
    for left, top, width, height, image in drawn:
        right, bottom = min(left + width, WIDTH) - 1, min(top + height, HEIGHT) - 1
        regions.append(region(left, top, right, bottom, spatial=int(image)))
        if image:
            allowed |= box(left, top, right, bottom)
    try:
        stays = kept(*regions)
    except BadInput:
        return
    assert np.array_equal(stays, allowed)


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("regions", "why"),
    [
        ([], "declares no ultrasound regions"),
        ([region(10, 5, 29, 14, spatial=0)], "none of the ultrasound regions"),
        ([region(10, 5, 29, 14, data=14)], "none of the ultrasound regions"),
        ([region(29, 5, 10, 14)], "none of the ultrasound regions"),
        ([Dataset()], "none of the ultrasound regions"),
        ([region(0, 0, 59, 39)], "hide nothing"),
        ([region(0, 0, 60, 40)], "hide nothing"),
        ([region(1, 1, 58, 38)], "hide nothing"),  # no letter stands in a strip of one pixel
        ([region(0, 0, 30, 39), region(31, 0, 59, 39)], "hide nothing"),
        ([region(60, 5, 60, 9)], "none of the ultrasound regions"),  # just outside
        ([region(70, 50, 90, 60)], "another size"),
        ([region(10, 5, 61, 14)], "another size"),
        ([region(10, 5, 29, 14), region(0, 0, 119, 79, spatial=0, data=0)], "another size"),
        ([region(10, 5, 29, 2**32 - 1)], "another size"),
        ([region(10, 5, 29, 14)] * (MAX_REGIONS + 1), "more than"),
    ],
)
def test_masking_that_would_hide_nothing_or_has_nothing_to_go_by_is_refused(
    regions: list[Dataset], why: str
) -> None:
    with pytest.raises(BadInput, match=why) as caught:
        masks_of(declaring(*regions), PLAIN)
    assert "--mask x,y,w,h" in caught.value.hint
    assert "--mask-text" in caught.value.hint


def test_a_file_without_the_element_is_refused() -> None:
    with pytest.raises(BadInput, match="declares no ultrasound regions"):
        masks_of(Dataset(), PLAIN)


# -- the picture as shown --------------------------------------------------------------------------


def test_masks_are_those_of_the_picture_as_shown() -> None:
    wide = Geometry(WIDTH, HEIGHT, pixel_aspect=Fraction(2))
    stays = kept(region(10, 5, 29, 14), geometry=wide)
    rows, columns = np.nonzero(stays)
    # One pixel less at each side: stretching mixed its neighbours into it.
    assert (rows.min(), rows.max()) == (6, 13)
    assert (columns.min(), columns.max()) == (22, 57)
    turned = kept(region(10, 5, 29, 14), geometry=Geometry(WIDTH, HEIGHT, orientation=6))
    assert np.array_equal(turned, np.rot90(box(10, 5, 29, 14), -1))


def test_masks_grow_to_the_blocks_of_a_compressed_picture() -> None:
    stays = kept(region(10, 5, 49, 37), geometry=Geometry(WIDTH, HEIGHT, block=16))
    rows, columns = np.nonzero(stays)
    assert (columns.min(), columns.max()) == (16, 47)
    assert (rows.min(), rows.max()) == (16, 31)
