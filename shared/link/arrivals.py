"""What arrivals tell of the path: the queue that stands in it, and how much comes through.

Pure.  Delays are one-way (the other end's reports say when each packet came), so neither the way
back nor the report's own delay counts as a queue.  The standing queue is Copa's (Arun and
Balakrishnan, NSDI 2018, section 2.1): the least delay of the last moment above the least of the
last while.  A video is a train of packets a frame; the rate at which one arrives is what the path
carries at that moment (Dovrolis et al., "What do packet dispersion techniques measure?", INFOCOM
2001).  It says nothing of how fast to send (`shared.link.congestion`).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from shared.link.flight import Arrival, Sent

__all__ = ["TRAIN_LEAST", "ArrivalMeter", "Trains"]

STANDING_LEAST_NS = 40_000_000  # one frame at 30 fps and some: between frames the queue may empty
BASE_LIFE_NS = 10_000_000_000  # 10 s, the paper's window for the least delay
BASE_STEP_NS = 500_000_000

USE_MEMORY_NS = 500_000_000  # over which arrivals are averaged: five frames at 10 fps
LATELY_NS = 60_000_000  # 60 ms: while the queue is long, what arrives is what the path carries
MAX_LATELY = 1 << 14  # packets: 60 ms of 2.7 Gbit/s; only times made up by a peer get there

TRAIN_LEAST = 5  # packets; of fewer the rate of arrival is mostly jitter
TRAIN_UNDER_WAY = 10  # packets, of a train that is still arriving
TRAIN_MOST = 48  # so a large frame teaches before it ends
TRAIN_LIFE_NS = 2_000_000_000  # 2 s: of older trains nothing is believed
TRAINS_HELD = 15  # half a second at 30 fps
TRAINS_LATEST = 3
PACKET_LEAST_NS = 5_000  # 5 us a packet: no path is taken for faster than 2 Gbit/s

JITTER_NS = 4_000_000  # 4 ms, and what is measured beyond
JITTER_MOST_NS = 15_000_000
JITTER_MEMORY = 16  # trains


class ArrivalMeter:
    """Feed it the arrivals that each report tells of."""

    def __init__(self) -> None:
        self._base: deque[tuple[int, int]] = deque()  # (step, least one-way delay ns in it)
        # (arrived ns, delay ns), delays rising
        self._recent: deque[tuple[int, int]] = deque(maxlen=MAX_LATELY)
        # (arrived ns, bytes), of the last moment
        self._lately: deque[tuple[int, int]] = deque(maxlen=MAX_LATELY)
        self.queue_ns = 0  # the standing queue of the path, one way
        self.used = 0.0  # bytes a second that arrived, averaged

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
        self.used *= math.exp(-since_ns / USE_MEMORY_NS)
        self.used += nbytes / USE_MEMORY_NS * 1e9
        self.queue_ns = max(0, self._recent[0][1] - min(least for _, least in self._base))
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


class Trains:
    """Feed it arrivals in the order of sending."""

    def __init__(self) -> None:
        self._train = _Train()
        self._rates: deque[tuple[int, float]] = deque(maxlen=TRAINS_HELD)
        self._last_delay_ns = 0
        self._change_ns = 0.0
        self.jitter_ns = float(JITTER_NS)  # delay that is none of a queue

    def add(self, arrival: Arrival) -> None:
        """A packet is there; a repair is no part of a train."""
        if arrival.sent.repair:
            return
        if not self._train.ends_before(arrival.sent):
            self._train.add(arrival)
            return
        if (rate := self._train.rate(TRAIN_LEAST)) is not None:
            self._rates.append((self._train.last_ns, rate))
        self._measure_jitter(self._train.least_delay_ns)
        self._train = _Train(arrival)

    def clear(self) -> None:
        """What was seen holds no more."""
        self._rates.clear()

    def ceiling(self) -> float | None:
        """Bytes a second that the path lately carried, by the latest trains or by most; or None."""
        most, latest = self._arrival_rate(TRAINS_HELD), self._arrival_rate(TRAINS_LATEST)
        return None if most is None or latest is None else max(most, latest)

    def _measure_jitter(self, delay_ns: int) -> None:
        """By how much the least delay differs from train to train (as RFC 3550 section 6.4.1)."""
        change_ns = abs(delay_ns - self._last_delay_ns) if self._last_delay_ns else 0
        self._last_delay_ns = delay_ns
        self._change_ns += (change_ns - self._change_ns) / JITTER_MEMORY
        self.jitter_ns = JITTER_NS + min(JITTER_MOST_NS, 1.5 * self._change_ns)

    def _arrival_rate(self, newest: int) -> float | None:
        """The median of what recent trains arrived at, in bytes a second."""
        horizon_ns = self._train.last_ns - TRAIN_LIFE_NS
        rates = [rate for at_ns, rate in list(self._rates)[-newest:] if at_ns >= horizon_ns]
        if (rate := self._train.rate(TRAIN_UNDER_WAY)) is not None:
            rates.append(rate)
        return sorted(rates)[len(rates) // 2] if rates else None


class _Train:
    """The packets of one frame as they arrive, or of a part of a large one."""

    __slots__ = ("count", "first_ns", "frame_id", "last_ns", "least_delay_ns", "nbytes")

    def __init__(self, first: Arrival | None = None) -> None:
        self.frame_id = -1
        self.count = self.first_ns = self.last_ns = self.least_delay_ns = 0
        self.nbytes = 0  # but the first one's, which came before the clock started
        if first is not None:
            self.frame_id, self.count = first.sent.frame_id, 1
            self.first_ns = self.last_ns = first.arrived_ns
            self.least_delay_ns = first.arrived_ns - first.sent.at_ns

    def ends_before(self, sent: Sent) -> bool:
        return sent.frame_id != self.frame_id or self.count >= TRAIN_MOST

    def add(self, arrival: Arrival) -> None:
        at_ns = arrival.arrived_ns
        self.first_ns = min(self.first_ns, at_ns)
        self.last_ns = max(self.last_ns, at_ns)
        self.least_delay_ns = min(self.least_delay_ns, at_ns - arrival.sent.at_ns)
        self.nbytes += arrival.sent.nbytes
        self.count += 1

    def rate(self, least: int) -> float | None:
        """Bytes a second; None of fewer than `least` packets."""
        if self.count < least:
            return None
        span_ns = max(self.last_ns - self.first_ns, self.count * PACKET_LEAST_NS)
        return self.nbytes / span_ns * 1e9
