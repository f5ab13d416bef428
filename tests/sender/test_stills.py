"""The last few pictures, kept in case one is asked for once more."""

from __future__ import annotations

import numpy as np

from sender.stills import MAX_BYTES, MAX_PICTURES, RecentPictures

SMALL = np.zeros((16, 16), np.uint8)


def test_a_picture_is_found_by_its_index_until_it_is_too_old() -> None:
    recent = RecentPictures()
    for index in range(MAX_PICTURES + 5):
        recent.add(index, 1000 + index, SMALL + np.uint8(index))
    assert recent.get(4) is None
    held = recent.get(5)
    assert held is not None
    assert held[0] == 1005
    assert (held[1] == 5).all()
    assert recent.get(MAX_PICTURES + 5) is None


def test_what_is_kept_is_bounded_in_bytes_and_the_newest_is_always_there() -> None:
    recent = RecentPictures()
    large = np.zeros((MAX_BYTES // 4096, 4096), np.uint8)
    recent.add(0, 0, SMALL)
    recent.add(1, 0, large)
    assert recent.get(0) is None
    assert recent.get(1) is not None
    recent.add(2, 0, SMALL)
    assert recent.get(1) is None
    assert recent.get(2) is not None
