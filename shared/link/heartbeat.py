"""Pings: they tell that the other end is there, and how far its clock is from ours.

A thin shell around `Liveness` and `ClockEstimator`.  It decides nothing about the link: `run`
returns when the other end has fallen silent, and the link draws the conclusion.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from shared.clock import ClockEstimator
from shared.link.liveness import Liveness
from shared.link.messages import Ping, Pong, pack_ping, pack_pong

__all__ = ["LIVENESS_TICK_S", "PEER_SILENCE_S", "PING_INTERVAL_S", "Heartbeat"]

PING_INTERVAL_S = 1.0
PEER_SILENCE_S = 4.0  # three pings lost in a row, and with the tick still under 5 s
LIVENESS_TICK_S = 0.25

BURST_PINGS = 12  # at connect, while the path is still empty of frames
BURST_SPACING_S = 0.02  # far enough apart not to queue behind each other
MAX_PINGS_ASKED = 64  # unanswered ones remembered; a minute's worth


class Heartbeat:
    """Sends pings with `send`, answers the other end's, and listens for `silence_s` of silence."""

    def __init__(
        self, *, send: Callable[[bytes], None], now_ns: Callable[[], int], silence_s: float
    ) -> None:
        self.clock = ClockEstimator()
        self.silence_s = silence_s
        self._send = send
        self._now_ns = now_ns
        self._tick_s = min(LIVENESS_TICK_S, silence_s / 4)
        self._interval_s = min(PING_INTERVAL_S, silence_s / 4)
        self._asked: deque[int] = deque(maxlen=MAX_PINGS_ASKED)
        self._liveness: Liveness | None = None

    def heard(self, now_ns: int) -> None:
        """Anything at all arrived from the other end."""
        if self._liveness is not None:
            self._liveness.heard(now_ns)

    def on_ping(self, ping: Ping, now_ns: int) -> None:
        """Answer at once, with both moments, so that the time spent here does not count."""
        self._send(pack_pong(ping.t1, now_ns, self._now_ns()))

    def on_pong(self, pong: Pong, now_ns: int) -> bool:
        """Take an answer; False where it answers no ping of ours or can't be true."""
        if pong.t1 not in self._asked:
            return False
        self._asked.remove(pong.t1)
        return self.clock.add(pong.t1, pong.t2, pong.t3, now_ns)

    async def run(self) -> None:
        """Ping, first in a burst and then regularly; return when the other end is silent."""
        self._liveness = liveness = Liveness(
            silence_ns=round(self.silence_s * 1e9),
            interval_ns=round(self._tick_s * 1e9),
            now_ns=self._now_ns(),
        )
        for _ in range(BURST_PINGS):
            self._ping()
            await asyncio.sleep(BURST_SPACING_S)
        since_ping_s = 0.0
        while not liveness.gone(self._now_ns()):
            await asyncio.sleep(self._tick_s)
            since_ping_s += self._tick_s
            if since_ping_s >= self._interval_s:
                self._ping()
                since_ping_s = 0.0

    def _ping(self) -> None:
        t1 = self._now_ns()
        self._asked.append(t1)
        self._send(pack_ping(t1))
