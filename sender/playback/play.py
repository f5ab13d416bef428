"""Playing a source: pictures that block become frames that arrive at their moment.

A thread reads the source ahead (`capture`); the event loop releases each picture of a file at its
moment (`moments`), and one of a live source as soon as it is there, numbers it and stamps it.

Late frames are released at once and never in a burst.  Nothing here drops pictures of a file; what
the network can't take is dropped by the session.  A live source that stands still (`standstill`) is
told of, and its last picture goes on being given about once a second, with the time at which it
came first.  A picture of a file that is to stand for long, and in which text is looked for, comes
once it was looked at, and those after it that much later.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace

from sender.masks.masking import Masking
from sender.playback.capture import AHEAD, Capture, Captured, Nothing
from sender.playback.standstill import StandStill
from sender.sources.source import Source, checked_fps
from shared.control import Notice
from shared.errors import BadInput
from shared.frame import Frame, Gap
from shared.noticeboard import NoticeBoard

__all__ = ["AHEAD", "DEFAULT_TIMEOUT_S", "Moments", "Played", "play"]

LONGEST_NS = 60_000_000_000  # between two pictures; beyond, a time of the file is taken for broken
SHORTEST_NS = 1_000_000  # no display is faster; pictures of one time would be a burst


class Moments:
    """The moments of one playback, at `interval_ns` where pictures carry no times of their own."""

    def __init__(self, interval_ns: int) -> None:
        self._interval_ns = interval_ns
        self._due_ns: int | None = None  # of the picture before
        self._at_s: float | None = None  # its own time
        self._passed = 0  # places without a picture since

    def due_ns(self, at_s: float | None, now_ns: int, *, begins: bool) -> int:
        """When the next picture is due, whose own time is `at_s`; not before this, and never late.

        `begins`: it is the first of a pass, which follows the one before evenly.
        """
        if self._due_ns is None:
            due_ns = now_ns
        else:
            due_ns = self._due_ns + self._gap_ns(None if begins else at_s)
            if now_ns - due_ns > self._interval_ns:
                due_ns = now_ns
        self._due_ns, self._at_s, self._passed = due_ns, at_s, 0
        return max(due_ns, now_ns)

    def held_until(self, at_ns: int) -> None:
        """The picture that was due came only now: it is shown for as long as it would have been."""
        self._due_ns = at_ns

    def passed_over(self) -> None:
        """A picture can't be shown: its place stays empty."""
        self._passed += 1

    def _gap_ns(self, at_s: float | None) -> int:
        if at_s is not None and self._at_s is not None:
            gap_ns = round((at_s - self._at_s) * 1e9)
            if 0 <= gap_ns <= LONGEST_NS:
                return max(gap_ns, SHORTEST_NS)
        return self._interval_ns * (1 + self._passed)


DEFAULT_TIMEOUT_S = 1800.0  # an examination may pause for half an hour; a forgotten one must end

_LONG_AGO_NS = 60_000_000_000  # the source stood still before anybody watched it

_LATE_NS = 1_000_000_000  # a person notices
_HELD = Notice(
    kind="picture_held", text="pictures come later: each is looked at for text before it is shown"
)

Played = Frame | Gap | Notice
"""What playing a source gives, in order: a frame, a gap in its place, something to tell."""

Clock = Callable[[], int]
Sleep = Callable[[float], Awaitable[object]]


async def play(
    source: Source,
    *,
    fps: float | None = None,
    loop: bool = False,
    frames: int | None = None,
    masking: Masking | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    clock: Clock = time.monotonic_ns,
    sleep: Sleep = asyncio.sleep,
    patience: Sleep = asyncio.sleep,
) -> AsyncGenerator[Played, None]:
    """Yield the frames of `source`, each at its moment, and close the source in the end.

    `fps` overrides the source's rate and its pictures' own times (a live source keeps its own
    pace), `loop` starts anew whenever the pictures end, `frames` is how many of the source to yield
    at most, `masking` says what is hidden of each (None: what the source declares).  `index` counts
    from 0 and goes on counting across loops; a picture that can't be shown is a `Gap`.
    `captured_at_ns` is, by `clock` (ns), when a picture of a file was released or one of a live
    source was delivered.  `timeout_s` is how long a live source may stand still, 0 for ever.
    Pictures of a file wait by `sleep`, a live source is waited for by `patience`, both in seconds.

    Raises `SourceFailed` after the last good frame where the source fails midway or stands still
    too long, and where it holds no picture; `BadInput` for an impossible `fps`, `frames` or
    `timeout_s`.  Ending early stops the thread and closes the source; wrap the call in
    `contextlib.aclosing`, as Python closes an abandoned generator only some time later.
    """
    try:
        rate = checked_fps(fps, source.info.fps)
        if frames is not None and frames < 1:
            raise BadInput("the number of frames must be at least 1")
        if not 0 <= timeout_s < float("inf"):
            raise BadInput("the source's timeout is a number of seconds, 0 for none")
    except BadInput:
        source.close()
        raise
    capture = Capture(
        source,
        loop=loop,
        most=frames,
        masking=masking,
        interval_s=1 / rate,
        own_times=fps is None,
        clock=clock,
    )
    playing: AsyncGenerator[Played, None]
    if source.info.live:
        timeout_ns = round(timeout_s * 1e9) or None
        standing = StandStill(clock(), fps=source.info.fps, timeout_ns=timeout_ns)
        playing = _live(capture, standing, clock, patience)
    else:
        moments = Moments(round(1e9 / rate))
        playing = _paced(
            capture, moments, clock, sleep, own_times=fps is None, masked=masking is not None
        )
    given = 0
    try:
        async with aclosing(playing):
            async for event in playing:
                yield event
                if isinstance(event, Gap) or (isinstance(event, Frame) and not event.repeated):
                    given += 1
                if given == frames:
                    return
    finally:
        await capture.close()


async def _paced(
    capture: Capture,
    moments: Moments,
    clock: Clock,
    sleep: Sleep,
    *,
    own_times: bool,
    masked: bool,
) -> AsyncGenerator[Played, None]:
    """A file: each picture waits for its moment."""
    told = False
    while (event := await capture.take()) is not Nothing.MORE:
        if isinstance(event, Captured):
            at_s = event.picture.at_s if own_times else None
            now_ns = clock()
            due_ns = moments.due_ns(at_s, now_ns, begins=event.begins)
            if now_ns < due_ns:
                await sleep((due_ns - now_ns) / 1e9)
            due_ns = clock()
            # Where nothing is looked for, nothing has changed since it was read.
            if masked and await capture.looked_at(event):
                now_ns = clock()
                moments.held_until(now_ns)
                if not told and now_ns - due_ns > _LATE_NS:
                    told = True
                    yield _HELD
            if masked:
                event, notices = capture.masked(event)
                for notice in notices:
                    yield notice
            yield _frame(event, event.place, clock())
        elif isinstance(event, Gap | Notice):
            if isinstance(event, Gap):
                moments.passed_over()
            yield event


async def _live(
    capture: Capture, standing: StandStill, clock: Clock, patience: Sleep
) -> AsyncGenerator[Played, None]:
    """A live source: each picture as it comes, and the last one again while it stands still."""
    last: Captured | None = None
    newest = -1  # index
    added = 0  # frames that are not the source's own: those after them count on from there
    explained = NoticeBoard()  # what the source itself tells of why it gives nothing
    timer = _begun(patience, standing.look_ns - clock())
    try:
        while True:
            if timer.done():
                timer = _begun(patience, standing.look_ns - clock())
            event = await capture.take_before(timer)
            if event is Nothing.MORE:
                return
            if event is Nothing.YET:
                now_ns = clock()
                if now_ns < standing.look_ns:  # the timer runs since an earlier picture
                    continue
                told = standing.look(now_ns, capture.heard_ns, explained=any(explained))
                if told is not None:
                    yield told
                if last is not None:
                    last, notices = await capture.masked_anew(last)
                    for notice in notices:
                        yield notice
                    added, newest = added + 1, newest + 1
                    yield _frame(last, newest, last.delivered_at_ns)
            elif isinstance(event, Captured):
                if not event.repeated:
                    told = standing.moved(event.delivered_at_ns)
                    if told is not None:
                        yield told
                    if standing.look_ns <= clock():  # it came long before anybody watched
                        timer.cancel()
                        timer = _begun(patience, 0)
                    if clock() - event.delivered_at_ns > _LONG_AGO_NS:
                        event = replace(event, repeated=True)
                last, newest = event, event.place + added
                yield _frame(event, newest, event.delivered_at_ns)
            elif isinstance(event, Gap):
                newest = event.index + added
                yield Gap(newest, event.why)
            elif isinstance(event, Notice):
                if event.kind.startswith("source_"):
                    explained.take(event)
                yield event
    finally:
        timer.cancel()


def _begun(patience: Sleep, ns: int) -> asyncio.Future[object]:
    return asyncio.ensure_future(patience(max(0, ns) / 1e9))


def _frame(captured: Captured, index: int, captured_at_ns: int) -> Frame:
    return Frame(
        index, captured_at_ns, captured.picture.image, captured.masks, repeated=captured.repeated
    )
