"""When a picture may be shown, for viewers who want an even pace more than the least delay.

By default nothing waits.  With a playout delay each picture is shown that long after it was taken,
if it has come by then: jitter of the network below the delay is no longer seen.  Pure: times in,
pictures out.  It refuses to hold more than memory is for, and to show one after a newer one.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

__all__ = ["BYTES_WAITING", "PlayoutBuffer"]

BYTES_WAITING = 512 * 1024 * 1024  # a second of 1920x1080 RGB at 60 fps is 373 MB

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
