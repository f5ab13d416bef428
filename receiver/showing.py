"""From a decoded frame to the screen: entered, handed over at its moment, counted when it was seen.

What is known of a frame on the way (its ledger entry, its age by this machine's clock) is kept and
worked out here, and every frame ends in exactly one line or one count.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from typing import Generic, TypeVar

from receiver.journal import ReceiverJournal
from receiver.ledger import Ledger
from receiver.pipeline import DecodedFrame
from receiver.sinks import ShownFrame
from shared.control import TimingRow
from shared.frame import Frame
from shared.link import Link
from shared.newest import Newest, SlotClosed
from shared.telemetry.records import DropReason
from shared.wire import FrameMetadata

__all__ = ["BYTES_WAITING", "Freshness", "Handover", "PlayoutBuffer", "Showing"]

BYTES_WAITING = 512 * 1024 * 1024  # a second of 1920x1080 RGB at 60 fps is 373 MB

PAUSE_NS = 500_000_000  # a person sees a freeze from 250 ms; frames seldom come further apart
CATCH_UP_NS = 1_000_000_000  # what waited comes at once; this is also for the path to recover
LONGEST_MS = 1e9  # of a latency; eleven days

T = TypeVar("T")


class PlayoutBuffer(Generic[T]):
    """Pictures that wait for their moment; they come in the order in which they were taken.

    Where more than `most_bytes` would wait the oldest ones go before their moment: the delay
    shrinks to what there is room for, and no picture is lost.
    """

    def __init__(self, most_bytes: int = BYTES_WAITING) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._waiting: deque[tuple[int, int, T]] = deque()

    @property
    def next_due_ns(self) -> int | None:
        """When `take` has something to give, or None while nothing waits."""
        return self._waiting[0][0] if self._waiting else None

    def put(self, item: T, due_ns: int, nbytes: int) -> list[T]:
        """Let `item` wait until `due_ns`; returns those that have to go now, oldest first."""
        self._waiting.append((due_ns, nbytes, item))
        self._bytes += nbytes
        early = []
        while self._bytes > self._most_bytes and len(self._waiting) > 1:
            early.append(self._pop())
        return early

    def take(self, now_ns: int) -> list[T]:
        """All that is due at `now_ns`, oldest first: the last is to be shown."""
        due = []
        while self._waiting and self._waiting[0][0] <= now_ns:
            due.append(self._pop())
        return due

    def clear(self) -> list[T]:
        """All that waits, oldest first; nothing waits any more."""
        return [self._pop() for _ in range(len(self._waiting))]

    def _pop(self) -> T:
        _, nbytes, item = self._waiting.popleft()
        self._bytes -= nbytes
        return item


class Handover(Generic[T]):
    """`on_passed_over` is called for every picture that will not be taken.

    Pictures that have a moment are let go by `play`, which runs until it is cancelled.
    """

    def __init__(self, on_passed_over: Callable[[T], None]) -> None:
        self._on_passed_over = on_passed_over
        self._slot: Newest[T] = Newest()
        self._waiting: PlayoutBuffer[T] = PlayoutBuffer()
        self._filled = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def waits(self) -> bool:
        """Whether pictures wait for their moment, which others must not overtake."""
        return self._waiting.next_due_ns is not None

    def put(self, picture: T) -> None:
        """Offer `picture` at once."""
        replaced = self._slot.put(picture)
        if replaced is not None:
            self._on_passed_over(replaced)

    def put_at(self, picture: T, due_ns: int, nbytes: int) -> None:
        """Offer `picture`, of `nbytes` in memory, at `due_ns` (`time.monotonic_ns`)."""
        for early in self._waiting.put(picture, due_ns, nbytes):
            self.put(early)
        self._empty.clear()
        self._filled.set()

    async def get(self) -> T:
        """The newest one offered; raises `SlotClosed` at the end, or what it was closed with."""
        return await self._slot.get()

    async def play(self) -> None:
        """Let each picture go at its moment, for ever."""
        while True:
            self._filled.clear()
            for picture in self._waiting.take(time.monotonic_ns()):
                self.put(picture)
            due_ns = self._waiting.next_due_ns
            if due_ns is None:
                self._empty.set()
            with suppress(TimeoutError):  # another one may be due sooner
                async with asyncio.timeout(_seconds_until(due_ns)):
                    await self._filled.wait()

    async def emptied(self) -> None:
        """Wait until no picture waits for its moment."""
        await self._empty.wait()

    def close(self, error: Exception | None = None) -> None:
        """No more will come: `get` gives what is there, and then ends or raises `error`.

        What waits for its moment is passed over: wait until `emptied` for it to be shown.
        """
        self._slot.close(error)
        for picture in self._waiting.clear():
            self._on_passed_over(picture)
        self._empty.set()

    def discard(self) -> None:
        """Close, and pass over the one that was not taken too."""
        self.close()
        picture = self._slot.take()
        if picture is not None:
            self._on_passed_over(picture)


def _seconds_until(due_ns: int | None) -> float | None:
    return None if due_ns is None else max(0, due_ns - time.monotonic_ns()) / 1e9


# Pictures that had to wait for one that was lost are caught up with at twice the pace at which they
# were taken, but not slower than this: a screen of 120 Hz then shows each of them.
CATCH_UP_MOST_NS = 8_000_000


class Freshness:
    """Which pictures are too old to be shown as live, after a pause of this end or of the path.

    What comes after nothing has come for `PAUSE_NS` may have waited all that time.  It is late
    where it is older than `most_ns`, and than twice what the picture before the pause was: a slow
    path is no pause.  That ends with the first picture that is not late, and with `CATCH_UP_NS` in
    any case: a path that has become slow for good is better than none.
    """

    def __init__(self, most_ns: int) -> None:
        self._most_ns = most_ns
        self._usual_ns = 0
        self._came_at_ns: int | None = None
        self._catching_up_until_ns: int | None = None  # None: nothing is to be caught up with

    def is_late(self, age_ns: int | None, now_ns: int) -> bool:
        """A picture of that age (None: not known) has come; whether it is not to be shown."""
        before_ns, self._came_at_ns = self._came_at_ns, now_ns
        until_ns = self._catching_up_until_ns
        if until_ns is None and before_ns is not None and now_ns - before_ns >= PAUSE_NS:
            until_ns = self._catching_up_until_ns = now_ns + CATCH_UP_NS
        if age_ns is None:
            return False
        catching_up = until_ns is not None and now_ns < until_ns
        if catching_up and age_ns > max(self._most_ns, 2 * self._usual_ns):
            return True
        self._catching_up_until_ns = None
        self._usual_ns = age_ns
        return False


class Showing:
    """The frames of one session, `playout_delay_ms` after they were captured, or at once for 0.

    After a pause pictures older than `max_latency_ms` are passed over.  With `confirm_shown` a
    frame counts as shown when the program says so, else as it is given out.
    """

    def __init__(
        self,
        link: Link,
        journal: ReceiverJournal,
        playout_delay_ms: float = 0.0,
        *,
        max_latency_ms: float = math.inf,
        confirm_shown: bool = True,
    ) -> None:
        self._link = link
        self._journal = journal
        self._delay_ns = round(playout_delay_ms * 1e6)
        self._confirm_shown = confirm_shown
        self._freshness = Freshness(round(min(max_latency_ms, LONGEST_MS) * 1e6))
        self._ledger = Ledger(journal.began_at_ns)
        self._last_due_ns = self._last_captured_ns = 0
        self.handover: Handover[DecodedFrame] = Handover(
            lambda decoded: self.replaced(decoded.metadata.index)
        )

    def hand_over(self, decoded: DecodedFrame) -> None:
        """Offer `decoded` to whoever shows frames, when it is due; not if it is late for that."""
        metadata, now_ns = decoded.metadata, time.monotonic_ns()
        captured_at_ns, bound_ns = self._captured_at_ns(decoded)
        known = bound_ns is not None and not metadata.repeated
        if self._freshness.is_late(now_ns - captured_at_ns if known else None, now_ns):
            self._journal.dropped(DropReason.LATE, metadata.index)
            return
        if metadata.repeated:  # it was due long ago, but after those that wait
            captured_at_ns = now_ns
        self._ledger.arrived(decoded.arrival)
        due_ns = max(self._due_ns(captured_at_ns, now_ns), self._caught_up_ns(metadata))
        self._last_due_ns = due_ns
        if due_ns > now_ns or self.handover.waits:
            self.handover.put_at(decoded, due_ns, decoded.image.nbytes + len(decoded.sealed))
        else:
            self.handover.put(decoded)

    def _due_ns(self, captured_at_ns: int, now_ns: int) -> int:
        if self._delay_ns <= 0:
            return now_ns
        # A stamp of the future, or a clock estimate that is off, must not stop the picture.
        return min(captured_at_ns, now_ns) + self._delay_ns

    def _caught_up_ns(self, metadata: FrameMetadata) -> int:
        """The moment before which it would take the one before it from the screen unseen."""
        apart_ns = metadata.captured_at_ns - self._last_captured_ns
        self._last_captured_ns = metadata.captured_at_ns
        return self._last_due_ns + min(max(0, apart_ns // 2), CATCH_UP_MOST_NS)

    async def frames(self) -> AsyncIterator[ShownFrame]:
        """The newest frame each time, until no more will come; raises what ended them."""
        while True:
            try:
                decoded = await self.handover.get()
            except SlotClosed:
                return
            now_ns = time.monotonic_ns()
            frame = self.present(decoded, now_ns)
            if not self._confirm_shown:
                self.shown(frame.frame.index, now_ns)
            yield frame

    def present(self, decoded: DecodedFrame, now_ns: int) -> ShownFrame:
        """Return `decoded` as a program sees it, with its age at `now_ns`."""
        metadata = decoded.metadata
        captured_at_ns, bound_ns = self._captured_at_ns(decoded)
        return ShownFrame(
            frame=Frame(metadata.index, captured_at_ns, decoded.image, repeated=metadata.repeated),
            sealed=decoded.sealed,
            latency_ms=None if bound_ns is None else (now_ns - captured_at_ns) / 1e6,
            latency_bound_ms=None if bound_ns is None else bound_ns / 1e6,
            psnr_db=metadata.psnr_db,
            epoch=decoded.arrival.key[0],
            codec=metadata.codec,
            fps=self._journal.fps,
        )

    def shown(self, index: int, at_ns: int) -> None:
        """Frame `index` reached the screen at `at_ns` (`time.monotonic_ns`)."""
        figures = self._ledger.shown(index, at_ns, self._link.clock.estimate)
        if figures is not None:
            self._journal.counted(figures)
            self.write_lines()

    def replaced(self, index: int, reason: DropReason = DropReason.SUPERSEDED) -> None:
        """Frame `index` was handed over, but never reached the screen, for `reason`."""
        if self._ledger.forget(index):
            self._journal.dropped(reason, index)

    def timed(self, rows: Iterable[TimingRow]) -> None:
        """The sender told how long its stages took for some frames."""
        self._ledger.timed(rows)
        self.write_lines()

    def write_lines(self, *, everything: bool = False) -> None:
        """Write the lines that are complete; with `everything` those that lack the sender's part
        as well."""
        for line in self._ledger.take(everything=everything):
            self._journal.write(line)

    def _captured_at_ns(self, decoded: DecodedFrame) -> tuple[int, int | None]:
        """When it was captured by this machine's clock, and how far that may be off, if known."""
        captured_at_ns = decoded.metadata.captured_at_ns
        clock = self._link.clock.estimate
        return (captured_at_ns, None) if clock is None else clock.to_local(captured_at_ns)
