"""How much the path loses, how bunched, and how much parity that asks for.

Pure.  Losses are taken to come in runs: runs arrive at random (Poisson) and their lengths are
geometric, which is the Gilbert channel seen over one frame (Gilbert 1960; Elliott 1963).  How many
of a block's packets are lost then follows by Panjer's recursion (1981).
"""

from __future__ import annotations

import math
from functools import lru_cache

__all__ = ["LossMeter", "parity_count"]

MEMORY_PACKETS = 1_000  # over which loss is averaged: ten losses at 1 %
RUN_MEMORY = 16  # runs over which their mean length is averaged
MAX_RUN = 64.0

# Round trips up to here leave repair to re-requests: such a repair costs a viewer nothing visible.
SHORT_RTT_NS = 25_000_000
WITHOUT_REPAIR = 0.02  # blocks that may need a re-request, where one takes longer than that
MAX_PARITY_SHARE = 0.34  # of the source symbols; beyond, a re-request is the better use of bytes


class LossMeter:
    """Fed with each packet's fate in the order of sending."""

    def __init__(self) -> None:
        self._share = 0.0
        self._seen = 0
        self._run = 1.0
        self._last_lost = -2

    @property
    def share(self) -> float:
        """Of the packets sent lately, how many were lost: 0 to 1."""
        return self._share

    @property
    def run(self) -> float:
        """Packets lost in a row, on average: 1 or more."""
        return self._run

    def on_fates(self, arrived: int, lost: list[int]) -> None:
        """So many arrived; those sequence numbers (ascending) did not."""
        total = arrived + len(lost)
        if not total:
            return
        self._seen = min(MEMORY_PACKETS, self._seen + total)
        weight = min(1.0, total / max(self._seen, 100))
        self._share += (len(lost) / total - self._share) * weight
        for sequence in lost:
            if sequence == self._last_lost + 1:
                self._run = min(MAX_RUN, self._run + 1 / RUN_MEMORY)
            else:
                self._run += (1.0 - self._run) / RUN_MEMORY
            self._last_lost = sequence

    def on_late(self, arrived: int) -> None:
        """So many that were called lost have come after all."""
        self._share = max(0.0, self._share - arrived / max(self._seen, 100))


def parity_count(k: int, share: float, run: float, rtt_ns: int) -> int:
    """Parity symbols to send with a block of `k`, for losses and a round trip like these."""
    if rtt_ns <= SHORT_RTT_NS or share <= 0.0:
        return 0
    return _parity_count(k, round(min(share, 0.5) * 400) / 400, round(run * 4) / 4)


@lru_cache(maxsize=4096)
def _parity_count(k: int, share: float, run: float) -> int:
    most = max(1, math.floor(k * MAX_PARITY_SHARE))
    runs = k * share / run  # expected in one block
    again = 1.0 - 1.0 / run  # that a run goes on after each packet
    chances = [math.exp(-runs)]  # of losing exactly 0, 1, 2 … packets
    while 1.0 - math.fsum(chances) > WITHOUT_REPAIR and len(chances) <= most:
        n = len(chances)
        chances.append(
            runs
            / n
            * math.fsum(
                j * (1 - again) * again ** (j - 1) * chances[n - j] for j in range(1, n + 1)
            )
        )
    return len(chances) - 1
