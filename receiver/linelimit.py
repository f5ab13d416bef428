"""How many lines the other end may put on this end's terminal.  Pure: times in, verdicts out."""

from __future__ import annotations

__all__ = ["LineLimit"]

BURST = 10
EVERY_NS = 2_000_000_000


class LineLimit:
    """`BURST` lines at once, and one every `EVERY_NS` in the long run."""

    def __init__(self) -> None:
        self._free_at_ns: int | None = None  # when all of the burst may be used again

    def allowed(self, now_ns: int) -> bool:
        """Whether there is room for a line at `now_ns`, which it then takes."""
        free_at_ns = now_ns if self._free_at_ns is None else max(self._free_at_ns, now_ns)
        if free_at_ns - now_ns > (BURST - 1) * EVERY_NS:
            return False
        self._free_at_ns = free_at_ns + EVERY_NS
        return True
