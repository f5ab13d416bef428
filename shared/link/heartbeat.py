"""Pings: they tell that the other end is there, and how far its clock is from ours.

Pure.  Three states, by what was heard: `HEARD`, `SILENT` (nothing for `silence_ns`: the link is
interrupted, and comes back by itself) and `LOST` (nothing for `lost_after_ns`).  Silence is counted
only while we were able to listen: a process whose event loop was held up (a large import, a
suspended laptop) heard nothing because it did not listen, which says nothing of the other end.

A ping that waits behind a picture measures the picture: after the first burst a ping leaves in a
quiet gap or right ahead of a frame (`ping_if_due`), and only where there is neither it goes as it
can.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import NamedTuple

from shared.clock import ClockEstimator
from shared.errors import MalformedFrame
from shared.link.messages import Ping, Pong, pack_ping, pack_pong, parse_small

__all__ = ["LOST_AFTER_S", "PEER_SILENCE_S", "ClockCheck", "Heartbeat", "Presence"]

PEER_SILENCE_S = 4.0  # three pings lost in a row, and with the tick still under 5 s
LOST_AFTER_S = 120.0  # two minutes: a lift, a Wi-Fi that restarts, a laptop's lid that was closed

PING_INTERVAL_NS = 1_000_000_000
TICK_NS = (
    250_000_000  # also between two pings while nothing is heard, so a path is found again soon
)
BURST_PINGS = 12  # at connect, while the path is still empty of frames
BURST_SPACING_NS = 20_000_000  # far enough apart not to queue behind each other
MAX_PINGS_ASKED = 64  # unanswered ones remembered; a minute's worth

# Pings answered, a second: the burst is 50 a second long for a quarter of one.  More is a flood.
MAX_ANSWERS = 64
ANSWERS_EVERY_NS = 1_000_000_000

BLOCKED_AFTER_NS = 1_000_000_000  # 1 s past its due time, a check was held up by ourselves;
# with a silence shorter than 4 s, a quarter of it

# By how much a report may be late on its way, or its clock have stood still (a machine that slept),
# against the first one; and how far two clocks may part with time (100 ppm each are bad ones).
SLACK_NS = 5_000_000_000
DRIFT = 1e-3
BELIEVED_AFTER = 3  # reports in a row that jump alike: a machine slept, and nobody lies


class Presence(enum.Enum):
    """What is known of whether the other end is there."""

    HEARD = enum.auto()
    SILENT = enum.auto()
    LOST = enum.auto()


class Heartbeat:
    """Give it what was heard; take pings (`poll`) when `tick_at_ns` says."""

    def __init__(self, *, silence_ns: int, lost_after_ns: int) -> None:
        self.clock = ClockEstimator()
        self.presence = Presence.HEARD
        self._silence_ns = min(silence_ns, lost_after_ns)
        self._lost_after_ns = lost_after_ns
        self._tick_ns = min(TICK_NS, self._silence_ns // 4)
        self._interval_ns = min(PING_INTERVAL_NS, self._silence_ns // 4)
        self._blocked_after_ns = min(BLOCKED_AFTER_NS, self._silence_ns // 4)
        self._asked: deque[int] = deque(maxlen=MAX_PINGS_ASKED)
        self._answered: deque[int] = deque(maxlen=MAX_ANSWERS)
        self._burst_left = BURST_PINGS
        self.heard_ns = 0  # when anything at all arrived last
        self._pinged_ns = 0
        self.tick_at_ns: int | None = None  # when to call `poll` again; None before the start
        self.due = False  # whether a ping waits for a gap or a frame

    def start(self, now_ns: int) -> None:
        """The link is open: pings leave from now on, and silence counts."""
        self.heard_ns = self.tick_at_ns = now_ns

    def heard_again(self) -> None:
        """Something arrived that ends a silence."""
        self.presence = Presence.HEARD

    def take(self, message: bytes, now_ns: int) -> bytes | int | None:
        """Take a ping and return the answer to send, or an answer and return its round trip in ns.

        None for a ping too many.  Raises `MalformedFrame`, also for what answers no ping of ours or
        can't be true.
        """
        small = parse_small(message)
        if isinstance(small, Pong):
            return self._measure(small, now_ns)
        return self._answer(small, now_ns)

    def ping_if_due(self, now_ns: int) -> list[bytes]:
        """A frame is about to leave: a ping that is due goes ahead of it."""
        return [self._ping(now_ns)] if self.due else []

    def poll(self, now_ns: int, *, quiet: bool) -> list[bytes]:
        """The ping that is to leave now, if one is; `presence` may have changed.

        `quiet`: whether a message sent now would wait behind nothing.
        """
        if self.tick_at_ns is None or now_ns < self.tick_at_ns:
            return []
        late_ns = now_ns - self.tick_at_ns
        if self._burst_left:
            self._burst_left -= 1
            self.tick_at_ns = now_ns + BURST_SPACING_NS
            return [self._ping(now_ns)]
        self.tick_at_ns = now_ns + self._tick_ns
        if late_ns > self._blocked_after_ns:
            self.heard_ns = min(now_ns, self.heard_ns + late_ns)
        silent_ns = now_ns - self.heard_ns
        if silent_ns >= self._lost_after_ns:
            self.presence = Presence.LOST
            return []
        if silent_ns >= self._silence_ns:
            self.presence = Presence.SILENT
            self.due = True
        if self.due:  # for a whole tick there was neither a gap nor a frame
            return [self._ping(now_ns)]
        if now_ns - self._pinged_ns >= self._interval_ns:
            self.due = True
            if quiet:
                return [self._ping(now_ns)]
        return []

    def _answer(self, ping: Ping, now_ns: int) -> bytes | None:
        if len(self._answered) == MAX_ANSWERS and now_ns - self._answered[0] < ANSWERS_EVERY_NS:
            return None
        self._answered.append(now_ns)
        return pack_pong(ping.t1, now_ns, now_ns)

    def _measure(self, pong: Pong, now_ns: int) -> int:
        if pong.t1 not in self._asked:
            raise MalformedFrame("an answer to a ping that was not asked")
        self._asked.remove(pong.t1)
        if not self.clock.add(pong.t1, pong.t2, pong.t3, now_ns):
            raise MalformedFrame("an answer to a ping that can't be true")
        return (now_ns - pong.t1) - (pong.t3 - pong.t2)

    def _ping(self, now_ns: int) -> bytes:
        self.due = False
        self._pinged_ns = now_ns
        self._asked.append(now_ns)
        return pack_ping(now_ns)


class ClockCheck:
    """Holds every time that the other end gives against the first one: can a clock go so?

    Its clock may be anywhere, but it goes as fast as ours.  The clock of a machine that sleeps
    stands still meanwhile, ours too: its time then jumps once, and goes on from there.
    """

    def __init__(self) -> None:
        self._first: _Seen | None = None
        self._jumped: _Seen | None = None  # what may be the first one from now on
        self._jumps = 0  # in a row, that agree with it

    def check(self, theirs_ns: int, now_ns: int) -> bool:
        """Whether a clock has jumped for good: then all that was measured by it holds no more.

        Raises `MalformedFrame` for a time that jumps, until `BELIEVED_AFTER` of them agree.
        """
        seen = _Seen(now_ns, theirs_ns - now_ns)
        if self._first is None:
            self._first = seen
        if seen.follows(self._first):
            self._jumped = None
            return False
        if self._jumped is None or not seen.follows(self._jumped):
            self._jumped, self._jumps = seen, 0
        self._jumps += 1
        if self._jumps < BELIEVED_AFTER:
            raise MalformedFrame("a report's time jumps")
        self._first, self._jumped = seen, None
        return True


class _Seen(NamedTuple):
    """One of the other end's times: when we read it, and how far it was from ours."""

    at_ns: int
    offset_ns: int

    def follows(self, first: _Seen) -> bool:
        """Whether one clock can have told both."""
        allowed_ns = SLACK_NS + DRIFT * (self.at_ns - first.at_ns)
        return abs(self.offset_ns - first.offset_ns) <= allowed_ns
