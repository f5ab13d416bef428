"""How much the path loses, and how bunched.

Pure.  It says nothing of what to do about it (`shared.link.redundancy`).
"""

from __future__ import annotations

__all__ = ["LossMeter"]

MEMORY_PACKETS = 1_000  # over which loss is averaged: ten losses at 1 %
RUN_MEMORY = 16  # runs over which their mean length is averaged
MAX_RUN = 64.0


class LossMeter:
    """Fed with each packet's fate in the order of sending."""

    def __init__(self) -> None:
        self._share = 0.0
        self._seen = 0
        self._lost = 1.0  # in recent runs, the older the less; one of one to begin with
        self._runs = 1.0
        self._last_lost = -2

    @property
    def share(self) -> float:
        """Of the packets sent lately, how many were lost: 0 to 1."""
        return self._share

    @property
    def run(self) -> float:
        """Packets lost in a row, on average: 1 or more."""
        return min(MAX_RUN, self._lost / self._runs)

    def on_fates(self, arrived: int, lost: list[int]) -> None:
        """So many arrived; those sequence numbers (ascending) did not."""
        total = arrived + len(lost)
        if not total:
            return
        self._seen = min(MEMORY_PACKETS, self._seen + total)
        weight = min(1.0, total / max(self._seen, 100))
        self._share += (len(lost) / total - self._share) * weight
        for sequence in lost:
            if sequence != self._last_lost + 1:
                kept = 1.0 - 1.0 / RUN_MEMORY
                self._lost, self._runs = self._lost * kept, self._runs * kept + 1.0
            self._lost += 1.0
            self._last_lost = sequence

    def on_late(self, arrived: int) -> None:
        """So many that were called lost have come after all."""
        self._share = max(0.0, self._share - arrived / max(self._seen, 100))
