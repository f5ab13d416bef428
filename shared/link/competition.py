"""Whether somebody else keeps the path's queue full, and how long a queue to keep up beside them.

Pure.  The mode switch of Copa (Arun and Balakrishnan, NSDI 2018, section 2.2): a queue that never
empties is filled by traffic that knows loss alone, and beside that delta goes up and down as TCP's
window does.  What to do with delta is `shared.link.congestion`'s.
"""

from __future__ import annotations

from shared.link.packets import PACKET_BYTES

__all__ = ["Competition"]

# 1 / delta: packets left in the queue.  The paper's 2 drown in the jitter of an event loop; 6 are
# 7.5 ms at 8 Mbit/s, and where they would be longer than a picture can wait, the queue is that.
INVERSE_DELTA = 6.0

COMPETE_AFTER_NS = 1_000_000_000  # 1 s, or five rounds, without an empty queue: somebody fills it
EMPTY_MEMORY_NS = 1_000_000_000
EMPTY_OFTEN = 0.2  # of the last second; TCP too empties the queue at times
EMPTY_SHARE = 0.1  # of the longest queue seen lately: so short a one is empty
LONGEST_DECAY = 0.995  # a report


class Competition:
    """Feed it each report; read `on` and `inverse_delta`."""

    def __init__(self) -> None:
        self._on = False
        self._inverse_delta = INVERSE_DELTA
        self._empty_at_ns = 0
        self._empty = 0.0  # how much of the last while the queue was empty
        self._longest_queue_ns = 0.0
        self._halved_at_ns = 0
        self._heard_at_ns = 0

    @property
    def on(self) -> bool:
        """Whether somebody else keeps the queue full."""
        return self._on

    @property
    def inverse_delta(self) -> float:
        """Packets to leave in the queue."""
        return self._inverse_delta

    def on_report(
        self,
        queue_ns: int,
        jitter_ns: float,
        *,
        rate: float,
        lost: int,
        round_ns: int,
        now_ns: int,
    ) -> None:
        """The queue is `queue_ns` long at `rate` bytes a second, and `lost` packets were lost."""
        since_ns = min(now_ns - self._heard_at_ns, EMPTY_MEMORY_NS) if self._heard_at_ns else 0
        self._heard_at_ns = now_ns
        self._longest_queue_ns = max(float(queue_ns), self._longest_queue_ns * LONGEST_DECAY)
        empty = queue_ns <= max(EMPTY_SHARE * self._longest_queue_ns, jitter_ns)
        self._empty += (empty - self._empty) * since_ns / EMPTY_MEMORY_NS
        if empty or not self._empty_at_ns:
            self._empty_at_ns = now_ns
        if not self._on:
            if now_ns - self._empty_at_ns > max(5 * round_ns, COMPETE_AFTER_NS):
                # From where the rate is: what it takes to hold it in such a queue.
                self._on = True
                self._inverse_delta = max(INVERSE_DELTA, rate * queue_ns / 1e9 / PACKET_BYTES)
        elif self._empty > EMPTY_OFTEN:
            self._on, self._inverse_delta = False, INVERSE_DELTA
        elif lost > 0 and now_ns - self._halved_at_ns >= round_ns:
            self._inverse_delta = max(INVERSE_DELTA, self._inverse_delta / 2)
            self._halved_at_ns = now_ns
        else:
            self._inverse_delta += min(1.0, since_ns / round_ns)  # 1 a round
