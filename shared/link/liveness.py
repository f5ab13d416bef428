"""Whether the other end is still there: silence, counted only while we were able to listen.

Pure.  A process whose event loop was blocked (a large import, a suspended laptop) heard nothing
because it did not listen; that time says nothing of the other end and is left out.
"""

from __future__ import annotations

__all__ = ["Liveness"]

BLOCKED_AFTER_NS = 1_000_000_000  # 1 s past its due time, a check was held up by ourselves;
# with a silence shorter than 4 s, a quarter of it


class Liveness:
    """Tell it of every sign of life and call `gone` regularly, every `interval_ns`."""

    def __init__(self, *, silence_ns: int, interval_ns: int, now_ns: int) -> None:
        self._silence_ns = silence_ns
        self._interval_ns = interval_ns
        self._blocked_after_ns = min(BLOCKED_AFTER_NS, silence_ns // 4)
        self._heard_ns = now_ns
        self._checked_ns = now_ns

    def heard(self, now_ns: int) -> None:
        """Anything at all arrived from the other end."""
        self._heard_ns = max(self._heard_ns, now_ns)

    def gone(self, now_ns: int) -> bool:
        """Whether the other end has been silent for `silence_ns` of listening."""
        late_ns = now_ns - self._checked_ns - self._interval_ns
        self._checked_ns = now_ns
        if late_ns > self._blocked_after_ns:
            self._heard_ns = min(now_ns, self._heard_ns + late_ns)
        return now_ns - self._heard_ns >= self._silence_ns
