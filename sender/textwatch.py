"""Watching a stream for burned-in text, beside it: the newest picture is looked at, over and over.

Looking takes about a second a picture, so it has a thread of its own and the stream never waits for
it.  What it finds is hidden from then on in all pictures of that geometry (`sender.textplaces`).
Fails closed: the first picture of another geometry, and all after it until one of them was looked
at, are to be hidden whole; so are all pictures while looking fails or takes too long.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sender.privacy import share_hidden
from sender.sources.source import SourcePicture
from sender.textplaces import TextPlaces
from shared.frame import Image, Rect

__all__ = ["MAX_UNSEEN_S", "NEWS", "FindText", "Sight", "TextWatch"]

FindText = Callable[[Image], tuple[Rect, ...]]
"""Where text is in a picture, uint8 `(H, W)` or `(H, W, 3)`: boxes that hold all of it."""

MAX_UNSEEN_S = 60.0  # text that may have stood for so long: looking hangs, or is far too slow
MAX_REST_S = 5.0  # between two looks; with looks of up to 27 s this keeps below the 60
_REST = 0.5  # of the time that a look took: the processor is the stream's, and a battery's
NEWS = 0.5  # a box is told of if less of it than this was hidden before: others are the same text
_CLOSE_TIMEOUT_S = 2.0  # a look can't be broken off

_WAITING = "the picture is hidden until it has been looked at for text"
_FAILING = "the picture is hidden, since text can't be looked for"
_OVERDUE = "the picture is hidden, since looking for text takes too long"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sight:
    """What is known of a picture's text: where it is, or (None) `why` it is to be hidden whole.

    `found` is how many places were found since the sight before.
    """

    boxes: tuple[Rect, ...] | None
    why: str = ""
    found: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Offered:
    picture: SourcePicture
    hidden: tuple[Rect, ...]
    since_ns: int  # of this picture, and of those before it that were never looked at
    change: int


class TextWatch:
    """For the pictures of one source; looks at its `first` one at once, which blocks.

    With `once` that is all it ever looks at.  `find` is called by one thread at a time; `settle`
    once, by the thread that is the watch's own.  Raises whatever `find` raises on the first
    picture.
    """

    def __init__(
        self,
        find: FindText,
        first: SourcePicture,
        *,
        once: bool = False,
        settle: Callable[[], None] = lambda: None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._find = find
        self._once = once
        self._settle = settle
        self._clock = clock
        self._first: SourcePicture | None = first
        self._geometry = first.geometry
        self._changed = threading.Condition()
        self._waiting: _Offered | None = None
        self._looking: _Offered | None = None
        self._change = 0  # how often the geometry has changed
        self._looked_change = 0  # as of the newest look that succeeded
        self._failing = False
        self._found = 0
        self._closed = False
        self._thread: threading.Thread | None = None
        self._places = TextPlaces().after(_inside(first, find(first.image)), sure=True)

    @property
    def boxes(self) -> tuple[Rect, ...]:
        """Where text was found so far, in pictures like the last one seen."""
        with self._changed:
            return self._places.boxes

    def see(self, picture: SourcePicture, hidden: tuple[Rect, ...] = ()) -> Sight:
        """Offer `picture` to be looked at, and return what is known so far; never waits.

        `hidden` is what is masked of it anyhow: text there is no news.
        """
        with self._changed:
            self._note_change(picture)
            now_ns = self._clock()
            if not self._once:
                self._offer(picture, hidden, now_ns)
            found, self._found = self._found, 0
            why = self._why_hidden(now_ns)
            return Sight(None if why else self._places.boxes, why, found)

    def close(self) -> None:
        """Stop looking; a look that is under way is left to end by itself."""
        with self._changed:
            self._closed = True
            self._waiting = None
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(_CLOSE_TIMEOUT_S)

    def _offer(self, picture: SourcePicture, hidden: tuple[Rect, ...], now_ns: int) -> None:
        since_ns = now_ns if self._waiting is None else self._waiting.since_ns
        self._waiting = _Offered(picture, hidden, since_ns, self._change)
        self._changed.notify()
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._run, name="veilscope-text", daemon=True)
            self._thread.start()

    def _note_change(self, picture: SourcePicture) -> None:
        # Of a live source the first picture was taken long before anybody watched.
        first, self._first = self._first, None
        stale = (
            first is not None and not self._once and not np.array_equal(first.image, picture.image)
        )
        if picture.geometry != self._geometry:
            self._geometry, self._places = picture.geometry, TextPlaces()
            stale = True
        if stale:
            self._change += 1

    def _why_hidden(self, now_ns: int) -> str:
        if self._failing:
            return _FAILING
        if self._looked_change != self._change:
            return _WAITING
        unseen = self._looking or self._waiting
        if unseen is not None and now_ns - unseen.since_ns > MAX_UNSEEN_S * 1e9:
            return _OVERDUE
        return ""

    def _run(self) -> None:
        self._settle()
        while (offered := self._next()) is not None:
            began_ns = self._clock()
            try:
                found = self._find(offered.picture.image)
            except Exception as error:  # whatever the detector raises; its text is not ours
                self._failed(type(error).__name__)
            else:
                self._succeeded(offered, found)
            self._rest(self._clock() - began_ns)

    def _next(self) -> _Offered | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting is not None)
            self._looking, self._waiting = self._waiting, None
            return self._looking

    def _succeeded(self, offered: _Offered, found: tuple[Rect, ...]) -> None:
        with self._changed:
            known = self._places
        # Outside the lock, which the stream takes for every picture.
        inside = _inside(offered.picture, found)
        places = known.after(inside)
        hidden = (*offered.hidden, *known.boxes)
        news = sum(share_hidden(hidden, box) < NEWS for box in inside)
        with self._changed:
            self._looking, self._failing = None, False
            if offered.change == self._change:
                self._looked_change = offered.change
                self._places = places
                self._found += news

    def _failed(self, kind: str) -> None:
        with self._changed:
            before, self._looking, self._failing = self._failing, None, True
        if not before:
            _logger.warning("looking for text failed (%s)", kind)

    def _rest(self, looked_ns: int) -> None:
        """Leave the processor to the stream for a while."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or self._looked_change != self._change,
                min(_REST * looked_ns / 1e9, MAX_REST_S),
            )


def _inside(picture: SourcePicture, found: tuple[Rect, ...]) -> list[Rect]:
    width, height = picture.geometry.shown_size
    return [box.clipped(width, height) for box in found if box.x < width and box.y < height]
