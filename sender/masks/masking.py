"""What is hidden of each picture of a source: what it declares, what a person drew, and text.

Fails closed.  Rectangles that a person gave were drawn on the first picture: one of another size is
hidden as a whole.  So is a picture in which text was to be looked for and was not yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from sender.masks.rectangles import fit_masks
from sender.masks.textwatch import Expected, TextWatch
from sender.sources.geometry import Geometry
from sender.sources.source import SourcePicture
from shared.control import Notice
from shared.frame import Rect

__all__ = ["Masking"]


class Masking:
    """For the pictures of one source, whose `first` one the person's `rects` were drawn on.

    With `text`, what it has found is hidden too.  `first_masks` are those of the first picture, in
    pixels of the picture as it is shown, and `first_masks_but_text` those of them that are not for
    text.  `clock` is monotonic, in ns.  Belongs to one thread at a time.  Raises `BadInput` for a
    rectangle that lies outside of the first picture.
    """

    def __init__(
        self,
        first: SourcePicture,
        rects: Iterable[Rect] = (),
        *,
        text: TextWatch | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._size = first.geometry.shown_size
        self._rects = fit_masks(rects, *self._size)
        self._text = text
        self._clock = clock
        self._hidden_since_ns: int | None = None
        self._hidden_for = ""
        self._untold: list[Notice] = []
        self._grown: tuple[Geometry, tuple[Rect, ...], tuple[Rect, ...]] | None = None
        found = () if text is None else text.boxes
        self.first_masks = first.masks + self._grown_by(first.geometry, self._rects + found)
        self.first_masks_but_text = first.masks + self._grown_by(first.geometry, self._rects)

    def expect(self, picture: SourcePicture, *, needed: bool = False) -> Expected | None:
        """Have text looked for in a picture that is shown later; None where none is looked for.

        One that is `needed` is hidden whole unless it was looked at itself.
        """
        if self._text is None:
            return None
        return self._text.expect(picture, picture.masks + self._rects, needed=needed)

    def need(self, expected: Expected | None) -> None:
        """Have an expected picture hidden whole unless it was looked at itself."""
        if self._text is not None and expected is not None:
            self._text.need(expected)

    def wait(self, expected: Expected | None, seconds: float) -> bool:
        """Wait for at most `seconds` for what `masks` needs; whether it has that, or never will.

        The one call that may be made beside another thread's.
        """
        return self._text is None or expected is None or self._text.wait(expected, seconds)

    def masks(self, picture: SourcePicture, expected: Expected | None = None) -> tuple[Rect, ...]:
        """Return the regions to hide of `picture`, in pixels of the picture as it is shown.

        `expected` is what `expect` returned of it, None for a picture that is shown as it comes.
        """
        geometry, rects, why_hidden = picture.geometry, self._rects, self._unfit(picture)
        if self._text is not None:
            sight = (
                self._text.see(picture, picture.masks + rects)
                if expected is None
                else self._text.sight(expected)
            )
            if sight.found:
                self._tell("text_masked", _found_text(sight.found))
            if sight.boxes is None:
                why_hidden = why_hidden or sight.why
            else:
                rects += sight.boxes
        self._tell_hidden(why_hidden)
        if why_hidden:
            return (Rect(0, 0, *geometry.shown_size),)
        return picture.masks + self._grown_by(geometry, rects)

    def notices(self) -> list[Notice]:
        """Return what both ends should be told since the last call."""
        untold, self._untold = self._untold, []
        return untold

    def close(self) -> None:
        """Look for text no more."""
        if self._text is not None:
            self._text.close()

    def _unfit(self, picture: SourcePicture) -> str:
        """Why the person's rectangles can't be used on `picture`; empty if they can."""
        if not self._rects or picture.geometry.shown_size == self._size:
            return ""
        width, height = self._size
        return (
            "the picture changed its size: it is hidden, since its masks were drawn for "
            f"{width}x{height}"
        )

    def _grown_by(self, geometry: Geometry, rects: tuple[Rect, ...]) -> tuple[Rect, ...]:
        # Pictures of one geometry follow each other by the thousand.
        if self._grown is None or self._grown[:2] != (geometry, rects):
            grown = tuple(dict.fromkeys(geometry.grown(rect) for rect in rects))
            self._grown = geometry, rects, grown
        return self._grown[2]

    def _tell_hidden(self, why: str) -> None:
        if why == self._hidden_for:
            return
        self._hidden_for = why
        if why:
            if self._hidden_since_ns is None:
                self._hidden_since_ns = self._clock()
            self._tell("picture_hidden", why, lasting=True, since_ns=self._hidden_since_ns)
        else:
            self._hidden_since_ns = None
            self._tell("picture_hidden", "the picture is shown again")

    def _tell(
        self, kind: str, text: str, *, lasting: bool = False, since_ns: int | None = None
    ) -> None:
        self._untold.append(Notice(kind=kind, text=text, lasting=lasting, since_ns=since_ns))


def _found_text(places: int) -> str:
    return f"text was found and hidden: {places} more place{'s' if places > 1 else ''}"
