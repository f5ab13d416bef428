"""How far the other end's monotonic clock is from ours, with an error bound that always holds.

Pure: four timestamps of each ping come in, an estimate comes out.  The estimate is an interval that
must contain the true offset whatever way the delay is split between the two directions (NTP,
RFC 5905 section 8; intersecting the intervals is Marzullo's algorithm).  It refuses to smooth or to
average: an average of asymmetric samples has no honest bound.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

__all__ = ["ClockEstimate", "ClockEstimator"]

DRIFT_PPM = 100  # two free-running quartz clocks at the 50 ppm of a poor part each, running apart
SAMPLE_LIFE_NS = 60_000_000_000  # 60 s: by then drift may have moved the offset by 6 ms
_UNBOUNDED_NS = 2**80  # more than the difference of any two 64-bit clocks
MAX_SAMPLES = 96  # 60 s of one ping a second, and the burst at connect


@dataclass(frozen=True, slots=True)
class ClockEstimate:
    """The other end's clock minus ours is `offset_ns`, wrong by at most `bound_ns`.

    `rtt_ns` is the shortest round trip among the samples used, in nanoseconds.
    """

    offset_ns: int
    bound_ns: int
    rtt_ns: int


@dataclass(frozen=True, slots=True)
class _Sample:
    asked_ns: int  # ours, when the ping left
    at_ns: int  # ours, when the answer came in
    low_ns: int  # the offset is at least this: the answer took no negative time
    high_ns: int  # and at most this: nor did the ping

    @property
    def rtt_ns(self) -> int:
        return self.high_ns - self.low_ns


class ClockEstimator:
    """Keeps the pings of the last minute and the offset on which they agree."""

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque(maxlen=MAX_SAMPLES)
        self._estimate: ClockEstimate | None = None

    @property
    def estimate(self) -> ClockEstimate | None:
        """As of the newest ping, or None before the first."""
        return self._estimate

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
        self._estimate = self._agreed(t4)
        return True

    def _agreed(self, now_ns: int) -> ClockEstimate:
        """Intersect from the newest sample backwards, each widened by the drift since.

        A sample that contradicts the newer ones ends the walk: a clock jumped (a machine slept), so
        it and everything older tells of another offset.
        """
        low, high, rtt = -_UNBOUNDED_NS, _UNBOUNDED_NS, _UNBOUNDED_NS
        for sample in reversed(self._samples):
            drift = -((sample.asked_ns - now_ns) * DRIFT_PPM // 1_000_000)  # rounded up
            lower = max(low, sample.low_ns - drift)
            upper = min(high, sample.high_ns + drift)
            if lower > upper:
                break
            low, high, rtt = lower, upper, min(rtt, sample.rtt_ns)
        offset = (low + high) // 2
        return ClockEstimate(offset_ns=offset, bound_ns=high - offset, rtt_ns=rtt)
