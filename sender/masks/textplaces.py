"""Where text was seen in the pictures of one stream, look by look.

Pure.  What was there before pairing, or was seen twice, is a place of text from then on, whether it
is there now or not: text that went away may come back.  What one look saw and none of the next many
did was a glimpse, as a detector has them in moving tissue, and is let go: they would add up until
nothing of a long stream is left to see.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from shared.frame import Rect

__all__ = ["FORGET_AFTER", "MAX_PLACES", "TextPlaces"]

FORGET_AFTER = 30  # looks; about a minute
MAX_PLACES = 128  # more than a device writes to; beyond, those that lie close are joined
_SURE = 2  # looks that make a place lasting


@dataclass(frozen=True, slots=True)
class _Place:
    box: Rect
    looks: int  # that saw it, counted up to `_SURE`
    last: int  # the newest of them


@dataclass(frozen=True, slots=True)
class TextPlaces:
    """The places after so many `looks`."""

    places: tuple[_Place, ...] = ()
    looks: int = 0

    @property
    def boxes(self) -> tuple[Rect, ...]:
        """Rectangles that cover every place."""
        return tuple(place.box for place in self.places)

    def after(self, found: Iterable[Rect], *, sure: bool = False) -> TextPlaces:
        """Return the places after one more look, which `found` text there.

        With `sure`, all that was found is lasting at once.
        """
        look = self.looks + 1
        places = list(self.places)
        for box in found:
            places = _with(places, _Place(box, _SURE if sure else 1, look))
            if len(places) > MAX_PLACES:
                one, other = _closest(places)
                both = _joined(places[one], places[other])
                places = _with([p for at, p in enumerate(places) if at not in (one, other)], both)
        kept = (p for p in places if p.looks >= _SURE or look - p.last <= FORGET_AFTER)
        return TextPlaces(tuple(kept), look)


def _with(places: Sequence[_Place], new: _Place) -> list[_Place]:
    """The places and a new one, as one where the two are the same line seen twice.

    That is where the rectangle around both is no larger than the two together.
    """
    others = list(places)
    while others:
        nearest = min(others, key=lambda place: _growth(new.box, place.box))
        if _growth(new.box, nearest.box) > 0:
            break
        others.remove(nearest)
        new = _joined(new, nearest)
    return [*others, new]


def _joined(a: _Place, b: _Place) -> _Place:
    # Two boxes of one look are one sight of it.
    looks = max(a.looks, b.looks) if a.last == b.last else min(_SURE, a.looks + b.looks)
    return _Place(_around(a.box, b.box), looks, max(a.last, b.last))


def _around(a: Rect, b: Rect) -> Rect:
    x, y = min(a.x, b.x), min(a.y, b.y)
    right, bottom = max(a.x + a.width, b.x + b.width), max(a.y + a.height, b.y + b.height)
    return Rect(x, y, right - x, bottom - y)


def _growth(a: Rect, b: Rect) -> int:
    """How many pixels the rectangle around both has more than the two; negative if they overlap."""
    around = _around(a, b)
    return around.width * around.height - a.width * a.height - b.width * b.height


def _closest(places: Sequence[_Place]) -> tuple[int, int]:
    """Which two grow least by being joined."""
    boxes = [place.box for place in places]
    sides = np.array([(r.x, r.y, r.x + r.width, r.y + r.height) for r in boxes], np.int64)
    low = np.minimum(sides[:, None, :2], sides[None, :, :2])
    high = np.maximum(sides[:, None, 2:], sides[None, :, 2:])
    areas = np.prod(sides[:, 2:] - sides[:, :2], axis=1)
    growth = np.prod(high - low, axis=2) - areas[:, None] - areas[None, :]
    np.fill_diagonal(growth, np.iinfo(np.int64).max)
    one, other = np.unravel_index(int(np.argmin(growth)), growth.shape)
    return int(one), int(other)
