"""The packets on their way: which have arrived, which are lost, and how long the way takes.

Pure.  Loss is found by time, as in RACK (RFC 8985): a packet is lost when one sent later has been
there for longer than packets are known to overtake each other (section 6.2).  The tail of a burst,
which nothing follows, is lost when a report says that it is not there although it should be (the
tail loss probe of section 7 without the probe); and all is lost when no report comes (RFC 6298's
timer).  It decides nothing about sending.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from shared.link.messages import AGE_UNIT_NS, Report

__all__ = ["MAX_REMEMBERED_LOST", "Arrival", "Flight", "News", "Sent"]

LEAST_RTT_LIFE_NS = 5_000_000_000  # 5 s, twice: as Copa's least delay, for 10 s at most
INITIAL_RTT_NS = 100_000_000  # 100 ms, until a report or a ping has measured it
REORDER_LEAST_NS = 2_000_000  # 2 ms: two busy event loops already do so much
REORDER_MOST_NS = 100_000_000
SLACK_DECAY = 0.997  # a report; a path that once reordered is trusted again within seconds
PACE_LEAST = 3  # packets that arrived, to tell how far apart they do
TAIL_SLACK_NS = 8_000_000  # 8 ms for the report's own delay and the loop's timers; more where the
TAIL_MOST_NS = 60_000_000  # other end is seen to be slow at taking what is there
TIMEOUT_SLACK_NS = 25_000_000  # 25 ms: reports come every 5 ms, and two may be lost
TIMEOUT_MOST_NS = 250_000_000  # so an outage's end is noticed within 0.25 s and a round trip
MAX_REMEMBERED_LOST = 256  # lost packets whose late arrival would still be noticed


@dataclass(slots=True)
class Sent:
    """A packet that left: `nbytes` on the wire; it carries symbol `symbol` of a frame's block.

    `repair`: it stands in for a lost one, and did not leave in the even train of its frame.
    """

    sequence: int
    at_ns: int
    nbytes: int
    frame_id: int
    block: int
    symbol: int
    repair: bool = False


@dataclass(frozen=True, slots=True)
class Arrival:
    """A packet that is there; `arrived_ns` by the other end's clock."""

    sent: Sent
    arrived_ns: int


@dataclass(frozen=True, slots=True)
class News:
    """What a report or the timer has brought to light.  `late` had been counted as lost."""

    arrived: list[Arrival] = field(default_factory=list)
    lost: list[Sent] = field(default_factory=list)
    late: list[Arrival] = field(default_factory=list)


class Flight:
    """Tell it what left (`on_sent`) and each report; it tells what became of it."""

    def __init__(self) -> None:
        self._outstanding: dict[int, Sent] = {}
        self._lost: dict[int, tuple[Sent, int | None]] = {}  # and when a tail was given up
        self.nbytes = 0  # on the wire that are neither there nor lost
        self.timeouts = 0  # in a row since the last report: above 1 nothing gets through at all
        self.rtt_ns = INITIAL_RTT_NS  # smoothed round trip, the other end's own delay left out
        self.least_rtt_ns = INITIAL_RTT_NS  # of the last `LEAST_RTT_LIFE_NS` or twice that
        self.measured = False
        self._srtt_ns = 0.0
        self._rttvar_ns = 0.0
        self._least_rtt_ns = self._least_rtt_before_ns = math.inf
        self._least_since_ns = 0
        self._reorder_ns = float(REORDER_LEAST_NS)
        self._tail_slack_ns = float(TAIL_SLACK_NS)
        self._newest_arrived = -1
        self._newest_arrived_ns = 0
        self._newest_sent_ns = 0
        self._ns_per_byte = 0.0  # of the newest arrivals
        self._heard_at_ns = 0  # of the last report, or the last time-out
        self.news_at_ns = 0
        """When a report last told that something had arrived."""

    @property
    def outstanding(self) -> int:
        """Packets of which nothing is known."""
        return len(self._outstanding)

    def age_ns(self, now_ns: int) -> int:
        """How long the oldest packet of which nothing is known has been under way."""
        first = next(iter(self._outstanding.values()), None)
        return 0 if first is None else now_ns - first.at_ns

    def on_ping(self, rtt_ns: int) -> None:
        """A round trip measured before the first report: the quickest counts."""
        if not self._srtt_ns or rtt_ns < self._srtt_ns:
            self._srtt_ns, self._rttvar_ns = float(max(1, rtt_ns)), rtt_ns / 2
            self._tell_rtt()

    def _tell_rtt(self) -> None:
        self.measured = True
        self.rtt_ns = round(self._srtt_ns)
        least = min(self._least_rtt_ns, self._least_rtt_before_ns)
        self.least_rtt_ns = round(least) if least < math.inf else self.rtt_ns

    def _on_rtt(self, rtt_ns: int, now_ns: int) -> None:
        """RFC 6298 section 2, and the least."""
        if now_ns - self._least_since_ns > LEAST_RTT_LIFE_NS:
            self._least_rtt_before_ns, self._least_rtt_ns = self._least_rtt_ns, math.inf
            self._least_since_ns = now_ns
        self._least_rtt_ns = min(self._least_rtt_ns, rtt_ns)
        if not self._srtt_ns:
            self._srtt_ns, self._rttvar_ns = float(max(1, rtt_ns)), rtt_ns / 2
        else:
            self._rttvar_ns += (abs(self._srtt_ns - rtt_ns) - self._rttvar_ns) / 4
            self._srtt_ns += (rtt_ns - self._srtt_ns) / 8
        self._tell_rtt()

    def on_sent(self, burst: list[Sent]) -> None:
        """Packets that left together, one at least."""
        if not self._outstanding:
            self._heard_at_ns = max(self._heard_at_ns, burst[0].at_ns)
        for sent in burst:
            self._outstanding[sent.sequence] = sent
            self.nbytes += sent.nbytes

    def on_report(self, report: Report, now_ns: int, rate: float) -> News:
        """Take a report.  `rate`: bytes a second that the path is thought to carry."""
        news = News()
        begin, ages, at_ns = report.begin, report.ages, report.at_ns
        end = begin + len(ages)
        newest: Arrival | None = None
        for sequence in range(begin, end) if end - begin < self.outstanding else self._known(end):
            age = ages[sequence - begin] if sequence >= begin else 0
            if age and (sent := self._outstanding.pop(sequence, None)) is not None:
                self.nbytes -= sent.nbytes
                newest = Arrival(sent, at_ns - (age - 1) * AGE_UNIT_NS)
                news.arrived.append(newest)
        for sequence in [s for s in self._lost if begin <= s < end and ages[s - begin]]:
            sent, missed_at_ns = self._lost.pop(sequence)
            late = Arrival(sent, at_ns - (ages[sequence - begin] - 1) * AGE_UNIT_NS)
            news.late.append(late)
            if missed_at_ns is None:
                self._widen_reordering(report, sequence)
            else:
                wait_ns = 1.25 * (late.arrived_ns - missed_at_ns + TAIL_SLACK_NS)
                self._tail_slack_ns = min(TAIL_MOST_NS, max(self._tail_slack_ns, wait_ns))
        if newest is not None and newest.sent.sequence > self._newest_arrived:
            held_ns = at_ns - newest.arrived_ns
            self._on_rtt(max(1, now_ns - newest.sent.at_ns - held_ns), now_ns)
            self._newest_arrived = newest.sent.sequence
            self._newest_arrived_ns = newest.arrived_ns
            self._newest_sent_ns = newest.sent.at_ns
            self._measure_pace(news.arrived)
        if newest is not None or news.late:
            self.timeouts = 0
            self.news_at_ns = now_ns
        self._heard_at_ns = max(self._heard_at_ns, now_ns)
        self._reorder_ns = max(REORDER_LEAST_NS, self._reorder_ns * SLACK_DECAY)
        self._tail_slack_ns = max(TAIL_SLACK_NS, self._tail_slack_ns * SLACK_DECAY)
        news.lost.extend(self._find_lost(report, rate))
        return news

    def _measure_pace(self, arrived: list[Arrival]) -> None:
        """How far apart packets of the newest frame arrive: the tail may come no faster."""
        newest = arrived[-1]
        train = [a for a in arrived if a.sent.frame_id == newest.sent.frame_id]
        nbytes = sum(a.sent.nbytes for a in train[1:])
        if len(train) >= PACE_LEAST:
            pace = (newest.arrived_ns - train[0].arrived_ns) / nbytes
            self._ns_per_byte = max(pace, self._ns_per_byte / 2)

    def _known(self, end: int) -> Iterator[int]:
        return iter([sequence for sequence in self._outstanding if sequence < end])

    def _widen_reordering(self, report: Report, sequence: int) -> None:
        """A packet thought lost has come: by how much had it been overtaken?"""
        later = max(report.ages[sequence + 1 - report.begin :], default=0)
        by_ns = (later - report.ages[sequence - report.begin]) * AGE_UNIT_NS
        if by_ns > 0:
            self._reorder_ns = min(REORDER_MOST_NS, max(self._reorder_ns, by_ns * 1.25))

    def _find_lost(self, report: Report, rate: float) -> list[Sent]:
        begin, ages = report.begin, report.ages
        lost: list[Sent] = []
        oldest = next(iter(self._outstanding), None)
        if oldest is None:
            return lost
        newest = self._newest_arrived
        if oldest < newest:
            # For each gap, how long the packet after it that came first has been there.
            tolerated = self._reorder_ns / AGE_UNIT_NS
            longest, index = 0, len(ages) - 1
            overdue_before = begin - 1  # every outstanding packet up to here is lost
            while index >= 0:
                if ages[index] == 0 and longest - 1 > tolerated:
                    overdue_before = begin + index
                    break
                longest = max(longest, ages[index])
                index -= 1
            for sequence in list(self._outstanding):
                if sequence > overdue_before:
                    break
                lost.append(self._lose(sequence))
        tail = [sent for sequence, sent in self._outstanding.items() if sequence > newest]
        if tail and newest >= 0:
            lost.extend(self._overdue_tail(tail, report, rate))
        return lost

    def _overdue_tail(self, tail: list[Sent], report: Report, rate: float) -> list[Sent]:
        """Those that should be there by the report's time, each behind the ones before it."""
        lost = []
        nbytes = 0
        slack_ns = self._reorder_ns + self._tail_slack_ns
        pace = max(1e9 / rate, 1.25 * self._ns_per_byte)
        for sent in tail:
            nbytes += sent.nbytes
            behind_ns = max(sent.at_ns - self._newest_sent_ns, nbytes * pace)
            if report.at_ns - self._newest_arrived_ns <= behind_ns + slack_ns:
                break
            lost.append(self._lose(sent.sequence, report.at_ns))
        return lost

    def _lose(self, sequence: int, missed_at_ns: int | None = None) -> Sent:
        sent = self._outstanding.pop(sequence)
        self.nbytes -= sent.nbytes
        self._lost[sequence] = (sent, missed_at_ns)
        if len(self._lost) > MAX_REMEMBERED_LOST:
            del self._lost[next(iter(self._lost))]
        return sent

    # -- when nothing is heard at all -------------------------------------------------------------

    def timeout_at_ns(self, rate: float) -> int | None:
        """When all that is outstanding counts as lost, should no report come before."""
        if not self._outstanding:
            return None
        wait_ns = self.rtt_ns + max(4 * self._rttvar_ns, TIMEOUT_SLACK_NS)
        wait_ns += self.nbytes / rate * 1e9
        wait_ns = min(TIMEOUT_MOST_NS + self.rtt_ns, wait_ns * (1 << min(self.timeouts, 4)))
        first = next(iter(self._outstanding.values()))
        return max(self._heard_at_ns, first.at_ns) + round(wait_ns)

    def on_timeout(self, now_ns: int) -> News:
        """Nothing was heard for too long."""
        self.timeouts += 1
        self._heard_at_ns = now_ns
        return News(lost=[self._lose(sequence) for sequence in list(self._outstanding)])
