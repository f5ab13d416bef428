"""Places of text: what was seen stays covered, few rectangles do, and glimpses are let go."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sender.masks.rectangles import hidden_pixels
from sender.masks.textplaces import FORGET_AFTER, MAX_PLACES, TextPlaces
from shared.frame import Rect

boxes = st.builds(
    Rect, st.integers(0, 90), st.integers(0, 90), st.integers(1, 30), st.integers(1, 30)
)
LINE, ELSEWHERE = Rect(10, 10, 40, 8), Rect(10, 60, 20, 8)


def covered(rects: tuple[Rect, ...] | list[Rect]) -> np.ndarray:
    return hidden_pixels(rects, 120, 120)


@settings(deadline=None)
@given(st.lists(st.lists(boxes, max_size=6), max_size=FORGET_AFTER))
def test_all_that_was_seen_lately_is_covered(looks: list[list[Rect]]) -> None:
    places = TextPlaces()
    for found in looks:
        places = places.after(found)
    seen = covered([box for found in looks for box in found])
    assert np.all(covered(places.boxes)[seen])


def test_places_are_bounded_whatever_is_found() -> None:
    dice = np.random.default_rng(3)
    many = [Rect(int(x), int(y), 2, 2) for x, y in dice.integers(0, 118, (600, 2))]
    places = TextPlaces().after(many)
    assert len(places.boxes) <= MAX_PLACES
    assert np.all(covered(places.boxes)[covered(many)])


def test_one_line_found_twice_is_one_place_and_two_lines_are_two() -> None:
    again = Rect(12, 9, 40, 8)
    places = TextPlaces().after([LINE]).after([again, ELSEWHERE])
    assert set(places.boxes) == {Rect(10, 9, 42, 9), ELSEWHERE}


def test_what_was_seen_twice_is_hidden_for_good() -> None:
    places = TextPlaces().after([LINE]).after([]).after([LINE])
    for _ in range(10 * FORGET_AFTER):
        places = places.after([])
    assert places.boxes == (LINE,)


def test_what_was_there_before_pairing_is_hidden_for_good() -> None:
    places = TextPlaces().after([LINE], sure=True)
    for _ in range(10 * FORGET_AFTER):
        places = places.after([])
    assert places.boxes == (LINE,)


def test_a_glimpse_is_hidden_for_a_while_and_then_let_go() -> None:
    places = TextPlaces().after([LINE])
    for _ in range(FORGET_AFTER):
        places = places.after([])
        assert places.boxes == (LINE,)
    assert places.after([]).boxes == ()


def test_two_halves_found_in_one_look_are_one_sight_of_a_line() -> None:
    half, rest = Rect(10, 10, 25, 8), Rect(28, 10, 22, 8)
    places = TextPlaces().after([half, rest])
    assert places.boxes == (LINE,)
    for _ in range(FORGET_AFTER + 1):
        places = places.after([])
    assert places.boxes == ()


def test_places_never_change_under_who_holds_them() -> None:
    before = TextPlaces().after([LINE])
    before.after([ELSEWHERE])
    assert before.boxes == (LINE,)
