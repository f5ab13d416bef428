"""When a picture may be shown, for viewers who want an even pace more than the least delay.

By default nothing waits.  With a playout delay each picture is shown that long after it was taken,
if it has come by then: jitter of the network below the delay is no longer seen.  Pure: times in,
pictures out.  It refuses to hold more than a moment's worth, and to show one after a newer one.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

__all__ = ["MAX_WAITING", "PlayoutBuffer"]

MAX_WAITING = 32  # pictures: a second at 30 fps; uncompressed ones are large

T = TypeVar("T")


class PlayoutBuffer(Generic[T]):
    """Pictures that wait for their moment; they come in the order in which they were taken."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, T]] = deque()

    @property
    def next_due_ns(self) -> int | None:
        """When `take` has something to give, or None while nothing waits."""
        return self._waiting[0][0] if self._waiting else None

    def put(self, item: T, due_ns: int) -> T | None:
        """Let `item` wait until `due_ns`; returns the oldest one if there are too many."""
        self._waiting.append((due_ns, item))
        return self._waiting.popleft()[1] if len(self._waiting) > MAX_WAITING else None

    def take(self, now_ns: int) -> list[T]:
        """All that is due at `now_ns`, oldest first: the last is to be shown."""
        due = []
        while self._waiting and self._waiting[0][0] <= now_ns:
            due.append(self._waiting.popleft()[1])
        return due
