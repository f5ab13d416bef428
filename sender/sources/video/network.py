"""A stream from the network outlives what happens to it: it is opened again when it breaks off.

`unbroken` is the rule, without threads or clocks of its own.  `NetworkReader` reads in a thread of
its own, so that a read that blocks holds up nobody and an old picture never waits in front of a new
one.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace

from sender.sources.source import Reading, SourcePicture
from shared.control import Notice
from shared.errors import SourceFailed

__all__ = ["LOST", "ConnectionBroke", "NetworkReader", "unbroken"]

LOST = "source_lost"  # the kind of notice


class ConnectionBroke(SourceFailed):
    """The network gave out, not what came over it."""


FIRST_DELAY_S = 0.5  # a camera that starts anew takes seconds; a hiccup is over sooner
MAX_DELAY_S = 10.0  # doubling stops here: a person who waits shall not wait much longer for it
_MAX_WAITING = 64  # readings that nobody took


def unbroken(
    first: Iterator[Reading],
    reopen: Callable[[], Iterator[Reading]],
    *,
    endless: bool,
    clock: Callable[[], int],
    sleep: Callable[[float], bool],
) -> Iterator[Reading]:
    """Yield the readings of `first`, then of whatever `reopen` gives after each break.

    A reader raises `ConnectionBroke` where it breaks off.  If the source is `endless`, any other
    `SourceFailed` and the end of a reader are breaks too.  `clock` is monotonic, in ns; `sleep`
    waits so many seconds and returns False where nobody wants more.
    A notice of the kind `source_lost` lasts from the break to the first picture after it.
    """
    readings = first
    last_ns = clock()
    delay_s, lost = FIRST_DELAY_S, False
    while True:
        try:
            for reading in readings:
                if isinstance(reading, SourcePicture):
                    last_ns, delay_s = clock(), FIRST_DELAY_S
                    if lost:
                        lost = False
                        yield Notice(kind=LOST, text="the source is back")
                yield reading
            if not endless:
                return
        except SourceFailed as error:
            # A file that can't be decoded stays so; a live stream begins anew with each connection.
            if not endless and not isinstance(error, ConnectionBroke):
                raise
        if not lost:
            lost = True
            yield Notice(
                kind=LOST,
                text="the source does not answer: trying again",
                lasting=True,
                since_ns=last_ns,
            )
        if not sleep(delay_s):
            return
        delay_s = min(2 * delay_s, MAX_DELAY_S)
        readings = _opened_late(reopen)


def _opened_late(reopen: Callable[[], Iterator[Reading]]) -> Iterator[Reading]:
    """Open within the iteration, so that failing to open is one more break."""
    yield from reopen()


class NetworkReader:
    """Takes readings in a thread of its own and hands them on.

    `newest_only`: a picture that nobody took is replaced by the next, and says when it was
    delivered (`clock`, monotonic, ns); otherwise the thread waits.  `readings` is begun, read and
    closed in that thread alone.
    """

    def __init__(
        self,
        readings: Iterator[Reading],
        *,
        newest_only: bool,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._readings = readings
        self._newest_only = newest_only
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: deque[Reading] = deque()
        self._error: SourceFailed | None = None
        self._ended = False
        self._closed = False
        self._thread = threading.Thread(
            target=self._run,
            name="veilscope-network",
            daemon=True,  # a read that never returns must not keep the program alive
        )
        self._thread.start()

    def taken(self) -> Iterator[Reading]:
        """Yield readings as they come, until they end or the pump is closed.

        Raises the `SourceFailed` that ended them.
        """
        while True:
            with self._changed:
                while not self._waiting and not self._ended and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                if not self._waiting:
                    if self._error is not None:
                        raise self._error
                    return
                reading = self._waiting.popleft()
                self._changed.notify_all()
            yield reading

    def close(self) -> None:
        """Let go of whoever waits, at once; the thread ends with the read that it is in."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def join(self) -> None:
        """Wait for the thread's end, after `close`."""
        self._thread.join()

    def _run(self) -> None:
        error: SourceFailed | None = None
        try:
            for reading in self._readings:
                if not self._put(reading):
                    break
        except SourceFailed as failure:
            error = failure
        except Exception as failure:  # its text may hold an address
            error = SourceFailed(f"the source failed while it was read ({type(failure).__name__})")
        finally:
            close = getattr(self._readings, "close", None)
            if close is not None:
                close()
            with self._changed:
                self._ended, self._error = True, error
                self._changed.notify_all()

    def _put(self, reading: Reading) -> bool:
        if self._newest_only and isinstance(reading, SourcePicture):
            # Nobody may take it for long: before pairing, and if it was the last.
            reading = replace(reading, delivered_at_ns=self._clock())
        with self._changed:
            if self._newest_only:
                self._make_room(reading)
            else:
                self._changed.wait_for(lambda: len(self._waiting) < 2 or self._closed)
            if self._closed:
                return False
            self._waiting.append(reading)
            self._changed.notify_all()
            return True

    def _make_room(self, reading: Reading) -> None:
        """Let go of what the newest reading makes stale."""
        kept: list[Reading]
        if isinstance(reading, SourcePicture):
            kept = [r for r in self._waiting if not isinstance(r, SourcePicture)]
        elif isinstance(reading, Notice):
            kept = [r for r in self._waiting if not isinstance(r, Notice) or r.kind != reading.kind]
        else:
            kept = list(self._waiting)
        self._waiting = deque(kept[-_MAX_WAITING:])
