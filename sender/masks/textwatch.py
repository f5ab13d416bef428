"""Watching a stream for burned-in text, beside it: the newest picture is looked at, over and over.

Looking takes about a second a picture, so it has a thread of its own and moving pictures never wait
for it.  What it finds is hidden from then on in all pictures of that geometry
(`textplaces`).  A picture that is going to stand for long is looked at itself, and can be
waited for.  Fails closed: the first picture of another geometry, and all after it until one of them
was looked at, are to be hidden whole; so are all pictures while looking fails or takes too long.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sender.masks.rectangles import share_hidden
from sender.masks.textplaces import TextPlaces
from sender.sources.source import SourcePicture
from shared.frame import Image, Rect

__all__ = ["MAX_UNSEEN_S", "NEWS", "Expected", "FindText", "Sight", "TextWatch"]

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


@dataclass(slots=True, eq=False)
class Expected:
    """A picture that is going to be shown; only its watch reads and writes it.

    `run` counts the changes of geometry before it.  One that is `needed` is not shown before it was
    looked at itself, and not at all where that `failed`.
    """

    picture: SourcePicture
    hidden: tuple[Rect, ...]
    run: int
    since_ns: int  # of this picture, and of those before it that were never looked at
    needed: bool = False
    looked: bool = False
    failed: bool = False


@dataclass(slots=True)
class _Run:
    """What is known of pictures of one geometry that follow each other."""

    places: TextPlaces
    looked: bool  # at one of them at least


class TextWatch:
    """For the pictures of one source; looks at its `first` one at once, which blocks.

    With `needed_only`, of the others only at those that are needed.  `find` is called by one thread
    at a time; `settle` once, by the thread that is the watch's own.  Raises whatever `find` raises
    on the first picture.
    """

    def __init__(
        self,
        find: FindText,
        first: SourcePicture,
        *,
        needed_only: bool = False,
        settle: Callable[[], None] = lambda: None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._find = find
        self._needed_only = needed_only
        self._settle = settle
        self._clock = clock
        self._first: SourcePicture | None = first
        self._geometry = first.geometry
        self._changed = threading.Condition()
        self._waiting: Expected | None = None
        self._needed: deque[Expected] = deque()  # as many as are read ahead
        self._looking: Expected | None = None
        self._run_expected = self._run_shown = 0
        self._awaited = 0  # by how many a picture is waited for
        self._failing = False
        self._found = 0
        self._closed = False
        self._thread: threading.Thread | None = None
        places = TextPlaces().after(_inside(first, find(first.image)), sure=True)
        self._runs = {0: _Run(places, looked=True)}

    @property
    def boxes(self) -> tuple[Rect, ...]:
        """Where text was found so far, in pictures like the last one shown."""
        with self._changed:
            return self._runs[self._run_shown].places.boxes

    def see(self, picture: SourcePicture, hidden: tuple[Rect, ...] = ()) -> Sight:
        """Offer `picture` to be looked at, and return what is known so far; never waits.

        `hidden` is what is masked of it anyhow: text there is no news.
        """
        with self._changed:
            return self.sight(self.expect(picture, hidden))

    def expect(
        self, picture: SourcePicture, hidden: tuple[Rect, ...] = (), *, needed: bool = False
    ) -> Expected:
        """Offer `picture`, which is shown some time after those before it; never waits.

        One that is not `needed` gives way to the next one, if nobody has looked at it by then.
        """
        with self._changed:
            is_first = self._note_change(picture)
            expected = Expected(picture, hidden, self._run_expected, self._clock())
            expected.looked = is_first
            if needed:
                self.need(expected)
            if not self._needed_only and not expected.needed:
                self._offer(expected)
            return expected

    def need(self, expected: Expected) -> None:
        """Show `expected` only once it was looked at itself; in the order in which they came."""
        with self._changed:
            if expected.looked or expected.needed:
                return
            expected.needed, expected.failed = True, False  # it is tried once more
            if expected is self._looking:
                return
            self._waiting = None  # it is older, or this one
            self._needed.append(expected)
            self._awake()

    def wait(self, expected: Expected, seconds: float) -> bool:
        """Wait for at most `seconds`; whether `sight` is all that it is going to be for now."""
        with self._changed:
            if self._is_known(expected):
                return True
            self._awaited += 1
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: self._is_known(expected), seconds)
            finally:
                self._awaited -= 1

    def sight(self, expected: Expected) -> Sight:
        """What is known of a picture at the moment at which it is shown.

        Pictures are shown in the order in which they were expected.
        """
        with self._changed:
            for run in [run for run in self._runs if run < expected.run]:
                del self._runs[run]
            self._run_shown = max(self._run_shown, expected.run)
            found, self._found = self._found, 0
            why = self._why_hidden(expected)
            return Sight(None if why else self._runs[expected.run].places.boxes, why, found)

    def close(self) -> None:
        """Stop looking; a look that is under way is left to end by itself."""
        with self._changed:
            self._closed = True
            self._waiting = None
            self._needed.clear()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(_CLOSE_TIMEOUT_S)

    def _offer(self, expected: Expected) -> None:
        if self._waiting is not None:
            expected.since_ns = self._waiting.since_ns
        self._waiting = expected
        self._awake()

    def _awake(self) -> None:
        self._changed.notify_all()
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._run, name="veilscope-text", daemon=True)
            self._thread.start()

    def _note_change(self, picture: SourcePicture) -> bool:
        """Begin another run where `picture` is not like those before; whether it is the first."""
        # Of a live source the first picture was taken long before anybody watched.
        first, self._first = self._first, None
        other = picture.geometry != self._geometry
        is_first = first is not None and not other and np.array_equal(first.image, picture.image)
        stale = first is not None and not self._needed_only and not is_first
        if other or stale:
            known = self._runs.get(self._run_expected)
            places = TextPlaces() if other or known is None else known.places
            self._run_expected += 1
            self._runs[self._run_expected] = _Run(places, looked=False)
            self._geometry = picture.geometry
        return is_first

    def _is_known(self, expected: Expected) -> bool:
        return (
            expected.looked
            or not expected.needed
            or expected.failed  # itself: that another one did says nothing of it
            or self._closed
            or self._is_overdue()
        )

    def _why_hidden(self, expected: Expected) -> str:
        run = self._runs.get(expected.run)
        if run is None:
            return _WAITING
        if expected.looked and run.looked:
            return ""  # all that is found in it is known
        if self._failing or (expected.needed and expected.failed):
            return _FAILING
        if self._is_overdue():
            return _OVERDUE if run.looked else _WAITING
        return "" if run.looked and not expected.needed else _WAITING

    def _is_overdue(self) -> bool:
        unseen = self._looking or self._waiting
        return unseen is not None and self._clock() - unseen.since_ns > MAX_UNSEEN_S * 1e9

    def _run(self) -> None:
        self._settle()
        while (expected := self._next()) is not None:
            began_ns = self._clock()
            try:
                found = self._find(expected.picture.image)
            except Exception as error:  # whatever the detector raises; its text is not ours
                self._failed(expected, type(error).__name__)
            else:
                self._succeeded(expected, found)
            self._rest(self._clock() - began_ns)

    def _next(self) -> Expected | None:
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or self._waiting is not None or bool(self._needed)
            )
            if self._needed:
                self._looking = self._needed.popleft()
                self._looking.since_ns = self._clock()  # it was not shown meanwhile
            else:
                self._looking, self._waiting = self._waiting, None
            return self._looking

    def _succeeded(self, expected: Expected, found: tuple[Rect, ...]) -> None:
        with self._changed:
            run = self._runs.get(expected.run)
            known = TextPlaces() if run is None else run.places
        # Outside the lock, which the stream takes for every picture.
        inside = _inside(expected.picture, found)
        places = known.after(inside)
        hidden = (*expected.hidden, *known.boxes)
        news = sum(share_hidden(hidden, box) < NEWS for box in inside)
        with self._changed:
            self._looking, self._failing = None, False
            if run is not None and expected.run in self._runs:
                run.places, run.looked, expected.looked = places, True, True
                self._found += news
            self._changed.notify_all()

    def _failed(self, expected: Expected, kind: str) -> None:
        with self._changed:
            before, self._looking, self._failing = self._failing, None, True
            expected.failed = True  # the next look may succeed, which says nothing of this picture
            self._changed.notify_all()
        if not before:
            _logger.warning("looking for text failed (%s)", kind)

    def _rest(self, looked_ns: int) -> None:
        """Leave the processor to the stream for a while."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or self._is_waited_for(),
                min(_REST * looked_ns / 1e9, MAX_REST_S),
            )

    def _is_waited_for(self) -> bool:
        return self._awaited > 0 or not all(run.looked for run in self._runs.values())


def _inside(picture: SourcePicture, found: tuple[Rect, ...]) -> list[Rect]:
    width, height = picture.geometry.shown_size
    return [box.clipped(width, height) for box in found if box.x < width and box.y < height]
