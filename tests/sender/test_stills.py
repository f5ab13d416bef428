"""The last few pictures, kept in case one is asked for once more."""

from __future__ import annotations

import numpy as np

from sender.masks.rectangles import apply_masks
from sender.pipeline import MAX_BYTES, MAX_PICTURES, RecentPictures
from shared.frame import Image, Rect

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


LETTERS, OTHERS = Rect(0, 0, 8, 4), Rect(4, 8, 6, 2)
WHITE = np.full((16, 16), 255, np.uint8)


def held(recent: RecentPictures, index: int) -> Image:
    found = recent.get(index)
    assert found is not None
    return found[1]


def test_what_was_hidden_of_any_later_picture_is_hidden_of_a_still() -> None:
    recent = RecentPictures()
    recent.add(0, 0, WHITE)
    recent.add(1, 0, apply_masks(WHITE, (LETTERS,)), (LETTERS,))
    recent.add(2, 0, apply_masks(WHITE, (OTHERS,)), (OTHERS,))
    assert np.array_equal(held(recent, 0), apply_masks(WHITE, (LETTERS, OTHERS)))
    assert np.array_equal(held(recent, 1), apply_masks(WHITE, (LETTERS, OTHERS)))
    assert np.array_equal(held(recent, 2), apply_masks(WHITE, (OTHERS,)))
    assert (WHITE == 255).all(), "a picture that is kept was written to"


def test_a_still_is_refused_once_a_later_picture_is_hidden_whole_or_of_another_size() -> None:
    whole = (Rect(0, 0, 16, 8), Rect(0, 8, 16, 8))
    recent = RecentPictures()
    recent.add(0, 0, WHITE)
    recent.add(1, 0, apply_masks(WHITE, whole), whole)
    assert recent.get(0) is None
    assert (held(recent, 1) == 0).all()
    recent.add(2, 0, np.full((20, 16), 255, np.uint8))
    assert recent.get(1) is None
    assert (held(recent, 2) == 255).all()
