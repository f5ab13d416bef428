"""The measuring strip: what is drawn is read back, after coding and scaling, and nothing else."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import BadInput
from shared.frame import Image
from shared.strip import MIN_WIDTH, Strip, draw_strip, read_strip, strip_height

SIZES = [(480, 640), (720, 1280), (1080, 1920), (201, 333), (256, 256), (113, 257)]
NOW_NS = 1_234_567_890_123_456


def _picture(height: int, width: int, *, colour: bool = False) -> Image:
    shape = (height, width, 3) if colour else (height, width)
    return np.random.default_rng(1).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("colour", [False, True])
def test_what_is_drawn_is_read_back(size: tuple[int, int], colour: bool) -> None:
    image = _picture(*size, colour=colour)
    draw_strip(image, 7, NOW_NS)
    assert read_strip(image) == Strip(7, NOW_NS)


@given(index=st.integers(0, 2**64 - 1), at_ns=st.integers(-(2**63), 2**63 - 1))
@settings(max_examples=50, deadline=None)
def test_every_index_and_time_fits(index: int, at_ns: int) -> None:
    image = _picture(300, 400)
    draw_strip(image, index, at_ns)
    assert read_strip(image) == Strip(index % 2**32, at_ns)


def test_only_the_rows_of_the_strip_are_drawn_over() -> None:
    image = _picture(480, 640)
    before = image.copy()
    draw_strip(image, 1, NOW_NS)
    rows = strip_height(640)
    assert rows == 20
    assert np.array_equal(image[rows:], before[rows:])
    assert not np.array_equal(image[:rows], before[:rows])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("quality", [5, 30, 90])
def test_it_survives_strong_coding(size: tuple[int, int], quality: int) -> None:
    image = _picture(*size, colour=True)
    draw_strip(image, 99, NOW_NS)
    done, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    decoded = np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.uint8)
    assert read_strip(decoded) == Strip(99, NOW_NS)


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.37, 2.0])
@pytest.mark.parametrize("method", [cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_NEAREST])
def test_it_survives_scaling(scale: float, method: int) -> None:
    image = _picture(480, 640)
    draw_strip(image, 99, NOW_NS)
    size = (round(640 * scale), round(480 * scale))
    scaled = np.asarray(cv2.resize(image, size, interpolation=method), np.uint8)
    assert read_strip(scaled) == Strip(99, NOW_NS)


def test_it_survives_a_range_that_was_taken_for_the_other() -> None:
    image = _picture(480, 640)
    draw_strip(image, 99, NOW_NS)
    squeezed = (16 + image.astype(np.float64) * 219 / 255).astype(np.uint8)
    widened = np.clip((image.astype(np.float64) - 16) * 255 / 219, 0, 255).astype(np.uint8)
    assert read_strip(squeezed) == read_strip(widened) == Strip(99, NOW_NS)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_flat_picture_has_no_strip(value: int) -> None:
    assert read_strip(np.full((480, 640), value, np.uint8)) is None


def test_noise_has_no_strip() -> None:
    assert all(
        read_strip(np.random.default_rng(seed).integers(0, 256, (480, 640), np.uint8)) is None
        for seed in range(50)
    )


@pytest.mark.parametrize("cell", [0, 31, 40, 95, 96, 127])
def test_one_wrong_cell_is_noticed(cell: int) -> None:
    image = _picture(480, 640)
    draw_strip(image, 99, NOW_NS)
    top, left = 10 * (cell // 64), 10 * (cell % 64)
    image[top : top + 10, left : left + 10] = 251 - image[top : top + 10, left : left + 10]
    assert read_strip(image) is None


def test_a_picture_too_small_is_refused() -> None:
    with pytest.raises(BadInput, match="too small"):
        draw_strip(_picture(480, MIN_WIDTH - 1), 0, 0)
    with pytest.raises(BadInput, match="too small"):
        draw_strip(_picture(16, 1024), 0, 0)
    assert read_strip(_picture(16, 16)) is None
