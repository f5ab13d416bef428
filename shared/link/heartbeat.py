"""Pings: they tell that the other end is there, and how far its clock is from ours.

A thin shell around `Liveness` and `ClockEstimator`.  It decides nothing about the link: `run`
returns when the other end has fallen silent, and the link draws the conclusion.  A ping that waits
behind a picture measures the picture: after the first burst a ping leaves in a quiet gap or right
ahead of a frame (`ping_if_due`), and only where there is neither it goes as it can.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from shared.clock import ClockEstimator
from shared.errors import MalformedFrame
from shared.link.liveness import Liveness
from shared.link.messages import Ping, Pong, pack_ping, pack_pong, parse_small

__all__ = ["LIVENESS_TICK_S", "PEER_SILENCE_S", "PING_INTERVAL_S", "Heartbeat"]

PING_INTERVAL_S = 1.0
PEER_SILENCE_S = 4.0  # three pings lost in a row, and with the tick still under 5 s
LIVENESS_TICK_S = 0.25

BURST_PINGS = 12  # at connect, while the path is still empty of frames
BURST_SPACING_S = 0.02  # far enough apart not to queue behind each other
MAX_PINGS_ASKED = 64  # unanswered ones remembered; a minute's worth

# Pings answered, a second: the burst is 50 a second long for a quarter of one.  More is a flood.
MAX_ANSWERS = 64
ANSWERS_EVERY_NS = 1_000_000_000


class Heartbeat:
    """Sends pings with `send`, answers the other end's, and listens for `silence_s` of silence.

    `quiet` tells whether a message sent now would wait behind nothing.
    """

    def __init__(
        self,
        *,
        send: Callable[[bytes], None],
        quiet: Callable[[], bool],
        now_ns: Callable[[], int],
        silence_s: float,
    ) -> None:
        self.clock = ClockEstimator()
        self.silence_s = silence_s
        self._send = send
        self._quiet = quiet
        self._now_ns = now_ns
        self._tick_s = min(LIVENESS_TICK_S, silence_s / 4)
        self._interval_s = min(PING_INTERVAL_S, silence_s / 4)
        self._asked: deque[int] = deque(maxlen=MAX_PINGS_ASKED)
        self._answered: deque[int] = deque(maxlen=MAX_ANSWERS)
        self._liveness: Liveness | None = None
        self._due = False
        self._pinged_ns = 0

    def heard(self, now_ns: int) -> None:
        """Anything at all arrived from the other end."""
        if self._liveness is not None:
            self._liveness.heard(now_ns)

    def take(self, message: bytes, now_ns: int) -> int | None:
        """Answer a ping, or take an answer and return its round trip in ns.

        Raises `MalformedFrame`, also for what answers no ping of ours or can't be true.
        """
        small = parse_small(message)
        if isinstance(small, Pong):
            return self._measure(small, now_ns)
        self._answer(small, now_ns)
        return None

    def ping_if_due(self) -> None:
        """A frame is about to leave: a ping that is due goes ahead of it."""
        if self._due:
            self._ping()

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
        while not liveness.gone(self._now_ns()):
            await asyncio.sleep(self._tick_s)
            if self._due:  # for a whole tick there was neither a gap nor a frame
                self._ping()
            elif self._now_ns() - self._pinged_ns >= self._interval_s * 1e9:
                self._due = True
                if self._quiet():
                    self._ping()

    def _answer(self, ping: Ping, now_ns: int) -> None:
        """Answer at once, with both moments, so that the time spent here does not count."""
        if len(self._answered) == MAX_ANSWERS and now_ns - self._answered[0] < ANSWERS_EVERY_NS:
            return
        self._answered.append(now_ns)
        self._send(pack_pong(ping.t1, now_ns, self._now_ns()))

    def _measure(self, pong: Pong, now_ns: int) -> int:
        if pong.t1 not in self._asked:
            raise MalformedFrame("an answer to a ping that was not asked")
        self._asked.remove(pong.t1)
        if not self.clock.add(pong.t1, pong.t2, pong.t3, now_ns):
            raise MalformedFrame("an answer to a ping that can't be true")
        return (now_ns - pong.t1) - (pong.t3 - pong.t2)

    def _ping(self) -> None:
        self._due = False
        t1 = self._pinged_ns = self._now_ns()
        self._asked.append(t1)
        self._send(pack_ping(t1))
