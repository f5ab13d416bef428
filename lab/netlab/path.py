"""One direction of an impaired path, as a pure model: packet sizes and times in, fates out.

Each packet offered meets, in this order:

1. an **outage**: everything offered while it lasts is gone;
2. the **queue** before the bottleneck, bounded in bytes or in waiting time, drop-tail;
3. the **bottleneck**, which serves bits at `rate_mbit`, first in first out, and follows the
   schedule's changes of rate exactly, also for packets that were queued before the change;
4. **loss** behind the bottleneck (so that what is lost has used its share of the rate): random,
   and in bursts by Gilbert's and Elliott's chain of two states (Elliott, "Estimates of error rates
   for codes on burst-noise channels", BSTJ 42, 1963), which moves once a packet;
5. **delay**, jitter, and holding back of some packets so that later ones overtake them;
6. **duplication**.

Every random decision comes from seeded generators, one for each kind, so that the n-th packet's
loss does not hang on whether there is also jitter.  There is no clock, socket or packet content
here; `lab.netlab.line` holds the packets, and `lab.netlab.pump` carries them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np

from lab.netlab.impairment import Impairment, ImpairmentStep, Schedule

__all__ = ["Cause", "Fate", "Path", "PathCounters"]

_MS = 1_000_000  # in ns
_BLOCK = 512  # random numbers drawn at once: a scalar draw of numpy costs ten times as much
_NEVER = 1 << 62  # ns, beyond any clock


class Cause(Enum):
    """Why a packet did not get through."""

    LOSS = "loss"
    QUEUE = "queue full"
    OUTAGE = "outage"


@dataclass(frozen=True, slots=True)
class Fate:
    """When a packet comes out at the far end (ns; twice if duplicated), or why it does not."""

    at_ns: tuple[int, ...]
    cause: Cause | None = None


_LOST = Fate((), Cause.LOSS)
_DROPPED = Fate((), Cause.QUEUE)
_OUT = Fate((), Cause.OUTAGE)


@dataclass(slots=True)
class PathCounters:
    """What happened on a path so far."""

    offered_packets: int = 0
    offered_bytes: int = 0
    lost: int = 0  # packets, behind the bottleneck
    queue_dropped: int = 0  # packets
    outage_dropped: int = 0  # packets
    duplicated: int = 0  # packets
    held_back: int = 0  # packets, for reordering
    max_queue_bytes: int = 0
    max_queue_ns: int = 0  # longest wait for the bottleneck, of a packet that got in


@dataclass(frozen=True, slots=True)
class _Figures:
    """A step of the schedule in the units of the model."""

    begins_ns: int  # after the beginning
    impairment: Impairment
    delay_ns: int
    jitter_ns: int
    period_ns: int
    hold_ns: int
    bits_per_ns: float | None
    queue_ns: int
    queue_bytes: int
    enter_bad: float
    leave_bad: float
    bad_loss: float

    @classmethod
    def of(cls, step: ImpairmentStep) -> _Figures:
        figures = step.impairment
        return cls(
            begins_ns=round(step.at_s * 1e9),
            impairment=figures,
            delay_ns=round(figures.delay_ms * _MS),
            jitter_ns=round(figures.jitter_ms * _MS),
            period_ns=round(figures.jitter_period_ms * _MS),
            hold_ns=round(figures.reorder_ms * _MS),
            bits_per_ns=None if figures.rate_mbit is None else figures.rate_mbit / 1e3,
            queue_ns=_NEVER if figures.queue_ms is None else round(figures.queue_ms * _MS),
            queue_bytes=_NEVER if figures.queue_bytes is None else figures.queue_bytes,
            enter_bad=figures.enter_bad,
            leave_bad=figures.leave_bad,
            bad_loss=figures.burst_density,
        )


class Path:
    """One direction.  `offer` each packet in the order and at the time it arrives.

    Until `begin` the first step holds, however long; from then on the schedule runs.
    """

    def __init__(self, schedule: Schedule, *, seed: int | np.random.SeedSequence) -> None:
        if not isinstance(seed, np.random.SeedSequence):
            seed = np.random.SeedSequence(seed)
        draws = [_uniform(np.random.default_rng(child)) for child in seed.spawn(6)]
        self._draw_loss, self._draw_move, self._draw_bad, *rest = draws
        self._draw_jitter, self._draw_hold, self._draw_twice = rest
        self._steps = [_Figures.of(step) for step in schedule.steps]
        self._ends = [step.begins_ns for step in self._steps[1:]] + [_NEVER]
        self._origin: int | None = None
        self._now = 0  # index of the step in force
        self._changes_at = _NEVER
        self._in_bad = False
        self._free_at = 0  # when the bottleneck will have served all that it accepted
        self._queue: deque[tuple[int, int]] = deque()  # (served at, bytes)
        self._queue_bytes = 0
        self._last_at = 0  # delivery of the latest packet that keeps its place
        self._knot = -1  # number of the jitter period for which the two values below hold
        self._jitter_from = 0.0
        self._jitter_to = 0.0
        self.counters = PathCounters()

    def begin(self, now_ns: int) -> None:
        """Start the schedule's clock (again), and count from zero."""
        self._origin = now_ns
        self._now = 0
        self._changes_at = now_ns + self._ends[0]
        self.counters = PathCounters()

    def queue(self, now_ns: int) -> tuple[int, int]:
        """(bytes, ns to drain them) in the queue now, the packet in service included."""
        queue = self._queue
        while queue and queue[0][0] <= now_ns:
            self._queue_bytes -= queue.popleft()[1]
        return self._queue_bytes, max(self._free_at - now_ns, 0)

    def offer(self, size: int, now_ns: int) -> Fate:
        """Decide what becomes of a packet of `size` bytes that arrives at `now_ns`."""
        while now_ns >= self._changes_at:
            self._advance()
        figures = self._steps[self._now]
        impairment = figures.impairment
        counters = self.counters
        counters.offered_packets += 1
        counters.offered_bytes += size
        if impairment.outage:
            counters.outage_dropped += 1
            return _OUT
        served_at = now_ns
        if figures.bits_per_ns is not None:
            waiting, wait_ns = self.queue(now_ns)
            if wait_ns > figures.queue_ns or waiting + size > figures.queue_bytes:
                counters.queue_dropped += 1
                return _DROPPED
            served_at = self._serve(size, now_ns + wait_ns)
            self._free_at = served_at
            self._queue.append((served_at, size))
            self._queue_bytes += size
            counters.max_queue_bytes = max(counters.max_queue_bytes, self._queue_bytes)
            counters.max_queue_ns = max(counters.max_queue_ns, wait_ns)
        elif self._free_at > now_ns:  # what an earlier bottleneck still holds goes first
            served_at = self._free_at
        if self._loses(figures):
            counters.lost += 1
            return _LOST
        at_ns = served_at + figures.delay_ns
        if figures.jitter_ns:
            at_ns += round(figures.jitter_ns * self._jitter(figures.period_ns, served_at))
        if impairment.reorder and self._draw_hold() < impairment.reorder:
            counters.held_back += 1
            at_ns += figures.hold_ns
        elif impairment.keep_order:
            at_ns = max(at_ns, self._last_at)
            self._last_at = at_ns
        if impairment.duplicate and self._draw_twice() < impairment.duplicate:
            counters.duplicated += 1
            return Fate((at_ns, at_ns))
        return Fate((at_ns,))

    def _advance(self) -> None:
        assert self._origin is not None  # noqa: S101 -- nothing changes before the beginning
        self._now += 1
        self._changes_at = self._origin + self._ends[self._now]

    def _serve(self, size: int, start_ns: int) -> int:
        """When the bottleneck, free from `start_ns` on, will have sent `size` bytes."""
        bits = 8.0 * size
        step = self._now
        while True:
            ends_ns = _NEVER if self._origin is None else self._origin + self._ends[step]
            if start_ns < ends_ns:
                rate = self._steps[step].bits_per_ns
                if rate is None:
                    return start_ns
                done_ns = start_ns + math.ceil(bits / rate)
                if done_ns <= ends_ns:
                    return done_ns
                bits -= (ends_ns - start_ns) * rate
                start_ns = ends_ns
            step += 1

    def _loses(self, figures: _Figures) -> bool:
        impairment = figures.impairment
        lost = bool(impairment.loss) and self._draw_loss() < impairment.loss
        if impairment.burst_loss or self._in_bad:
            chance = figures.leave_bad if self._in_bad else figures.enter_bad
            if self._draw_move() < chance:
                self._in_bad = not self._in_bad
            if self._in_bad and impairment.burst_loss and self._draw_bad() < figures.bad_loss:
                lost = True
        return lost

    def _jitter(self, period_ns: int, at_ns: int) -> float:
        """The jitter at a time, -1 to 1: a straight line between values drawn once a period."""
        if not period_ns:
            return 2 * self._draw_jitter() - 1
        knot, past_ns = divmod(at_ns, period_ns)
        if knot != self._knot:
            follows = knot == self._knot + 1
            self._jitter_from = self._jitter_to if follows else 2 * self._draw_jitter() - 1
            self._jitter_to = 2 * self._draw_jitter() - 1
            self._knot = knot
        return self._jitter_from + (self._jitter_to - self._jitter_from) * past_ns / period_ns


def _uniform(generator: np.random.Generator) -> Callable[[], float]:
    def numbers() -> Iterator[float]:
        while True:
            yield from generator.random(_BLOCK).tolist()

    return numbers().__next__
