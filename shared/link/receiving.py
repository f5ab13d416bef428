"""The receiving half of a link: packets in, frames and reports out.

Pure: bytes and times in, values out.  It joins `reassembly` (what a frame still lacks) and its own
log of arrivals (what the other end must know of them), and keeps whole frames until the program
takes them; one that is too slow gets the newest.  It judges nothing: what is lost, and what the
path can carry, the sending end works out from the reports.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping

from shared.link.events import ReceivedFrame
from shared.link.messages import AGE_UNIT_NS, MAX_AGE, MAX_TOLD, Report, pack_report, parse_packet
from shared.link.reassembly import GIVE_UP_NS, Assembled, Reassembler
from shared.link.redundancy import WINDOW_PARITY, parse_window_parity

__all__ = ["ArrivalLog", "FrameInbox", "FrameReceiver"]

EXPIRE_EVERY_NS = GIVE_UP_NS // 8

_WINDOW_PARITY = bytes((WINDOW_PARITY,))

REPORT_EVERY_NS = 5_000_000  # 5 ms after the first arrival not told yet
REPORT_EVERY_PACKETS = 32  # or so many of them
TOLD_TIMES = 3  # reports in a row that tell of an arrival, so that a lost report costs nothing
# 4 ms to decode and show a frame that is whole before its report, unless more packets come.
FRAME_FIRST_NS = 4_000_000

# After the last arrival, while a frame lacks packets, the log goes on reporting for a while: that
# nothing came is what tells the sending end of a lost tail.
REPEAT_AFTER_NS = (10_000_000, 20_000_000, 40_000_000, 80_000_000)

# Where the event loop comes late, what has arrived meanwhile is looked at before a report would say
# that it is missing.
STALL_NS = 3_000_000  # 3 ms late: the event loop was held up, and datagrams wait to be read
LISTEN_NS = 2_000_000  # 2 ms: time to read fifty of them

# All that may be in flight can arrive at once after a stall of either end, which is not the
# program's fault; a frame that waits longer than this is.
MAX_WAITING_FRAMES = 8
MAX_WAITING_NS = 100_000_000  # 100 ms: three frames at 30 fps, and less than a person notices


class ArrivalLog:
    """Notes arrivals and makes reports when they are due."""

    def __init__(self) -> None:
        self._arrived: dict[int, int] = {}  # sequence: arrived at ns
        self._newest = -1
        self._begins: deque[int] = deque([0], maxlen=TOLD_TIMES)  # where recent reports ended
        self._untold = 0
        self._untold_since_ns = 0
        self._hurry_at_ns: int | None = None
        self._repeats = 0
        self._last_ns = 0

    def add(self, sequence: int, now_ns: int) -> None:
        """A packet arrived."""
        if sequence > self._newest:
            self._newest = sequence
        elif sequence <= self._newest - MAX_TOLD:
            return
        self._arrived.setdefault(sequence, now_ns)
        if not self._untold:
            self._untold_since_ns = now_ns
        self._untold += 1
        self._repeats = 0
        if sequence < self._begins[-1]:  # later than a report that already went past it
            self._begins[-1] = sequence

    def hurry(self, now_ns: int) -> None:
        """Something came that the sending end should know of soon: the end of a frame."""
        if self._hurry_at_ns is None:
            self._hurry_at_ns = now_ns + FRAME_FIRST_NS

    @property
    def unsettled(self) -> bool:
        """Whether the newest arrival has changed when the next report is due."""
        return self._untold == 1 or self._untold >= REPORT_EVERY_PACKETS

    def due_at_ns(self, incomplete: bool) -> int | None:
        """When the next report is to leave; None where there is nothing to tell.

        `incomplete`: whether packets of some frame are still being waited for.
        """
        if self._untold >= REPORT_EVERY_PACKETS:
            return self._untold_since_ns
        if self._untold:
            due_ns = self._untold_since_ns + REPORT_EVERY_NS
            return due_ns if self._hurry_at_ns is None else min(due_ns, self._hurry_at_ns)
        if incomplete and self._newest >= 0 and self._repeats < len(REPEAT_AFTER_NS):
            return self._last_ns + REPEAT_AFTER_NS[self._repeats]
        return None

    def report(self, now_ns: int) -> Report:
        """Make the report; only once something has arrived."""
        begin = max(0, min(self._begins), self._newest + 1 - MAX_TOLD)
        if begin > self._newest:  # nothing new in several reports: the newest arrival again
            begin = self._newest
        get = self._arrived.get
        ages = tuple(
            0 if at_ns is None else 1 + min(MAX_AGE, max(0, now_ns - at_ns) // AGE_UNIT_NS)
            for at_ns in map(get, range(begin, self._newest + 1))
        )
        if self._untold:
            self._begins.append(self._newest + 1)
            self._repeats = 0
        else:
            self._repeats += 1
        self._untold = 0
        self._hurry_at_ns = None
        self._last_ns = now_ns
        if len(self._arrived) > 2 * MAX_TOLD:
            horizon = self._newest - MAX_TOLD
            self._arrived = {s: at for s, at in self._arrived.items() if s > horizon}
        return Report(begin, now_ns, ages)


class FrameInbox:
    """Whole frames in the order in which they became whole; the newest win."""

    def __init__(self) -> None:
        self._waiting: deque[ReceivedFrame] = deque()
        self.dropped = 0  # frames that gave way to newer ones

    def add(self, frame: ReceivedFrame) -> None:
        """The newest frame; those too many or too old before it give way."""
        oldest_ns = frame.received_at_ns - MAX_WAITING_NS
        while self._waiting and (
            len(self._waiting) >= MAX_WAITING_FRAMES or self._waiting[0].received_at_ns < oldest_ns
        ):
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(frame)

    def pop(self) -> ReceivedFrame | None:
        """The frame that came first, if one waits."""
        return self._waiting.popleft() if self._waiting else None


class FrameReceiver:
    """Give it packets (`on_packet`); take reports (`poll`) when `next_at_ns` says.

    `cross_parity`: whether the other end was told that parity over several frames is taken here.
    """

    def __init__(self, *, cross_parity: bool = False) -> None:
        self.cross_parity = cross_parity
        self._reassembler = Reassembler()
        self._log = ArrivalLog()
        self._expire_at_ns = 0
        self._listen_until_ns: int | None = None
        self._given_up: Counter[str] = Counter()

    @property
    def held_bytes(self) -> int:
        """Bytes held of frames that are not whole."""
        return self._reassembler.held_bytes

    @property
    def given_up(self) -> Mapping[str, int]:
        """Frames that did not become whole, by reason."""
        return self._given_up

    @property
    def unsettled(self) -> bool:
        """Whether the packet just taken has changed when `poll` is due."""
        return self._log.unsettled or bool(self._reassembler.given_up)

    def on_packet(self, message: bytes, now_ns: int) -> list[Assembled]:
        """Take a packet; return the frames that it completes, oldest first.

        Where parity over several frames was agreed on they may be more than one.  Raises
        `MalformedFrame`.
        """
        if self.cross_parity and message[:1] == _WINDOW_PARITY:
            parity = parse_window_parity(message)
            self._log.add(parity.sequence, now_ns)
            self._reassembler.add_parity(parity, now_ns)
            whole = None
        else:
            packet = parse_packet(message)
            self._log.add(packet.sequence, now_ns)
            whole = self._reassembler.add(packet, now_ns)
        completed = self._reassembler.take_restored() if self._reassembler.restored else []
        if whole is not None:
            completed.append(whole)
        if completed:
            self._log.hurry(now_ns)
        return completed

    def poll(self, now_ns: int) -> bytes | None:
        """The report that is due, if one is."""
        reassembler = self._reassembler
        waiting = reassembler.waiting
        if waiting and now_ns >= self._expire_at_ns:
            reassembler.expire(now_ns)
            self._expire_at_ns = now_ns + EXPIRE_EVERY_NS
            waiting = reassembler.waiting
        if reassembler.given_up:
            for frame in reassembler.take_given_up():
                self._given_up["incomplete" if frame.begun else "lost"] += 1
        due_ns = self._log.due_at_ns(waiting)
        if due_ns is None or due_ns > now_ns:
            return None
        return pack_report(self._log.report(now_ns))

    def wake(self, now_ns: int) -> bytes | None:
        """As `poll`, when the time of `next_at_ns` has come; much too late, it listens first."""
        at_ns = self.next_at_ns()
        if at_ns is None or now_ns < at_ns:
            return None
        if self._listen_until_ns is None and now_ns - at_ns > STALL_NS:
            self._listen_until_ns = now_ns + LISTEN_NS
            return None
        self._listen_until_ns = None
        return self.poll(now_ns)

    def next_at_ns(self) -> int | None:
        """When to call `wake` again, unless a packet comes before; None: not needed."""
        if self._listen_until_ns is not None:
            return self._listen_until_ns
        waiting = self._reassembler.waiting
        due_ns = self._log.due_at_ns(waiting)
        if not waiting:
            return due_ns
        return self._expire_at_ns if due_ns is None else min(due_ns, self._expire_at_ns)
