"""How much the path loses, and how bunched.

Pure.  It says nothing of what to do about it (`shared.link.redundancy`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from shared.link.flight import MAX_REMEMBERED_LOST

__all__ = ["LossMeter"]

MEMORY_PACKETS = 1_000  # over which loss is averaged: ten losses at 1 %
RUN_MEMORY = 16  # runs over which their mean length is averaged
KEPT = 1.0 - 1.0 / RUN_MEMORY  # of the older runs, at each new one
MAX_RUN = 64.0


@dataclass(slots=True)
class _Run:
    """Packets lost in a row: the how manieth such, and how many of it are lost still."""

    number: int
    lost: int = 0


class LossMeter:
    """Fed with each packet's fate in the order of sending."""

    def __init__(self) -> None:
        self._share = 0.0
        self._seen = 0
        self._lost = 1.0  # in recent runs, the older the less; one of one to begin with
        self._runs = 1.0
        self._run = _Run(0)  # the newest
        self._last_lost = -2
        self._counted: dict[int, _Run] = {}  # losses that may yet turn out to be late

    @property
    def share(self) -> float:
        """Of the packets sent lately, how many were lost: 0 to 1."""
        return self._share

    @property
    def run(self) -> float:
        """Packets lost in a row, on average: 1 or more."""
        return max(1.0, min(MAX_RUN, self._lost / self._runs))

    def on_fates(self, arrived: int, lost: list[int]) -> None:
        """So many arrived; those sequence numbers (ascending) did not."""
        total = arrived + len(lost)
        if not total:
            return
        self._seen = min(MEMORY_PACKETS, self._seen + total)
        weight = min(1.0, total / max(self._seen, 100))
        self._share += (len(lost) / total - self._share) * weight
        for sequence in lost:
            if sequence != self._last_lost + 1 or not self._run.lost:
                self._lost, self._runs = self._lost * KEPT, self._runs * KEPT + 1.0
                self._run = _Run(self._run.number + 1)
            self._lost += 1.0
            self._run.lost += 1
            self._last_lost = sequence
            self._counted[sequence] = self._run
        while len(self._counted) > MAX_REMEMBERED_LOST:
            del self._counted[next(iter(self._counted))]

    def on_late(self, sequences: Iterable[int]) -> int:
        """Those have come after all; returns how many of them had been counted as lost."""
        undone = 0
        for sequence in sequences:
            run = self._counted.pop(sequence, None)
            if run is None:
                continue
            undone += 1
            weight = KEPT ** (self._run.number - run.number)
            run.lost -= 1
            self._lost -= weight
            if not run.lost:
                self._runs -= weight
        self._share = max(0.0, self._share - undone / max(self._seen, 100))
        return undone
