"""Pictures to full-range planes and back: exact in grey, within a level in colour, any size."""

from __future__ import annotations

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.codecs.planes import PlaneReader, PlaneWriter, padded, plane
from shared.errors import DecodeFailed


@settings(deadline=None, max_examples=60)
@given(
    width=st.integers(16, 90),
    height=st.integers(16, 90),
    halved=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_grey_of_any_size_comes_back_exactly(
    width: int, height: int, halved: bool, seed: int
) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    writer = PlaneWriter(width, height, 1, halved=halved)
    reader = PlaneReader(width, height, 1, halved=halved)
    assert np.array_equal(reader.read(writer.write(picture)), picture)


@settings(deadline=None, max_examples=60)
@given(width=st.integers(16, 90), height=st.integers(16, 90), seed=st.integers(0, 1000))
def test_colour_with_whole_chroma_comes_back_to_within_one_level(
    width: int, height: int, seed: int
) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    writer = PlaneWriter(width, height, 3, halved=False)
    shown = PlaneReader(width, height, 3, halved=False).read(writer.write(picture))
    assert shown.shape == picture.shape
    assert np.abs(shown.astype(int) - picture).max() <= 1


@pytest.mark.parametrize("size", [(32, 32), (31, 33)])
def test_flat_colour_with_halved_chroma_comes_back_to_within_one_level(
    size: tuple[int, int],
) -> None:
    rng = np.random.default_rng(0)
    writer = PlaneWriter(size[1], size[0], 3, halved=True)
    reader = PlaneReader(size[1], size[0], 3, halved=True)
    for _ in range(200):
        picture = np.full((*size, 3), rng.integers(0, 256, 3), np.uint8)
        assert np.abs(reader.read(writer.write(picture)).astype(int) - picture).max() <= 1


def test_an_odd_picture_is_padded_with_its_edge_so_that_the_edge_keeps_its_colour() -> None:
    picture = np.zeros((33, 35, 3), np.uint8)
    picture[:, -5:], picture[-5:] = (200, 30, 30), (30, 30, 200)
    writer = PlaneWriter(35, 33, 3, halved=True)
    shown = PlaneReader(35, 33, 3, halved=True).read(writer.write(picture)).astype(int)
    assert np.abs(shown[10, -1] - picture[10, -1]).max() <= 1
    assert np.abs(shown[-1, 10] - picture[-1, 10]).max() <= 1


def test_the_planes_are_those_of_the_standard_matrix_in_full_range() -> None:
    writer = PlaneWriter(16, 16, 3, halved=True)
    for colour, expected in [
        ((255, 255, 255), (255, 128, 128)),
        ((0, 0, 0), (0, 128, 128)),
        ((255, 0, 0), (76, 85, 255)),
        ((0, 0, 255), (29, 255, 107)),
    ]:
        frame = writer.write(np.full((16, 16, 3), colour, np.uint8))
        found = [int(plane(frame, number)[5, 5]) for number in range(3)]
        assert np.abs(np.subtract(found, expected)).max() <= 1


def test_sizes_are_padded_to_even_ones_and_to_the_least_that_an_encoder_takes() -> None:
    assert padded(33, 48, halved=True) == (34, 48)
    assert padded(33, 48, halved=False) == (33, 48)


@pytest.mark.parametrize(
    ("size", "pixel_format", "colour_range"),
    [((34, 32), "yuvj420p", 2), ((32, 32), "yuvj444p", 2), ((32, 32), "yuv420p", 1)],
)
def test_frames_of_another_size_sampling_or_range_are_refused(
    size: tuple[int, int], pixel_format: str, colour_range: int
) -> None:
    frame = av.VideoFrame(*size, pixel_format)
    frame.color_range = colour_range
    with pytest.raises(DecodeFailed):
        PlaneReader(32, 32, 3, halved=True).read(frame)
