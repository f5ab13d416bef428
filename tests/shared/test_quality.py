"""PSNR against its definition, 10·log10(255² / MSE) in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import BadInput
from shared.frame import Image
from shared.quality import psnr_db


def defined_psnr(a: Image, b: Image) -> float:
    error = a.astype(np.float64) - b.astype(np.float64)
    return float(10.0 * np.log10(255.0**2 / np.mean(error * error)))


@settings(deadline=None)
@given(
    shape=st.sampled_from([(16, 16), (17, 31), (64, 48, 3), (33, 16, 3)]),
    seed=st.integers(0, 2**32 - 1),
    amplitude=st.integers(1, 255),
)
def test_psnr_equals_its_definition_over_all_channels(
    shape: tuple[int, ...], seed: int, amplitude: int
) -> None:
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 256, shape, dtype=np.uint8)
    b = np.clip(a.astype(int) + rng.integers(-amplitude, amplitude + 1, shape), 0, 255)
    b = b.astype(np.uint8)
    b.flat[0] = a.flat[0] ^ 1  # never equal
    assert psnr_db(a, b) == pytest.approx(defined_psnr(a, b), rel=1e-12)


def test_equal_pictures_have_no_psnr() -> None:
    picture = np.arange(16 * 16, dtype=np.uint8).reshape(16, 16)
    assert psnr_db(picture, picture.copy()) is None


def test_one_wrong_step_in_one_sample_is_seen() -> None:
    a = np.zeros((64, 64, 3), np.uint8)
    b = a.copy()
    b[5, 6, 2] = 1
    assert psnr_db(a, b) == pytest.approx(10 * np.log10(255**2 * a.size), rel=1e-12)


def test_black_against_white_is_zero_decibels() -> None:
    black = np.zeros((2160, 4096, 3), np.uint8)  # the sum of squares must not overflow
    assert psnr_db(black, ~black) == pytest.approx(0.0, abs=1e-12)


def test_rows_that_lie_apart_in_memory_are_compared_alike() -> None:
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 256, (40, 80, 3), dtype=np.uint8)
    a, b = wide[:, :40], wide[:, 40:]
    assert psnr_db(a, b) == pytest.approx(defined_psnr(a, b), rel=1e-12)


def test_pictures_of_different_shapes_are_refused() -> None:
    with pytest.raises(BadInput):
        psnr_db(np.zeros((16, 16), np.uint8), np.zeros((16, 16, 3), np.uint8))
