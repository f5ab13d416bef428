"""What arrivals tell of the path: the queue that stands in it, and how much comes through.

Pure.  Delays are one-way (the other end's reports say when each packet came), so neither the way
back nor the report's own delay counts as a queue.  The standing queue is Copa's (Arun and
Balakrishnan, NSDI 2018, section 2.1): the least delay of the last moment above the least of the
last while.  It says nothing of how fast to send (`shared.link.congestion`), nor of trains of
packets (`shared.link.trains`).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from shared.link.flight import Arrival
from shared.link.trains import TRAIN_LEAST

__all__ = ["ArrivalMeter"]

STANDING_LEAST_NS = 40_000_000  # one frame at 30 fps and some: between frames the queue may empty
BASE_LIFE_NS = 10_000_000_000  # 10 s, the paper's window for the least delay
BASE_STEP_NS = 500_000_000

USE_MEMORY_NS = 500_000_000  # over which arrivals are averaged: five frames at 10 fps
LATELY_NS = 60_000_000  # 60 ms: while the queue is long, what arrives is what the path carries
MAX_LATELY = 1 << 14  # packets: 60 ms of 2.7 Gbit/s; only times made up by a peer get there


class ArrivalMeter:
    """Feed it the arrivals that each report tells of."""

    def __init__(self) -> None:
        self._base: deque[tuple[int, int]] = deque()  # (step, least one-way delay ns in it)
        # (arrived ns, delay ns), delays rising
        self._recent: deque[tuple[int, int]] = deque(maxlen=MAX_LATELY)
        # (arrived ns, bytes), of the last moment
        self._lately: deque[tuple[int, int]] = deque(maxlen=MAX_LATELY)
        self._queue_ns = 0
        self._used = 0.0

    @property
    def queue_ns(self) -> int:
        """The standing queue of the path, one way."""
        return self._queue_ns

    @property
    def used(self) -> float:
        """Bytes a second that arrived, averaged."""
        return self._used

    @property
    def carried(self) -> float | None:
        """Bytes a second that arrived in the last moment; None where those were too few to tell."""
        span_ns = self._lately[-1][0] - self._lately[0][0]
        if len(self._lately) <= TRAIN_LEAST or span_ns <= 0:
            return None
        nbytes = sum(nbytes for _, nbytes in self._lately) - self._lately[0][1]
        return nbytes / span_ns * 1e9

    def on_report(self, arrived: Sequence[Arrival], rtt_ns: int, since_ns: int, now_ns: int) -> int:
        """Packets that arrived, one at least, in order of sending; returns their bytes.

        `since_ns`: since the report before.
        """
        nbytes = 0
        for arrival in arrived:
            self._add(arrival, rtt_ns, now_ns)
            nbytes += arrival.sent.nbytes
        self._used *= math.exp(-since_ns / USE_MEMORY_NS)
        self._used += nbytes / USE_MEMORY_NS * 1e9
        self._queue_ns = max(0, self._recent[0][1] - min(least for _, least in self._base))
        return nbytes

    def clear(self) -> None:
        """What was seen of the queue holds no more."""
        self._recent.clear()

    def _add(self, arrival: Arrival, rtt_ns: int, now_ns: int) -> None:
        at_ns = arrival.arrived_ns
        delay_ns = at_ns - arrival.sent.at_ns
        step = now_ns // BASE_STEP_NS  # by our own clock, which no peer can stop
        if not self._base or self._base[-1][0] < step:
            self._base.append((step, delay_ns))
            while (step - self._base[0][0]) * BASE_STEP_NS > BASE_LIFE_NS:
                self._base.popleft()
        elif delay_ns < self._base[-1][1]:
            self._base[-1] = (self._base[-1][0], delay_ns)
        self._lately.append((at_ns, arrival.sent.nbytes))
        while self._lately[0][0] < at_ns - LATELY_NS:
            self._lately.popleft()
        while self._recent and self._recent[-1][1] >= delay_ns:
            self._recent.pop()
        self._recent.append((at_ns, delay_ns))
        horizon_ns = at_ns - max(rtt_ns // 2, STANDING_LEAST_NS)
        while self._recent[0][0] < horizon_ns:
            self._recent.popleft()
