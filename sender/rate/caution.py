"""When something may be raised again after it fell: later each time that a raise was wrong.

Pure: times in, a decision out.
"""

from __future__ import annotations

__all__ = ["HOLD_NS", "Caution"]

RISE_EVERY_NS = 500_000_000
HOLD_NS = 2_000_000_000  # how long after a fall the first rise comes
LONGEST_HOLD_NS = 30_000_000_000
RELAPSE_NS = 6_000_000_000  # a fall this soon after a rise means that the rise was wrong


class Caution:
    """The rises and falls of one thing, such as the budget or the quality of a JPEG."""

    def __init__(self) -> None:
        self._may_rise_ns: int | None = None
        self._hold_ns = HOLD_NS
        self._rose_ns: int | None = None

    def may_rise(self, now_ns: int) -> bool:
        """Whether to raise now; asked while all is well."""
        if self._rose_ns is not None and now_ns - self._rose_ns > RELAPSE_NS:
            self._hold_ns = HOLD_NS  # the last raise has proved right
        return self._may_rise_ns is None or now_ns >= self._may_rise_ns

    def rose(self, now_ns: int) -> None:
        """It was raised."""
        self._may_rise_ns = now_ns + RISE_EVERY_NS
        self._rose_ns = now_ns

    def fell(self, now_ns: int) -> None:
        """It had to be lowered."""
        if self._rose_ns is not None and now_ns - self._rose_ns <= RELAPSE_NS:
            self._hold_ns = min(2 * self._hold_ns, LONGEST_HOLD_NS)
            self._rose_ns = None  # one relapse a raise, however many steps it falls in
        self._may_rise_ns = now_ns + self._hold_ns
