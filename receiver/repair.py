"""How long a frame waits for the one that it builds on, and how often a key frame is asked for.

Pure: round trips and times in, decisions out.
"""

from __future__ import annotations

__all__ = ["KeyFrameWish", "patience_ns"]

# Asked for and sent again, one round trip, half of one for jitter, and what the two ends take; a
# person sees a freeze from about 250 ms.
MIN_PATIENCE_NS, MAX_PATIENCE_NS = 40_000_000, 250_000_000
WORK_NS = 20_000_000
MIN_ASK_NS = 100_000_000  # a key frame is large: one is asked for again after a round trip at least


def patience_ns(rtt_ns: int) -> int:
    """How long a frame that is ahead of its reference is held, by the round trip to the sender."""
    return min(max(WORK_NS + 3 * rtt_ns // 2, MIN_PATIENCE_NS), MAX_PATIENCE_NS)


class KeyFrameWish:
    """Remembers when a key frame was asked for last."""

    def __init__(self) -> None:
        self._asked_at_ns: int | None = None

    def ask(self, now_ns: int, rtt_ns: int) -> bool:
        """Whether to ask now; if so, that is remembered."""
        if self._asked_at_ns is not None and now_ns - self._asked_at_ns < max(rtt_ns, MIN_ASK_NS):
            return False
        self._asked_at_ns = now_ns
        return True
