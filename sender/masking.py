"""What is hidden of each picture of a source: what it declares, and what the person asked for.

Fails closed: rectangles that a person gave were drawn on the first picture; one of another size is
hidden as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable

from sender.privacy import fit_masks
from sender.sources.source import SourcePicture
from shared.control import Notice
from shared.frame import Rect

__all__ = ["Masking"]


class Masking:
    """For the pictures of one source, whose `first` one the person's `rects` were drawn on.

    Raises `BadInput` for a rectangle that lies outside of it.
    """

    def __init__(self, first: SourcePicture, rects: Iterable[Rect] = ()) -> None:
        self._size = first.geometry.shown_size
        self._rects = fit_masks(rects, *self._size)

    def masks(self, picture: SourcePicture) -> tuple[Rect, ...]:
        """Return the regions to hide of `picture`, in pixels of the picture as it is shown."""
        size = picture.geometry.shown_size
        if self._rects and size != self._size:
            return (Rect(0, 0, *size),)
        return *picture.masks, *(picture.geometry.grown(rect) for rect in self._rects)

    def notices(self) -> list[Notice]:
        """Return what both ends should be told since the last call."""
        return []
