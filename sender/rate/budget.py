"""How many bits a second the stream may use, from what the paths to its receivers carry.

All receivers of a session get one and the same sealed stream, so one number must serve them all:
the slowest path that can carry a useful picture decides, and the others follow; a path below that
only loses frames.  The number falls at once with the path and rises slowly, after the path has
carried more for a while; each rise that had to be taken back makes the next one wait longer.  So a
path that wavers gives a steady picture at what it can always carry.

Pure: estimates and times in, a rate out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from sender.rate.caution import Caution

__all__ = ["HEADROOM", "Path", "PathBudget", "shared_rate"]

HEADROOM = 0.85  # of the path: sizes of single frames scatter, and audio or pings want their share
SMOOTH_DOWN_NS = 200_000_000  # time constants of the estimate's smoothing
SMOOTH_UP_NS = 1_000_000_000
COLLAPSE = 0.7  # an estimate below this share of the smoothed one is believed at once
TOLERANCE = 0.95  # a budget that falls by less is no reason to change anything
RISE_FROM = 1.10  # a budget must exceed what is used by this much before more is used
RISE_BY = 1.30  # at most, with each rise
STEADY_NS = 1_500_000_000  # the least of so long is what more is used of


class Path(Protocol):
    """What is known of the path to one receiver (`shared.link.PathEstimate`)."""

    @property
    def rate_bps(self) -> int: ...
    @property
    def rtt_ns(self) -> int: ...
    @property
    def queue_ns(self) -> int: ...
    @property
    def limited(self) -> bool: ...


def shared_rate(paths: Sequence[Path], useful_bps: float) -> int | None:
    """The rate that decides among `paths`, in bits a second; None where none is measured.

    The lowest one of at least `useful_bps`; where all are below, the highest.
    """
    rates = [path.rate_bps for path in paths]
    if not rates:
        return None
    useful = [rate for rate in rates if rate >= useful_bps]
    return min(useful) if useful else max(rates)


class PathBudget:
    """Follows the deciding rate with hysteresis; see the top of this file."""

    def __init__(self) -> None:
        self._smoothed: float | None = None
        self._allowed = 0.0
        self._seen_ns = 0
        self._caution = Caution()
        self._starting = True
        self._lately: deque[tuple[int, float]] = deque()

    @property
    def path_bps(self) -> float | None:
        """The deciding rate, smoothed: what a reason names."""
        return self._smoothed

    @property
    def allowed_bps(self) -> float:
        """What may be used; 0 before the first `update`."""
        return self._allowed

    @property
    def starting(self) -> bool:
        """Whether the path has only been found to carry more, and never less, so far."""
        return self._starting

    def update(self, now_ns: int, rate_bps: int) -> float:
        """What may be used from now on, in bits a second, while the path carries `rate_bps`."""
        before = self._smoothed
        if before is None:
            self._smoothed = float(rate_bps)
            self._allowed = HEADROOM * rate_bps
        else:
            rising = rate_bps > before
            elapsed_ns = max(0, now_ns - self._seen_ns)
            share = elapsed_ns / (elapsed_ns + (SMOOTH_UP_NS if rising else SMOOTH_DOWN_NS))
            collapsed = rate_bps < COLLAPSE * before
            self._smoothed = rate_bps if collapsed else before + share * (rate_bps - before)
            self._follow(now_ns, HEADROOM * self._smoothed)
        self._seen_ns = now_ns
        return self._allowed

    def _follow(self, now_ns: int, budget: float) -> None:
        self._lately.append((now_ns, budget))
        while now_ns - self._lately[0][0] > STEADY_NS:
            self._lately.popleft()
        if budget < TOLERANCE * self._allowed:
            self._caution.fell(now_ns)
            self._allowed = budget
            self._starting = False
        elif self._starting:
            self._allowed = max(budget, self._allowed)  # the path is still being found out
        elif self._caution.may_rise(now_ns):
            steady = min(low for _, low in self._lately)
            if steady > RISE_FROM * self._allowed:
                self._caution.rose(now_ns)
                self._allowed = min(steady, RISE_BY * self._allowed)
