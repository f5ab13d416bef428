from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.sinks.sealed_view import PLAIN, sealed_picture


@given(st.binary(max_size=400), st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 3]))
def test_the_picture_holds_the_bytes_as_they_are_and_plain_grey_after(
    sealed: bytes, width: int, height: int, channels: int
) -> None:
    picture = sealed_picture(sealed, width, height, channels)
    assert picture.dtype == np.uint8
    assert picture.shape == ((height, width) if channels == 1 else (height, width, 3))
    flat = picture.tobytes()
    shown = min(len(sealed), len(flat))
    assert flat[:shown] == sealed[:shown]
    assert flat[shown:] == bytes([PLAIN]) * (len(flat) - shown)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_picture_may_be_drawn_on(channels: int) -> None:
    sealed_picture(b"abc", 4, 4, channels)[:] = 0
