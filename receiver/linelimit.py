"""How many lines the other end may put on this end's terminal or into its log.

Pure: times in, verdicts out.
"""

from __future__ import annotations

__all__ = ["LineLimit"]

BURST = 10
EVERY_NS = 2_000_000_000


class LineLimit:
    """`burst` lines at once, and one every `every_ns` in the long run."""

    def __init__(self, burst: int = BURST, every_ns: int = EVERY_NS) -> None:
        self._burst, self._every_ns = burst, every_ns
        self._free_at_ns: int | None = None  # when all of the burst may be used again

    def allowed(self, now_ns: int) -> bool:
        """Whether there is room for a line at `now_ns`, which it then takes."""
        free_at_ns = now_ns if self._free_at_ns is None else max(self._free_at_ns, now_ns)
        if free_at_ns - now_ns > (self._burst - 1) * self._every_ns:
            return False
        self._free_at_ns = free_at_ns + self._every_ns
        return True
