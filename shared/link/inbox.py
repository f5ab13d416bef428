"""Whole frames that wait for their consumer; one that is too slow gets the newest.

Pure.  It counts what gave way, and puts nothing in order.
"""

from __future__ import annotations

from collections import deque

from shared.link.link import ReceivedFrame

__all__ = ["FrameInbox"]

# All that may be in flight can arrive at once after a stall of either end, which is not the
# consumer's fault; a frame that waits longer than this is.
MAX_WAITING_FRAMES = 8
MAX_WAITING_NS = 100_000_000  # 100 ms: three frames at 30 fps, and less than a person notices


class FrameInbox:
    """Frames in the order in which they became whole."""

    def __init__(self) -> None:
        self._waiting: deque[ReceivedFrame] = deque()
        self._dropped = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def dropped(self) -> int:
        """Frames that gave way to newer ones."""
        return self._dropped

    def add(self, frame: ReceivedFrame) -> None:
        """The newest frame; those too many or too old before it give way."""
        oldest_ns = frame.received_at_ns - MAX_WAITING_NS
        while self._waiting and (
            len(self._waiting) >= MAX_WAITING_FRAMES or self._waiting[0].received_at_ns < oldest_ns
        ):
            self._waiting.popleft()
            self._dropped += 1
        self._waiting.append(frame)

    def pop(self) -> ReceivedFrame:
        """The frame that came first; raises `IndexError` where none waits."""
        return self._waiting.popleft()
