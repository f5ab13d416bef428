"""Whether the times that the other end gives can be those of a clock.

Pure.  Its clock may be anywhere, but it goes as fast as ours.  How far it is from ours, and how
surely, `shared.clock` finds out; this only tells what can't be true.
"""

from __future__ import annotations

from shared.errors import MalformedFrame

__all__ = ["ClockCheck"]

# By how much a report may be late on its way, or its clock have stood still (a machine that slept),
# against the first one; and how far two clocks may part with time (100 ppm each are bad ones).
SLACK_NS = 5_000_000_000
DRIFT = 1e-3


class ClockCheck:
    """Holds every time against the first one."""

    def __init__(self) -> None:
        self._first: tuple[int, int] | None = None  # our time, theirs less ours

    def check(self, theirs_ns: int, now_ns: int) -> None:
        """Raises `MalformedFrame` for a time that jumps."""
        offset_ns = theirs_ns - now_ns
        if self._first is None:
            self._first = (now_ns, offset_ns)
        since_ns, first_ns = self._first
        if abs(offset_ns - first_ns) > SLACK_NS + DRIFT * (now_ns - since_ns):
            raise MalformedFrame("a report's time jumps")
