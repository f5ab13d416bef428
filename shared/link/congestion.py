"""How many frames may be on the way at once, learnt from how long they take.

Pure.  The other end acknowledges each whole frame.  A frame that takes longer than the quickest
recent one by more than jitter explains was queueing somewhere, so fewer may be on the way; while
none does, one more is tried (additive increase, multiplicative decrease on delay, the family of
RFC 6817 and Vegas).  What can't leave now is not queued: the caller drops it and sends a newer one.
It paces nothing inside a frame: SCTP does that.
"""

from __future__ import annotations

from collections import deque

__all__ = ["SendWindow"]

START_LIMIT = (
    3.0  # frames; at 30 fps a stall of 130 ms at either end then costs no frame (two: 100)
)
MIN_LIMIT = 1.0  # frames; with none the link would stand still
MAX_LIMIT = 8.0  # frames; 30 fps over a path of 250 ms

QUEUEING_FACTOR = 1.5  # of the quickest delay: a frame half as long again has waited
QUEUEING_SLACK_NS = 40_000_000  # 40 ms: what two busy Python event loops add by themselves
INCREASE = 0.25  # frames a round; slow, as on a slow path each try delays a frame
DECREASE_LEAST = 0.7  # of the limit, when a frame was late; one may be one slow scheduler
DECREASE_MOST = 0.3  # of the limit, when it was very late: its queue takes seconds to drain
BASE_LIFE_NS = 10_000_000_000  # 10 s; then the quickest delay is measured anew (the path changed)


class SendWindow:
    """Admission of frames: ask `can_send`, then report `on_sent`, and each `on_ack`."""

    def __init__(self) -> None:
        self._limit = START_LIMIT
        self._in_flight: dict[int, int] = {}  # id: sent at ns
        self._base: deque[tuple[int, int]] = deque()  # (at ns, delay ns), delays rising
        self._ramping = True
        self._was_full = False
        self._changed_at_ns = -1

    @property
    def limit(self) -> int:
        """Frames that may be in flight at once."""
        return int(self._limit)

    @property
    def in_flight(self) -> int:
        """Frames sent and not acknowledged."""
        return len(self._in_flight)

    def can_send(self) -> bool:
        return len(self._in_flight) < self.limit

    def on_sent(self, frame_id: int, now_ns: int) -> None:
        """A frame begins to leave.  Each id once."""
        self._in_flight[frame_id] = now_ns
        self._was_full |= not self.can_send()

    def on_abandoned(self, frame_id: int) -> None:
        """Its sender was cancelled half-way: it will not be acknowledged, and teaches nothing."""
        self._in_flight.pop(frame_id, None)

    def on_ack(self, frame_id: int, now_ns: int) -> None:
        """The other end is done with a frame.  An id that is not in flight is ignored."""
        sent_at_ns = self._in_flight.pop(frame_id, None)
        if sent_at_ns is None:
            return
        if sent_at_ns > self._changed_at_ns:  # else it tells of the limit before the last change
            self._adapt(now_ns, max(0, now_ns - sent_at_ns))
        self._was_full = not self.can_send()

    def _adapt(self, now_ns: int, delay_ns: int) -> None:
        while self._base and self._base[-1][1] >= delay_ns:
            self._base.pop()
        self._base.append((now_ns, delay_ns))
        quickest_ns = self._base[0][1]
        while self._base[0][0] < now_ns - BASE_LIFE_NS:
            self._base.popleft()
        if self._base[0][1] > quickest_ns + QUEUEING_SLACK_NS:
            # Either the path became longer, or every frame of ten seconds queued and the quickest
            # of them holds a queue itself.  One frame alone on its way tells; then ramp up again.
            self._base.clear()
            self._limit, self._ramping, self._changed_at_ns = MIN_LIMIT, True, now_ns
        elif delay_ns > (tolerated_ns := quickest_ns * QUEUEING_FACTOR + QUEUEING_SLACK_NS):
            fewer = self._limit * max(DECREASE_MOST, min(DECREASE_LEAST, tolerated_ns / delay_ns))
            self._limit = max(MIN_LIMIT, fewer)
            self._ramping, self._changed_at_ns = False, now_ns
        elif self._was_full:
            # Grown only when it was the window that held frames back, else it would grow on
            # delays measured at a lower load (as RFC 9260 section 7.2.1 says of its own window).
            step = 1.0 if self._ramping else INCREASE / self._limit
            self._limit = min(MAX_LIMIT, self._limit + step)
