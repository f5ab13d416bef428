"""What has arrived, and when: the receiving end's reports to the sending end.

Pure.  As RFC 8888 and transport-wide congestion control (draft-holmer-rmcat-transport-wide-cc)
have it: a run of sequence numbers, and for each whether and when it arrived.  Every arrival is
told in several reports, so that a lost report costs nothing.  It judges nothing: what is lost, and
what the path can carry, the sending end works out.
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass, field

from shared.errors import MalformedFrame

__all__ = ["AGE_UNIT_NS", "REPORT", "ArrivalLog", "Report", "pack_report", "parse_report"]

REPORT = 2  # first byte of the message
_HEADER = struct.Struct(">BIHQ")  # kind, first sequence, how many, time of the report in ns

AGE_UNIT_NS = 50_000  # 50 us: finer than any event loop; 16 bits of it reach back 3.2 s
MAX_AGE = 0xFFFF - 1
MAX_REPORTED = 512  # packets a report: 1,039 bytes, one SCTP packet

REPORT_EVERY_NS = 5_000_000  # 5 ms after the first arrival not told yet
REPORT_EVERY_PACKETS = 32  # or so many of them
TOLD_TIMES = 3  # reports in a row that tell of an arrival

# After the last arrival, while a frame lacks packets, the log goes on reporting for a while: that
# nothing came is what tells the sending end of a lost tail.
REPEAT_AFTER_NS = (10_000_000, 20_000_000, 40_000_000, 80_000_000)


@dataclass(frozen=True, slots=True)
class Report:
    """`ages[i]`: 0 where packet `begin + i` has not come, else 1 + its age in `AGE_UNIT_NS`.

    `at_ns` is the reporting end's clock.
    """

    begin: int
    at_ns: int
    ages: tuple[int, ...] = field(repr=False)


def pack_report(report: Report) -> bytes:
    count = len(report.ages)
    header = _HEADER.pack(REPORT, report.begin, count, report.at_ns)
    return header + struct.pack(f">{count}H", *report.ages)


def parse_report(message: bytes) -> Report:
    """Read a report; raises `MalformedFrame`."""
    if len(message) < _HEADER.size:
        raise MalformedFrame("a report is too short")
    kind, begin, count, at_ns = _HEADER.unpack_from(message)
    if kind != REPORT or not 1 <= count <= MAX_REPORTED:
        raise MalformedFrame("not a report, or of too many packets")
    if len(message) != _HEADER.size + 2 * count:
        raise MalformedFrame("a report has another length than it says")
    return Report(begin, at_ns, struct.unpack_from(f">{count}H", message, _HEADER.size))


class ArrivalLog:
    """Notes arrivals and makes reports when they are due."""

    def __init__(self) -> None:
        self._arrived: dict[int, int] = {}  # sequence: arrived at ns
        self._newest = -1
        self._begins: deque[int] = deque([0], maxlen=TOLD_TIMES)  # where recent reports ended
        self._untold = 0
        self._untold_since_ns = 0
        self._repeats = 0
        self._last_ns = 0

    def add(self, sequence: int, now_ns: int) -> None:
        """A packet arrived."""
        if sequence > self._newest:
            self._newest = sequence
        elif sequence <= self._newest - MAX_REPORTED:
            return
        self._arrived.setdefault(sequence, now_ns)
        if not self._untold:
            self._untold_since_ns = now_ns
        self._untold += 1
        self._repeats = 0
        if sequence < self._begins[-1]:  # later than a report that already went past it
            self._begins[-1] = sequence

    def hurry(self) -> None:
        """Something came that the sending end should know of now: the end of a frame."""
        if self._untold:
            self._untold = max(self._untold, REPORT_EVERY_PACKETS)

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
            return self._untold_since_ns + REPORT_EVERY_NS
        if incomplete and self._newest >= 0 and self._repeats < len(REPEAT_AFTER_NS):
            return self._last_ns + REPEAT_AFTER_NS[self._repeats]
        return None

    def report(self, now_ns: int) -> Report:
        """Make the report; only once something has arrived."""
        begin = max(0, min(self._begins), self._newest + 1 - MAX_REPORTED)
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
        self._last_ns = now_ns
        if len(self._arrived) > 2 * MAX_REPORTED:
            horizon = self._newest - MAX_REPORTED
            self._arrived = {s: at for s, at in self._arrived.items() if s > horizon}
        return Report(begin, now_ns, ages)
