"""When each picture of a file is due: at its own time, or evenly.

Pure: times in, moments out.  Whoever falls behind by more than one frame interval gets the rest
that much later, never in a burst.
"""

from __future__ import annotations

__all__ = ["Moments"]

LONGEST_NS = 60_000_000_000  # between two pictures; beyond, a time of the file is taken for broken
SHORTEST_NS = 1_000_000  # no display is faster; pictures of one time would be a burst


class Moments:
    """The moments of one playback, at `interval_ns` where pictures carry no times of their own."""

    def __init__(self, interval_ns: int) -> None:
        self._interval_ns = interval_ns
        self._due_ns: int | None = None  # of the picture before
        self._at_s: float | None = None  # its own time
        self._passed = 0  # places without a picture since

    def due_ns(self, at_s: float | None, now_ns: int, *, begins: bool) -> int:
        """When the next picture is due, whose own time is `at_s`; not before this, and never late.

        `begins`: it is the first of a pass, which follows the one before evenly.
        """
        if self._due_ns is None:
            due_ns = now_ns
        else:
            due_ns = self._due_ns + self._gap_ns(None if begins else at_s)
            if now_ns - due_ns > self._interval_ns:
                due_ns = now_ns
        self._due_ns, self._at_s, self._passed = due_ns, at_s, 0
        return max(due_ns, now_ns)

    def held_until(self, at_ns: int) -> None:
        """The picture that was due came only now: it is shown for as long as it would have been."""
        self._due_ns = at_ns

    def passed_over(self) -> None:
        """A picture can't be shown: its place stays empty."""
        self._passed += 1

    def _gap_ns(self, at_s: float | None) -> int:
        if at_s is not None and self._at_s is not None:
            gap_ns = round((at_s - self._at_s) * 1e9)
            if 0 <= gap_ns <= LONGEST_NS:
                return max(gap_ns, SHORTEST_NS)
        return self._interval_ns * (1 + self._passed)
