"""Playing a source: pictures that block become frames that arrive at their moment.

A thread reads the source ahead; the event loop releases frame `i` at start + i / fps, numbers it
and stamps it.  A file waits for its moment.  A live source is never made to wait: what nobody has
taken by the time the next picture comes is replaced by it, which shows as a gap in the numbers.

Late frames are released at once and never in a burst: whoever falls behind by more than one frame
interval gets the rest that much later.  Nothing here drops pictures of a file; what the network
can't take is dropped by the session.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

from sender.masking import Masking
from sender.sources.source import Source, SourcePicture, checked_fps
from shared.errors import BadInput, SourceFailed, VeilscopeError
from shared.frame import Frame, Image, Rect

__all__ = ["AHEAD", "play"]

AHEAD = 4  # pictures decoded before their moment: rides out a slow one, costs 100 MB at 4K RGB
_CLOSE_TIMEOUT_S = 2.0  # how long closing waits for a source that is blocked in a read

_logger = logging.getLogger(__name__)


async def play(
    source: Source,
    *,
    fps: float | None = None,
    loop: bool = False,
    frames: int | None = None,
    masking: Masking | None = None,
    clock: Callable[[], int] = time.monotonic_ns,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> AsyncGenerator[Frame, None]:
    """Yield the frames of `source`, each at its moment, and close the source in the end.

    `fps` overrides the source's rate (a live source keeps its own pace), `loop` starts anew
    whenever the pictures end, `frames` is how many to yield at most, `masking` says what is hidden
    of each (None: nothing).  `Frame.index` counts from 0 and goes on counting across loops;
    `captured_at_ns` is, by `clock` (ns), when a picture of a file was released or one of a live
    source was delivered.

    Raises `SourceFailed` after the last good frame where the source fails midway, and where it
    holds no picture; `BadInput` for an impossible `fps` or `frames`.  Ending early
    stops the thread and closes the source; wrap the call in `contextlib.aclosing`, as Python closes
    an abandoned generator only some time later.
    """
    try:
        interval_ns = round(1e9 / checked_fps(fps, source.info.fps))
        if frames is not None and frames < 1:
            raise BadInput("the number of frames must be at least 1")
    except BadInput:
        source.close()
        raise
    live = source.info.live
    handover = _Handover(asyncio.get_running_loop(), 1 if live else AHEAD, newest_only=live)
    thread = threading.Thread(
        target=_capture,
        args=(source, handover, loop, frames, masking, clock),
        name="veilscope-capture",
        daemon=True,  # a device that never returns from a read must not keep the program alive
    )
    thread.start()
    yielded = 0
    due_ns: int | None = None
    try:
        while frames is None or yielded < frames:
            picture = await handover.take()
            if picture is None:
                return
            captured_at_ns = picture.delivered_at_ns
            if not live:
                now_ns = clock()
                due_ns = now_ns if due_ns is None else due_ns
                if now_ns < due_ns:
                    await sleep((due_ns - now_ns) / 1e9)
                captured_at_ns = clock()
                if captured_at_ns - due_ns > interval_ns:
                    due_ns = captured_at_ns
                due_ns += interval_ns
            yield Frame(picture.index, captured_at_ns, picture.image, picture.masks)
            yielded += 1
    finally:
        handover.close()
        await asyncio.to_thread(thread.join, _CLOSE_TIMEOUT_S)
        if thread.is_alive():
            _logger.warning("the source is blocked in a read; it is left behind")


@dataclass(frozen=True, slots=True, eq=False)
class _Picture:
    index: int
    delivered_at_ns: int
    image: Image
    masks: tuple[Rect, ...]


class _Handover:
    """A few pictures on their way from the capture thread to the event loop.

    When full it makes the thread wait, or with `newest_only` lets go of the oldest.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, depth: int, *, newest_only: bool = False
    ) -> None:
        self._loop = loop
        self._depth = depth
        self._newest_only = newest_only
        self._changed = threading.Condition()
        self._pictures: deque[_Picture] = deque()
        self._ended = False
        self._error: VeilscopeError | None = None
        self._closed = False
        self._arrived = asyncio.Event()

    def put(self, picture: _Picture) -> bool:
        """Hand over one picture (capture thread); False once nobody wants any more."""
        with self._changed:
            while len(self._pictures) >= self._depth and not self._closed:
                if self._newest_only:
                    self._pictures.popleft()
                else:
                    self._changed.wait()
            if self._closed:
                return False
            self._pictures.append(picture)
        return self._wake()

    def end(self, error: VeilscopeError | None) -> None:
        """Say that no picture follows, and why (capture thread)."""
        with self._changed:
            self._ended, self._error = True, error
        self._wake()

    async def take(self) -> _Picture | None:
        """Return the next picture, None after the last (event loop); raises the source's error."""
        while True:
            with self._changed:
                if self._pictures:
                    picture = self._pictures.popleft()
                    self._changed.notify()
                    return picture
                if self._ended:
                    if self._error is not None:
                        raise self._error
                    return None
                self._arrived.clear()
            await self._arrived.wait()

    def close(self) -> None:
        """Let the thread go (event loop)."""
        with self._changed:
            self._closed = True
            self._pictures.clear()
            self._changed.notify()

    def _wake(self) -> bool:
        try:
            self._loop.call_soon_threadsafe(self._arrived.set)
        except RuntimeError:  # the loop has gone without closing us
            return False
        return True


def _capture(
    source: Source,
    handover: _Handover,
    loop: bool,
    frames: int | None,
    masking: Masking | None,
    clock: Callable[[], int],
) -> None:
    """Read the source into the handover until it ends, fails, or is wanted no more (thread)."""
    error: VeilscopeError | None = None
    index = 0
    try:
        while True:
            before = index
            for reading in source.pictures():
                if not isinstance(reading, SourcePicture):
                    continue
                masks = () if masking is None else masking.masks(reading)
                if not handover.put(_Picture(index, clock(), reading.image, masks)):
                    return
                index += 1
                if index == frames and not source.info.live:
                    return
            if index == before:
                raise SourceFailed("the source holds no picture")
            if not loop:
                return
    except VeilscopeError as failure:
        error = failure
    except Exception as failure:  # its text may hold the name of a file
        error = SourceFailed(f"the source failed while it was read ({type(failure).__name__})")
    finally:
        try:
            source.close()
        except Exception as failure:
            _logger.warning("closing the source failed (%s)", type(failure).__name__)
        handover.end(error)
