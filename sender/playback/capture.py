"""Reading a source in a thread of its own: what it gives is masked, numbered, and handed over.

A file is read a few pictures ahead, and what is to be hidden of each is asked for once more as it
is shown: text may have been found in it meanwhile.  A live source is never made to wait: a picture
that nobody has taken by the time the next one comes is replaced by it, and one that repeats the one
before exactly is not handed over at all.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, auto

import numpy as np

from sender.masks.masking import Masking
from sender.masks.textwatch import MAX_UNSEEN_S, Expected
from sender.sources.source import Skipped, Source, SourcePicture
from shared.control import Notice
from shared.errors import BadInput, SourceFailed, VeilscopeError
from shared.frame import Gap, Image, Rect, checked_image

__all__ = ["AHEAD", "Capture", "Captured", "Event", "Nothing", "same_image"]

AHEAD = 4  # pictures decoded before their moment: rides out a slow one, costs 100 MB at 4K RGB
STANDS_S = 0.25  # a picture that stands so long can be read by a person, and is looked at first
_ASK_EVERY_S = 0.2  # while a picture is looked at: how long closing may have to wait for that
_EVENTS = 64  # gaps and notices that may wait; a source that gives more is made to wait
_CLOSE_TIMEOUT_S = 2.0  # how long closing waits for a source that is blocked in a read
_SOON_S = 0.1  # two pictures of a slow camera
_SAMPLES = (64, 8)  # every so many rows and columns are compared first: most pictures differ there

_logger = logging.getLogger(__name__)


class Nothing(Enum):
    """Why there is nothing to take."""

    YET = auto()
    MORE = auto()


@dataclass(frozen=True, slots=True, eq=False)
class Captured:
    """A picture that a source delivered at `delivered_at_ns`, and what of it is to be hidden.

    `place` counts what the source gives from 0, gaps too.  `begins`: it is the first of a pass.
    `repeated`: it was delivered before, at that time; only its masks are new.  `expected` is what
    its masks are asked by, where it is of a file.
    """

    place: int
    delivered_at_ns: int
    picture: SourcePicture
    masks: tuple[Rect, ...]
    begins: bool = False
    repeated: bool = False
    expected: Expected | None = None


Event = Captured | Gap | Notice
"""What a capture gives, in the order in which it came."""


class Capture:
    """The thread that reads one source, for as many passes as asked for, and closes it.

    `most` is how many places are read at most of a source that is not live, and `interval_s` how
    far apart its pictures are where they have no times of their own.
    """

    def __init__(
        self,
        source: Source,
        *,
        loop: bool,
        most: int | None,
        masking: Masking | None,
        interval_s: float,
        own_times: bool = True,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._source = source
        self._live = source.info.live
        self._loop = loop
        self._most = None if self._live else most
        self._masking = masking
        self._interval_s = interval_s
        self._own_times = own_times
        self._masking_now = threading.Lock()  # it belongs to one thread at a time
        self._clock = clock
        self._waiting: deque[Event] = deque()
        self._changed = threading.Condition()
        self._event_loop = asyncio.get_running_loop()
        self._arrival = self._event_loop.create_future()
        self._closed = self._ended = False
        self._error: VeilscopeError | None = None
        self._heard_ns: int | None = None
        self._place = 0
        self._newest: Captured | None = None
        self._thread = threading.Thread(
            target=self._run,
            name="veilscope-capture",
            daemon=True,  # a device that never returns from a read must not keep the program alive
        )
        self._thread.start()

    # -- the event loop's side --------------------------------------------------------------------

    @property
    def heard_ns(self) -> int | None:
        """When the source delivered a picture last, new or not; None before the first."""
        return self._heard_ns

    async def take(self) -> Event | Nothing:
        """What comes next; `Nothing.MORE` at the end.

        Raises the source's error once all before it was taken.
        """
        while (event := self._take_now()) is Nothing.YET:
            await self._arrival
        return event

    async def take_before(self, timer: asyncio.Future[object]) -> Event | Nothing:
        """As `take`, but `Nothing.YET` if nothing has come once `timer` is done."""
        timer.add_done_callback(self._arrived)
        try:
            while (event := self._take_now()) is Nothing.YET and not timer.done():
                await self._arrival
        finally:
            timer.remove_done_callback(self._arrived)
        return event

    async def masked_anew(self, captured: Captured) -> tuple[Captured, list[Notice]]:
        """`captured` once more, with what is to be hidden of it by now, and what to tell of that.

        Takes a moment, so not in the event loop.
        """
        masks, notices = await asyncio.to_thread(self._mask, captured.picture)
        return replace(captured, masks=masks, repeated=True), notices

    async def looked_at(self, captured: Captured) -> bool:
        """Wait until a picture of a file that stands for long was looked at; whether that took.

        Where it takes too long, or can't be, `masked` hides it whole.
        """
        masking, expected = self._masking, captured.expected
        if masking is None or masking.wait(expected, 0):
            return False
        began_s = self._event_loop.time()
        while not await asyncio.to_thread(masking.wait, expected, _ASK_EVERY_S):
            if self._event_loop.time() - began_s > MAX_UNSEEN_S:
                break
        return True

    def masked(self, captured: Captured) -> tuple[Captured, list[Notice]]:
        """A picture of a file as it is to be shown now, and what to tell of what is hidden."""
        if self._masking is None:
            return captured, []
        with self._masking_now:
            masks = self._masking.masks(captured.picture, captured.expected)
            return replace(captured, masks=masks), self._masking.notices()

    async def close(self) -> None:
        """Let the thread go, and the source with it."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify()
        await asyncio.to_thread(self._wait_for_thread)
        if self._thread.is_alive():
            _logger.warning("the source is blocked in a read; it is left behind")

    def _wait_for_thread(self) -> None:
        if self._live:  # one that is tried again for as long as it takes ends by being closed
            self._thread.join(_SOON_S)
            if self._thread.is_alive():
                self._close_source()
        self._thread.join(_CLOSE_TIMEOUT_S)

    def _take_now(self) -> Event | Nothing:
        with self._changed:
            if self._waiting:
                event = self._waiting.popleft()
                self._changed.notify()
                return event
            if self._ended:
                if self._error is not None:
                    raise self._error
                return Nothing.MORE
        if self._arrival.done():
            self._arrival = self._event_loop.create_future()
        return Nothing.YET

    def _arrived(self, _: object = None) -> None:
        if not self._arrival.done():
            self._arrival.set_result(None)

    # -- the thread's side ------------------------------------------------------------------------

    def _run(self) -> None:
        error: VeilscopeError | None = None
        try:
            while self._read_pass() and self._loop:
                continue
        except VeilscopeError as failure:
            error = failure
        except Exception as failure:  # its text may hold the name of a file
            error = SourceFailed(f"the source failed while it was read ({type(failure).__name__})")
        finally:
            self._close_source()
            with self._changed:
                self._ended, self._error = True, error
            self._wake()

    def _close_source(self) -> None:
        try:
            self._source.close()
        except Exception as failure:
            _logger.warning("closing the source failed (%s)", type(failure).__name__)

    def _read_pass(self) -> bool:
        """Hand over one pass; False once nobody wants any more.

        Raises `SourceFailed` where it held no picture that can be shown.
        """
        pictures, why = 0, ""
        for reading in self._source.pictures():
            if isinstance(reading, Notice):
                wanted = self._put(reading)
            elif (unfit := _unfit(reading)) is not None:
                why = unfit
                wanted = self._put(Gap(self._next_place(), unfit))
            else:
                assert isinstance(reading, SourcePicture)  # noqa: S101 -- what else is not `unfit`
                wanted = self._put_picture(reading, begins=pictures == 0)
                pictures += 1
            if not wanted or (self._most is not None and self._place >= self._most):
                return False
        if not pictures:
            raise SourceFailed(
                f"no picture of the source can be shown: {why}"
                if why
                else "the source holds no picture"
            )
        return True

    def _next_place(self) -> int:
        place, self._place = self._place, self._place + 1
        return place

    def _put_picture(self, picture: SourcePicture, *, begins: bool) -> bool:
        # When it came, and not when it was looked at: what follows may take its time.
        now_ns = self._clock()
        if picture.delivered_at_ns is not None:
            now_ns = min(now_ns, picture.delivered_at_ns)
        self._heard_ns = now_ns
        if self._live:
            return self._put_live(picture, now_ns, begins=begins)
        place, newest = self._next_place(), self._newest
        expected = None
        if self._masking is not None:
            stands = newest is not None and (
                self._apart_s(newest, picture, place, begins=begins) >= STANDS_S
            )
            with self._masking_now:
                if stands and newest is not None:
                    self._masking.need(newest.expected)
                expected = self._masking.expect(picture, needed=stands)
        self._newest = Captured(
            place, now_ns, picture, picture.masks, begins=begins, expected=expected
        )
        return self._put(self._newest)

    def _apart_s(
        self, before: Captured, picture: SourcePicture, place: int, *, begins: bool
    ) -> float:
        """How long the picture `before` is shown."""
        at_s, before_s = picture.at_s, before.picture.at_s
        if self._own_times and not begins and at_s is not None and before_s is not None:
            return at_s - before_s
        return self._interval_s * (place - before.place)

    def _put_live(self, picture: SourcePicture, now_ns: int, *, begins: bool) -> bool:
        masks, notices = self._mask(picture)
        for notice in notices:
            if not self._put(notice):
                return False
        newest = self._newest
        if newest is not None and _same(newest.picture, picture):
            if masks == newest.masks:
                return not self._closed
            captured = replace(newest, place=self._next_place(), masks=masks, repeated=True)
        else:
            captured = Captured(self._next_place(), now_ns, picture, masks, begins=begins)
        self._newest = captured
        return self._put(captured)

    def _mask(self, picture: SourcePicture) -> tuple[tuple[Rect, ...], list[Notice]]:
        if self._masking is None:
            return picture.masks, []
        with self._masking_now:
            return self._masking.masks(picture), self._masking.notices()

    def _put(self, event: Event) -> bool:
        """Hand over `event`; False once nobody wants any more."""
        with self._changed:
            if self._live and isinstance(event, Captured):
                event = self._in_place_of_older(event)
            while len(self._waiting) >= (_EVENTS if self._live else AHEAD) and not self._closed:
                self._changed.wait()
            if self._closed:
                return False
            self._waiting.append(event)
        return self._wake()

    def _in_place_of_older(self, captured: Captured) -> Captured:
        """`captured`, and the picture that nobody has taken goes; it may be the same one."""
        for place, waiting in enumerate(self._waiting):
            if isinstance(waiting, Captured):
                del self._waiting[place]
                return replace(captured, repeated=captured.repeated and waiting.repeated)
        return captured

    def _wake(self) -> bool:
        try:
            self._event_loop.call_soon_threadsafe(self._arrived)
        except RuntimeError:  # the loop has gone without closing us
            return False
        return True


def _unfit(reading: SourcePicture | Skipped) -> str | None:
    """Why `reading` can't be shown; None if it can."""
    if isinstance(reading, Skipped):
        return reading.why
    try:
        checked_image(reading.image)
    except BadInput as error:
        return str(error)
    return None


def _same(one: SourcePicture, other: SourcePicture) -> bool:
    """Whether the second repeats the first exactly."""
    return (
        one.geometry == other.geometry
        and one.masks == other.masks
        and same_image(one.image, other.image)
    )


def same_image(one: Image, other: Image) -> bool:
    """Whether two images are equal; that two differ is nearly always seen on a sample of them."""
    if one.shape != other.shape:
        return False
    for step in _SAMPLES:
        if not np.array_equal(one[::step, ::step], other[::step, ::step]):
            return False
    if one.flags.c_contiguous and other.flags.c_contiguous and one.nbytes % 8 == 0:
        return np.array_equal(one.reshape(-1).view(np.uint64), other.reshape(-1).view(np.uint64))
    return np.array_equal(one, other)
