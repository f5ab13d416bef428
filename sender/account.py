"""What one receiver was sent and what not, by reason: the totals that it is told.

Pure: counts in, a message out when it is news.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from shared import control
from shared.telemetry.records import DropReason

__all__ = ["Account"]


class Account:
    """Of one receiver; `drops_before` is what the session had dropped before it joined."""

    def __init__(self, drops_before: Mapping[str, int]) -> None:
        self._drops_before = Counter(drops_before)
        self._sent = 0
        self._skipped: Counter[str] = Counter()
        self._told: control.Tally | None = None

    def sent(self) -> None:
        """Its path has taken a frame."""
        self._sent += 1

    def skipped(self, reason: DropReason) -> None:
        """Others were sent a frame that it could not take."""
        self._skipped[reason.value] += 1

    def news(self, drops: Mapping[str, int]) -> control.Tally | None:
        """The totals if they differ from what was told last; `drops` are the session's so far."""
        dropped = Counter(drops) - self._drops_before + self._skipped
        tally = control.Tally(sent=self._sent, dropped=dict(+dropped))
        if tally == self._told:
            return None
        self._told = tally
        return tally
