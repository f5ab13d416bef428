"""An alarm of the event loop, in the link's own time.

A thin shell: it calls, and decides nothing.  It repeats nothing by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["LoopTimer"]

STALL_NS = 3_000_000  # 3 ms late: the event loop was held up, and datagrams wait to be read
LISTEN_NS = 2_000_000  # 2 ms: time to read fifty of them


class LoopTimer:
    """Calls `action` at the time set last, or before; time is the link's.

    `listen_first`: where the event loop comes late, what has arrived meanwhile is looked at before;
    a report would else say that it is missing.
    """

    def __init__(
        self,
        action: Callable[[], None],
        now_ns: Callable[[], int],
        *,
        listen_first: bool = False,
    ) -> None:
        self._action = action
        self._now_ns = now_ns
        self._listen_first = listen_first
        self._at_ns = 0
        self._handle: asyncio.TimerHandle | None = None

    def set(self, at_ns: int | None) -> None:
        """Set it, unless it is set for an earlier time: calling early is harmless."""
        if at_ns is None or (self._handle is not None and self._at_ns <= at_ns):
            return
        self.cancel()
        self._at_ns = at_ns
        self._call_in(max(0, at_ns - self._now_ns()), self._fire)

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _call_in(self, wait_ns: int, callback: Callable[[], None]) -> None:
        self._handle = asyncio.get_running_loop().call_later(wait_ns / 1e9, callback)

    def _fire(self) -> None:
        if self._listen_first and self._now_ns() - self._at_ns > STALL_NS:
            self._call_in(LISTEN_NS, self._act)
        else:
            self._act()

    def _act(self) -> None:
        self._handle = None
        self._action()
