"""When a moving picture stood still, by the rule of WebRTC.  Pure: times in, verdicts out."""

from __future__ import annotations

from collections import deque

__all__ = ["FreezeDetector"]


class FreezeDetector:
    """Counts freezes as W3C webrtc-stats `freezeCount` does.

    A gap between two shown frames is a freeze if it is ≥ max(3 δ, δ + 150 ms), δ being the mean
    of the 30 gaps before it.  Fewer than 5 gaps tell nothing yet.
    """

    MEAN_OVER = 30
    AT_LEAST = 5
    MARGIN_NS = 150_000_000

    def __init__(self) -> None:
        self.count = 0
        self._gaps: deque[int] = deque(maxlen=self.MEAN_OVER)
        self._last_ns: int | None = None

    def add(self, shown_at_ns: int) -> bool:
        """Note a frame shown at `shown_at_ns`; True if the gap before it was a freeze."""
        last, self._last_ns = self._last_ns, shown_at_ns
        if last is None:
            return False
        gap = shown_at_ns - last
        frozen = False
        if len(self._gaps) >= self.AT_LEAST:
            mean = sum(self._gaps) / len(self._gaps)
            frozen = gap >= max(3 * mean, mean + self.MARGIN_NS)
        self._gaps.append(gap)
        self.count += frozen
        return frozen

    def pause(self) -> None:
        """The person holds the picture: the gap until the next frame is no freeze."""
        self._last_ns = None
