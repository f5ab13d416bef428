"""What is hidden of each picture: as a person sees it, grown, and whole where masks do not fit."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sender.masks.masking import Masking
from sender.masks.rectangles import hidden_pixels
from sender.masks.textwatch import Sight
from sender.sources.geometry import Geometry
from sender.sources.source import SourcePicture
from shared.errors import BadInput
from shared.frame import Rect

geometries = st.builds(
    Geometry,
    st.integers(16, 90),
    st.integers(16, 90),
    st.integers(1, 8),
    st.sampled_from([Fraction(1), Fraction(2), Fraction(12, 11), Fraction(1, 2)]),
    st.sampled_from([1, 8, 16]),
)


def shown(geometry: Geometry, masks: tuple[Rect, ...] = ()) -> SourcePicture:
    width, height = geometry.shown_size
    return SourcePicture(np.zeros((height, width), np.uint8), geometry, masks=masks)


def plain(width: int = 64, height: int = 48, masks: tuple[Rect, ...] = ()) -> SourcePicture:
    return shown(Geometry(width, height), masks)


@dataclass
class Watch:
    """A `TextWatch` that sees what the test says."""

    sight: Sight
    boxes: tuple[Rect, ...] = ()
    hidden: list[tuple[Rect, ...]] = field(default_factory=list)
    closed: bool = False

    def see(self, picture: SourcePicture, hidden: tuple[Rect, ...] = ()) -> Sight:
        self.hidden.append(hidden)
        return self.sight

    def close(self) -> None:
        self.closed = True


@settings(deadline=None)
@given(geometry=geometries, data=st.data())
def test_every_pixel_of_a_rectangle_is_hidden_as_a_person_sees_it(
    geometry: Geometry, data: st.DataObject
) -> None:
    width, height = geometry.shown_size
    x = data.draw(st.integers(0, width - 1))
    y = data.draw(st.integers(0, height - 1))
    rect = Rect(x, y, data.draw(st.integers(1, 200)), data.draw(st.integers(1, 200)))
    picture = shown(geometry)
    masking = Masking(picture, [rect])
    hidden = hidden_pixels(masking.masks(picture), width, height)
    assert hidden[y : y + rect.height, x : x + rect.width].all()
    assert masking.first_masks == masking.masks(picture)
    assert masking.notices() == []


@settings(deadline=None)
@given(orientation=st.integers(1, 8), block=st.sampled_from([8, 16]), data=st.data())
def test_masks_are_grown_to_whole_blocks_of_the_picture_as_it_is_stored(
    orientation: int, block: int, data: st.DataObject
) -> None:
    geometry = Geometry(70, 50, orientation, block=block)
    width, height = geometry.shown_size
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    hidden = hidden_pixels(
        Masking(shown(geometry), [Rect(x, y, 3, 2)]).first_masks, width, height
    ).astype(np.uint8)
    # Each block of the stored picture, taken to where it is shown, is hidden whole or not at all.
    for top in range(0, 50, block):
        for left in range(0, 70, block):
            stored = np.zeros((50, 70), np.uint8)
            stored[top : top + block, left : left + block] = 1
            part = hidden[geometry.shown(stored) == 1]
            assert part.all() or not part.any()


def test_a_rectangle_wholly_outside_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(BadInput, match="would hide nothing"):
        Masking(plain(), [Rect(64, 0, 5, 5)])


def test_of_a_picture_as_it_is_shown_and_not_as_it_is_stored() -> None:
    turned = shown(Geometry(64, 48, 6))  # shown 48 x 64
    assert Masking(turned, [Rect(0, 50, 48, 10)]).first_masks == (Rect(0, 50, 48, 10),)
    with pytest.raises(BadInput, match="outside the 48x64 picture"):
        Masking(turned, [Rect(50, 0, 10, 10)])


def test_what_the_source_declares_is_hidden_beside_what_a_person_drew() -> None:
    declared, drawn = Rect(0, 0, 64, 8), Rect(10, 20, 5, 5)
    masking = Masking(plain(masks=(declared,)), [drawn])
    assert masking.first_masks == (declared, drawn)
    # The source may declare something else of each picture.
    assert masking.masks(plain(masks=(Rect(1, 1, 2, 2),))) == (Rect(1, 1, 2, 2), drawn)


def test_a_picture_of_another_size_is_hidden_whole_and_told_until_it_fits_again() -> None:
    masking = Masking(plain(), [Rect(0, 0, 10, 10)], clock=lambda: 77)
    masking.masks(plain())
    assert masking.masks(plain(80, 60)) == (Rect(0, 0, 80, 60),)
    assert masking.masks(plain(48, 64)) == (Rect(0, 0, 48, 64),)
    (told,) = masking.notices()
    assert (told.kind, told.lasting, told.since_ns) == ("picture_hidden", True, 77)
    assert told.text == (
        "the picture changed its size: it is hidden, since its masks were drawn for 64x48"
    )
    assert masking.notices() == []
    assert masking.masks(plain()) == (Rect(0, 0, 10, 10),)
    (told,) = masking.notices()
    assert (told.kind, told.lasting) == ("picture_hidden", False)


def test_without_rectangles_a_picture_of_another_size_keeps_what_its_source_declares() -> None:
    masking = Masking(plain(masks=(Rect(0, 0, 9, 9),)))
    assert masking.masks(plain(80, 60, masks=(Rect(0, 0, 5, 5),))) == (Rect(0, 0, 5, 5),)
    assert masking.notices() == []


def test_text_is_hidden_as_the_rest_is_and_told() -> None:
    picture = shown(Geometry(64, 48, block=16))
    watch = Watch(Sight((Rect(3, 3, 4, 4),), found=1))
    masking = Masking(picture, [Rect(40, 40, 2, 2)], text=watch)  # type: ignore[arg-type]
    assert masking.masks(picture) == (Rect(32, 32, 16, 16), Rect(0, 0, 16, 16))
    assert watch.hidden == [(Rect(40, 40, 2, 2),)]
    assert [(n.kind, n.lasting, n.text) for n in masking.notices()] == [
        ("text_masked", False, "text was found and hidden: 1 more place")
    ]
    watch.sight = Sight((Rect(3, 3, 4, 4),), found=2)
    masking.masks(picture)
    assert [n.text for n in masking.notices()] == ["text was found and hidden: 2 more places"]
    masking.close()
    assert watch.closed


def test_a_picture_that_was_not_looked_at_is_hidden_whole_and_told() -> None:
    watch = Watch(Sight(None, "not looked at"), boxes=(Rect(1, 2, 3, 4),))
    masking = Masking(plain(), text=watch)  # type: ignore[arg-type]
    assert masking.first_masks == (Rect(1, 2, 3, 4),)
    assert masking.masks(plain()) == (Rect(0, 0, 64, 48),)
    watch.sight = Sight((Rect(5, 5, 5, 5),))
    assert masking.masks(plain()) == (Rect(5, 5, 5, 5),)
    assert [(n.kind, n.lasting) for n in masking.notices()] == [
        ("picture_hidden", True),
        ("picture_hidden", False),
    ]


def test_the_person_is_told_of_the_masks_first_where_there_are_two_reasons() -> None:
    masking = Masking(
        plain(),
        [Rect(0, 0, 5, 5)],
        text=Watch(Sight(None, "not looked at")),  # type: ignore[arg-type]
    )
    masking.masks(plain(80, 60))
    assert [n.text.partition(":")[0] for n in masking.notices()] == ["the picture changed its size"]
