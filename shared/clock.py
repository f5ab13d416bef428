"""How far the other end's monotonic clock is from ours, with an error bound that always holds.

Pure: four timestamps of each ping come in, an estimate comes out.  Each ping says, whatever way its
delay is split between the two directions,

    their clock - ours  >=  t3 - t4  at the moment t4,   and   <=  t2 - t1  at the moment t1

(NTP, RFC 5905 section 8).  The clocks are taken to run apart at a constant rate of at most
`DRIFT_PPM`, give or take `WANDER_PPM`.  The estimate is then the set of all lines through these
limits: a linear program in offset and drift (Marzullo's intersection, with drift), solved exactly.
A ping that was held up by a queue is a loose limit and does no harm; one quick ping in a minute is
enough.  It refuses to smooth or to average: an average of asymmetric samples has no honest bound.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ClockEstimate", "ClockEstimator"]

DRIFT_PPM = 100  # two free-running quartz clocks at the 50 ppm of a poor part each, running apart
WANDER_PPM = 5  # of that rate within a minute: temperature moves quartz by less than 1 ppm a kelvin
SAMPLE_LIFE_NS = 60_000_000_000  # 60 s: beyond, drift is not constant enough to be of use
MAX_SAMPLES = 96  # 60 s of one ping a second, and the burst at connect

_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ClockEstimate:
    """The other end's clock minus ours is `offset_ns` at our time `at_ns`, wrong by `bound_ns`
    at most.

    `rtt_ns` is the shortest round trip among the pings used, in nanoseconds; `drift_ppm` the best
    guess of how fast the offset grows, in millionths, wrong by `drift_bound_ppm` at most.
    """

    offset_ns: int
    bound_ns: int
    rtt_ns: int
    drift_ppm: float = 0.0
    drift_bound_ppm: float = 0.0
    at_ns: int = 0

    def to_local(self, remote_ns: int) -> tuple[int, int]:
        """When the other end's clock showed `remote_ns` by ours, and by how much that may be off.

        Both in nanoseconds.  The further from `at_ns`, the less is known: between two pings the
        clocks run on.
        """
        local_ns = remote_ns - self.offset_ns
        apart_ns = local_ns - self.at_ns
        off_ns = math.ceil(abs(apart_ns) * self.drift_bound_ppm / 1e6)
        return local_ns - round(apart_ns * self.drift_ppm / 1e6), self.bound_ns + off_ns


@dataclass(frozen=True, slots=True)
class _Sample:
    asked_ns: int  # ours, when the ping left
    at_ns: int  # ours, when the answer came in
    low_ns: int  # the offset at `at_ns` is at least this: the answer took no negative time
    high_ns: int  # and at `asked_ns` at most this: nor did the ping

    @property
    def rtt_ns(self) -> int:
        return self.high_ns - self.low_ns


class ClockEstimator:
    """Keeps the pings of the last minute and the offset and drift on which they agree."""

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque(maxlen=MAX_SAMPLES)
        self.estimate: ClockEstimate | None = None
        """As of the newest ping, or None before the first."""

    @property
    def samples(self) -> int:
        """How many pings are held at present."""
        return len(self._samples)

    def add(self, t1: int, t2: int, t3: int, t4: int) -> bool:
        """Take one ping: sent `t1` (ours), arrived `t2`, answered `t3` (theirs), back `t4` (ours).

        All in nanoseconds.  Returns False, and changes nothing, where the four can't be true
        together: the other end answered before it was asked, or took longer than the round trip.
        """
        sample = _Sample(asked_ns=t1, at_ns=t4, low_ns=t3 - t4, high_ns=t2 - t1)
        if t3 < t2 or t4 < t1 or sample.rtt_ns < 0:
            return False
        if self._samples and t4 < self._samples[-1].at_ns:
            return False
        self._samples.append(sample)
        while t4 - self._samples[0].at_ns > SAMPLE_LIFE_NS:
            self._samples.popleft()
        self.estimate = self._agreed(t4)
        return True

    def _agreed(self, now_ns: int) -> ClockEstimate:
        """What as many of the newest pings as possible agree on.

        Pings that contradict newer ones are left out: a clock jumped (a machine slept), so they and
        everything older tell of another offset.
        """
        samples = list(self._samples)
        limits = _Limits(samples, now_ns)
        first, last = 0, len(samples) - 1  # pings from `last` on agree; is it so from `first` on?
        lines = limits.lines(last)
        while first < last:
            middle = (first + last) // 2
            if (agreed := limits.lines(middle)) is not None:
                lines, last = agreed, middle
            else:
                first = middle + 1
        if lines is None:  # the newest ping alone
            lines = _Lines(0.0, float(samples[-1].rtt_ns), -DRIFT_PPM / 1e6, DRIFT_PPM / 1e6)
        low_ns = limits.origin_ns + math.floor(lines.low)
        high_ns = limits.origin_ns + math.ceil(lines.high)
        offset_ns = (low_ns + high_ns) // 2
        return ClockEstimate(
            offset_ns=offset_ns,
            bound_ns=high_ns - offset_ns,
            rtt_ns=min(sample.rtt_ns for sample in samples[last:]),
            drift_ppm=(lines.least + lines.most) / 2 * 1e6,
            drift_bound_ppm=(lines.most - lines.least) / 2 * 1e6 + WANDER_PPM,
            at_ns=now_ns,
        )


@dataclass(frozen=True, slots=True)
class _Lines:
    """All lines within the limits: their offsets now (ns) and their drifts lie between these."""

    low: float
    high: float
    least: float
    most: float


class _Limits:
    """The limits that pings set to the offset now, as functions of the drift.

    With a drift of d, a limit seen `age` ago has moved by d * age since, give or take the wander.
    Offsets are relative to `origin_ns`, so that floats hold them to a fraction of a nanosecond.
    """

    def __init__(self, samples: list[_Sample], now_ns: int) -> None:
        self.origin_ns = samples[-1].low_ns
        self._low_age = np.array([float(now_ns - s.at_ns) for s in samples])
        self._high_age = np.array([float(now_ns - s.asked_ns) for s in samples])
        low = np.array([float(s.low_ns - self.origin_ns) for s in samples])
        high = np.array([float(s.high_ns - self.origin_ns) for s in samples])
        self._low: _Floats = low - self._low_age * WANDER_PPM / 1e6
        self._high: _Floats = high + self._high_age * WANDER_PPM / 1e6

    def lines(self, first: int) -> _Lines | None:
        """All lines within the limits from ping `first` on; None where there is none."""
        low, high = self._low[first:], self._high[first:]
        low_age, high_age = self._low_age[first:], self._high_age[first:]
        room = high[None, :] - low[:, None]  # drift * apart may be at most this, for each pair
        apart = low_age[:, None] - high_age[None, :]
        if np.any(room[apart == 0] < 0):
            return None
        least, most = -DRIFT_PPM / 1e6, DRIFT_PPM / 1e6
        later, earlier = apart < 0, apart > 0
        if later.any():
            least = max(least, float(np.max(room[later] / apart[later])))
        if earlier.any():
            most = min(most, float(np.min(room[earlier] / apart[earlier])))
        if least > most:
            return None
        # Ages are positive: the least offset comes with the least drift, and so on.
        offset_low = float(np.max(low + least * low_age))
        offset_high = float(np.min(high + most * high_age))
        return _Lines(offset_low, offset_high, least, most)
