"""What the network sees of a frame, as a picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.sinks.viewer import PLAIN, sealed_picture


@given(st.binary(max_size=4000), st.integers(16, 4096), st.integers(16, 4096))
def test_the_picture_holds_every_byte_as_it_is_and_plain_grey_after(
    sealed: bytes, width: int, height: int
) -> None:
    picture = sealed_picture(sealed, width, height)
    assert picture.dtype == np.uint8
    assert picture.ndim == 2
    flat = picture.tobytes()
    assert flat[: len(sealed)] == sealed
    assert flat[len(sealed) :] == bytes([PLAIN]) * (len(flat) - len(sealed))
    if sealed:
        assert len(flat) - len(sealed) < picture.shape[1], "a whole row is empty"


@pytest.mark.parametrize(("width", "height"), [(640, 480), (1920, 1080), (370, 370), (98, 400)])
def test_the_picture_has_the_proportions_of_the_frame(width: int, height: int) -> None:
    rows, columns = sealed_picture(bytes(20_000), width, height).shape
    assert columns / rows == pytest.approx(width / height, rel=0.05)
