"""When the next packet may leave: packets go out evenly, a little faster than the path carries.

Pure.  A leaky bucket: each packet moves the moment of the next one on by its own length at the
pacing rate.  It holds no packets and knows no priorities.
"""

from __future__ import annotations

__all__ = ["Pacer"]

IDLE_CREDIT_NS = 2_000_000  # 2 ms: what a burst may begin with, after a pause
BUSY_CREDIT_NS = 10_000_000  # 10 ms of catching up, where the event loop was late
AHEAD_NS = 1_000_000  # 1 ms: event loops wake no finer, so send so much ahead


class Pacer:
    """Ask `ready`, and tell `on_sent`.  `rate` is in bytes a second, on the wire."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._free_at_ns = 0

    def resume(self, now_ns: int) -> None:
        """There is something to send again, after there was nothing."""
        self._free_at_ns = max(self._free_at_ns, now_ns - IDLE_CREDIT_NS)

    def ready(self, now_ns: int) -> bool:
        """Whether a packet may leave now."""
        return self._free_at_ns <= now_ns + AHEAD_NS

    def ready_at_ns(self) -> int:
        """When the next packet may leave."""
        return self._free_at_ns

    def on_sent(self, nbytes: int, now_ns: int) -> None:
        base_ns = max(self._free_at_ns, now_ns - BUSY_CREDIT_NS)
        self._free_at_ns = base_ns + round(nbytes / self.rate * 1e9)
