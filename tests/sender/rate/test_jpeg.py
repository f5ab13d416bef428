"""The quality of a JPEG follows what it may come to, without flicker."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sender.rate.budget import HOLD_NS, LOWEST_QUALITY, JpegQuality, jpeg_quality, jpeg_size


def test_a_better_quality_is_always_larger_and_90_is_the_unit() -> None:
    sizes = [jpeg_size(quality) for quality in range(1, 101)]
    assert all(small < large for small, large in pairwise(sizes))
    assert jpeg_size(90) == pytest.approx(1.0)


@given(st.integers(1, 100))
def test_the_quality_for_a_size_is_the_one_that_has_it(quality: int) -> None:
    assert jpeg_quality(jpeg_size(quality)) == quality


def test_what_is_too_large_is_lowered_at_once_to_what_fits() -> None:
    quality = JpegQuality(90)
    quality.settle(0, jpeg_size(50))
    assert quality.value == 50


def test_a_little_too_large_is_tolerated() -> None:
    quality = JpegQuality(90)
    quality.settle(0, 0.95)
    assert quality.value == 90


def test_it_rises_after_a_while_and_only_by_steps_that_can_be_seen() -> None:
    quality = JpegQuality(90)
    quality.settle(0, jpeg_size(50))
    quality.settle(1, 1.0)
    assert quality.value == 50, "it fell just now"
    quality.settle(HOLD_NS, jpeg_size(53))
    assert quality.value == 50, "three steps of the scale can't be seen"
    quality.settle(HOLD_NS, jpeg_size(70))
    assert 50 < quality.value < 70, "some room is kept"


def test_neither_floor_nor_ceiling_is_passed() -> None:
    quality = JpegQuality(60)
    quality.settle(0, 2.0)
    assert quality.value == 60
    quality.settle(1, 0.0)
    assert quality.value == LOWEST_QUALITY
    quality.settle(2, 0.0, 40)
    assert quality.value == 40
    quality.settle(3, 0.0, 99)
    assert quality.value == 60, "what the person asked for at most"
