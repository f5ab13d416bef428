"""Keystream prepared before its frame exists, so that the frame's path is one XOR.

A pad depends on key and counter only.  A worker thread keeps the pads of the coming counters
ready, a little longer than recent frames were; `take` hands one out, and makes on the spot
whatever is missing.  It does not police counters: the sealer never repeats one, and the replay
window stands before the opener.

To take a pad wakes nobody as long as enough are left: waking a thread costs the waker some 50 us
where the other processor sleeps, and the woken worker would want the interpreter just while the
frame is being sealed.  So the worker looks by itself, a moment later.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from shared.keystream.backend import KeyedGenerator
from shared.keystream.material import MAX_COUNTER, check_span

__all__ = ["AheadStats", "KeystreamAhead"]

_RECENT_FRAMES = 30  # one second of video: long enough to hold one group's largest frame
_HEADROOM = 1.125  # frames grow a little from one to the next
_MAX_PREPARED_NBYTES = (
    64 << 20
)  # the largest message of the link; memory is at most depth times this

# Frames at 120 fps take two of the four pads meanwhile, which wakes nobody.  More often costs more
# than the pads: the thread wakes up for each look.
_LOOK_EVERY_S = 0.015
_LOOK_SELDOM_S = 0.1  # once no frame has come for a while: an epoch that is over costs no power
_SELDOM_AFTER = 67  # looks without work: a second


@dataclass(frozen=True, slots=True)
class AheadStats:
    """How frames found their pad: whole (`hits`), its beginning only, or not at all."""

    hits: int = 0
    partial: int = 0
    misses: int = 0


class KeystreamAhead:
    """Pads of `generator`, prepared for the `depth` counters after the last one taken.

    `expected_nbytes` is the size to prepare until frames have shown theirs.  Thread-safe: any
    thread may take, in any order; counters passed over are dropped, and one asked for late is
    made on the spot.  Close it, or use it as a context manager.
    """

    def __init__(
        self, generator: KeyedGenerator, *, depth: int = 4, expected_nbytes: int = 64 << 10
    ) -> None:
        if depth < 1 or expected_nbytes < 0:
            raise ValueError("depth must be at least 1, and a size can't be negative")
        self._generator = generator
        self._depth = depth
        self._few = max(1, depth // 2)  # fewer ready than this, and a take wakes the worker
        self._expected_nbytes = expected_nbytes
        self._recent: deque[int] = deque([expected_nbytes], maxlen=_RECENT_FRAMES)
        self._taken_any = False
        self._lock = threading.Lock()  # guards everything below
        self._changed = threading.Condition(self._lock)
        self._ready: dict[int, NDArray[np.uint8]] = {}
        self._making: int | None = None
        self._next = 0
        self._closed = False
        self._failure: BaseException | None = None
        self._hits = self._partial = self._misses = 0
        # A daemon, so that a program that dies without closing is not held open.
        self._worker = threading.Thread(target=self._work, name="keystream", daemon=True)
        self._worker.start()

    @property
    def stats(self) -> AheadStats:
        with self._lock:
            return AheadStats(self._hits, self._partial, self._misses)

    @property
    def max_ready_nbytes(self) -> int:
        """What the prepared pads take in memory at most, as frames are now."""
        with self._lock:
            return self._depth * self._prepared_nbytes()

    def take(self, counter: int, nbytes: int) -> NDArray[np.uint8]:
        """Return the first `nbytes` keystream bytes of frame `counter`: fresh uint8 (nbytes,).

        Waits only while the worker is making this very pad.  Raises what the worker failed on,
        `ValueError` as the generator does.  After `close` every pad is made on the spot.
        """
        if nbytes < 0 or not 0 <= counter <= MAX_COUNTER:
            check_span(counter, nbytes, 0, self._generator.block_nbytes)  # says which
        pad = self._take_prepared(counter, nbytes)
        if pad is None:
            return self._generator.generate(counter, nbytes)
        if len(pad) >= nbytes:
            return pad[:nbytes]
        whole = np.empty(nbytes, dtype=np.uint8)
        whole[: len(pad)] = pad
        whole[len(pad) :] = self._generator.generate(
            counter, nbytes - len(pad), len(pad) // self._generator.block_nbytes
        )
        return whole

    def disregard_last(self) -> None:
        """Do not prepare for more of the size taken last: it was no frame of the stream."""
        with self._lock:
            self._recent.pop()
            if not self._recent:
                self._recent.append(self._expected_nbytes)
                self._taken_any = False

    def _take_prepared(self, counter: int, nbytes: int) -> NDArray[np.uint8] | None:
        with self._lock:
            while self._making == counter and self._failure is None:
                self._changed.wait()
            if self._failure is not None:
                raise self._failure
            ready = self._ready
            pad = ready.pop(counter, None)
            if pad is None:
                self._misses += 1
            elif len(pad) >= nbytes:
                self._hits += 1
            else:
                self._partial += 1
            if not self._taken_any:
                self._recent.clear()
                self._taken_any = True
            self._recent.append(nbytes)
            if counter >= self._next:
                if counter > self._next:  # frames were lost, or never sealed
                    for passed in [c for c in ready if c < counter]:
                        del ready[passed]
                self._next = counter + 1
            if len(ready) < self._few:
                self._changed.notify_all()
            return pad

    def close(self) -> None:
        """Stop the worker, wait for it, and forget all pads."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()
        self._worker.join()
        with self._lock:
            self._ready.clear()

    def __enter__(self) -> KeystreamAhead:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- the worker ---------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while (wanted := self._wait_for_work()) is not None:
                counter, nbytes = wanted
                pad = self._generator.generate(counter, nbytes)
                with self._lock:
                    self._making = None
                    if counter >= self._next:  # else a later one was taken meanwhile
                        self._ready[counter] = pad
                    self._changed.notify_all()
        except BaseException as error:  # handed to whoever takes the next pad
            with self._lock:
                self._failure = error
                self._making = None
                self._changed.notify_all()

    def _wait_for_work(self) -> tuple[int, int] | None:
        """Return the next counter to prepare and its size, or None once closed."""
        with self._lock:
            looks = 0
            while not self._closed:
                for counter in range(self._next, min(self._next + self._depth, MAX_COUNTER + 1)):
                    if counter not in self._ready:
                        self._making = counter
                        return counter, self._prepared_nbytes()
                looks += 1
                self._changed.wait(_LOOK_EVERY_S if looks < _SELDOM_AFTER else _LOOK_SELDOM_S)
            return None

    def _prepared_nbytes(self) -> int:
        """Return a whole number of blocks, so that a missing tail starts on a block."""
        block = self._generator.block_nbytes
        wanted = min(int(max(self._recent) * _HEADROOM), _MAX_PREPARED_NBYTES)
        return -(-wanted // block) * block
