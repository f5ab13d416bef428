"""The sending half of a link: frames in, paced packets out, and their repair.

Pure: bytes and times in, bytes out.  It joins `packets` and `fec` (what leaves), `flight` (what
became of it), `loss` and `redundancy` (how much parity), `congestion` and `pacer` (how fast).  A
frame handed over begins to leave at once and nothing queues behind it: what the path can't take
now, `can_send` refuses.  Lost packets are sent again, or parity in their place, for as long as the
frame may still be of use.
"""

from __future__ import annotations

import math
from collections import deque

from shared.errors import MalformedFrame
from shared.link.congestion import Copa
from shared.link.fec import symbol_limit
from shared.link.feedback import Report
from shared.link.flight import Flight, News, Sent
from shared.link.link import PathEstimate
from shared.link.loss import LossMeter
from shared.link.outgoing import OutgoingFrame
from shared.link.pacer import Pacer
from shared.link.packets import (
    HEADER,
    OVERHEAD_BYTES,
    Packet,
    cut,
    pack_packet,
)
from shared.link.reassembly import GIVE_UP_NS
from shared.link.redundancy import parity_count

__all__ = ["FrameSender"]

# What a frame may find ahead of it: packets that are still to leave, and a queue on the path beyond
# the round trip.  Half a frame at 30 fps each.
MAX_BACKLOG_NS = 15_000_000
MAX_QUEUE_NS = 45_000_000
STALL_NS = 25_000_000  # 25 ms: what a busy event loop at either end adds to that at times
LEAST_WINDOW_BYTES = 16 * 1253  # below a dozen packets a window stalls on reports alone

MAX_KEPT_FRAMES = 32  # for repair; a second at 30 fps, and twice what the other end still waits for
REPAIR_FOR_NS = GIVE_UP_NS  # after all of it left once; then the other end gives it up

# A re-request costs a round trip, and its packet may be lost too: where that is dear and likely,
# one packet more goes with it.
DEAR_RTT_NS = 80_000_000
LIKELY_LOSS = 0.005

# By how much a report may be late on its way, or its clock have stood still (a machine that slept),
# against the first one; and how far two clocks may part with time (100 ppm each are bad ones).
CLOCK_SLACK_NS = 5_000_000_000
CLOCK_DRIFT = 1e-3

# 2 s of reports: slow start, which doubles the rate each round trip, is over or was not asked for.
PROVEN_AFTER_NS = 2_000_000_000

LIMITED_SHARE = 0.75  # of the rate in use: the frames would use more if there were more
USE_MEMORY_NS = 300_000_000  # over which use is averaged: ten frames at 30 fps
OVERHEAD_MEMORY = 32  # frames over which the share of repair is averaged

# Between two frames: 30 a second until that is known; longer is a pause, and no frame rate.
FIRST_INTERVAL_NS = 33_000_000
MOST_INTERVAL_NS = 500_000_000
INTERVAL_MEMORY = 8  # frames


class _Use:
    """Bytes a second sent lately, the older the less."""

    __slots__ = ("_at_ns", "_nbytes")

    def __init__(self) -> None:
        self._nbytes = 0.0
        self._at_ns = 0

    def add(self, nbytes: int, now_ns: int) -> None:
        self._nbytes = self._left(now_ns) + nbytes
        self._at_ns = now_ns

    def rate(self, now_ns: int) -> float:
        return self._left(now_ns) / USE_MEMORY_NS * 1e9

    def _left(self, now_ns: int) -> float:
        return self._nbytes * math.exp((self._at_ns - now_ns) / USE_MEMORY_NS)


_Item = tuple[OutgoingFrame, int, int]  # a frame's block and symbol that is to leave


class FrameSender:
    """Give it frames (`hand_over`) and reports; take packets (`poll`) when `next_at_ns` says."""

    def __init__(self) -> None:
        self._copa = Copa()
        self._flight = Flight()
        self._loss = LossMeter()
        self._pacer = Pacer(self._copa.pacing_rate)
        self._frames: dict[int, OutgoingFrame] = {}
        self._first_time: deque[_Item] = deque()
        self._repairs: deque[_Item] = deque()
        self._backlog_bytes = 0
        self._sequence = 0
        self._reported = False
        self._first_report: tuple[int, int] | None = None  # our time, theirs less ours
        self._proven = False
        self._unproven_since_ns: int | None = None  # of reports
        self._use = _Use()
        self._handed_bytes = 0  # of the newest frame
        self._sent_bytes = 0  # on the wire since, for it and for repairs
        self._payload_bytes = 0.0  # both summed over recent frames, the older the less
        self._wire_bytes = 0.0
        self._leaving: list[int] = []
        self._timed_out: list[int] = []  # by the last time-out, which may be the first of an outage
        self._handed_at_ns: int | None = None
        self._interval_ns = FIRST_INTERVAL_NS

    # -- what the link asks -----------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Frames of which the other end has not got everything, and that are not given up."""
        return len(self._frames)

    @property
    def idle(self) -> bool:
        """Whether nothing waits to leave and nothing is under way: a quiet gap."""
        return not (self._first_time or self._repairs or self._flight.outstanding)

    def path(self, now_ns: int) -> PathEstimate | None:
        """What the path carries; None before a report or a ping measured it."""
        if not self._flight.measured:
            return None
        share = self._payload_bytes / self._wire_bytes if self._wire_bytes else 0.9
        return PathEstimate(
            rate_bps=round(self._copa.proven_rate * 8 * share),
            rtt_ns=self._flight.rtt_ns,
            queue_ns=self._copa.queue_ns,
            loss=self._loss.share,
            limited=self._limited(now_ns),
            proven=self._proven and not self._flight.timeouts,
        )

    def _limited(self, now_ns: int) -> bool:
        """Whether the frames would use more if there were more."""
        return self._use.rate(now_ns) > LIMITED_SHARE * self._copa.rate

    def can_send(self, now_ns: int) -> bool:
        """Whether a frame handed over now would leave now."""
        backlog_ns = self._backlog_bytes / self._pacer.rate * 1e9
        return (
            backlog_ns <= MAX_BACKLOG_NS
            and self._flight.nbytes < self._window()
            and self._flight.age_ns(now_ns) < self._room_ns() + STALL_NS
        )

    def _room_ns(self) -> int:
        """How long a packet may be under way before more would only queue behind it."""
        return self._flight.least_rtt_ns + self._copa.tolerated_queue_ns + MAX_QUEUE_NS

    def _window(self) -> float:
        """How many bytes may be under way; of an outage a single frame asks whether it is over."""
        if self._flight.timeouts > 1:
            return 1
        return max(LEAST_WINDOW_BYTES, self._copa.rate * self._room_ns() / 1e9)

    # -- frames out -------------------------------------------------------------------------------

    def hand_over(self, frame_id: int, data: bytes, now_ns: int) -> None:
        """A frame begins to leave.  Ids rise; `data` is 1 to `MAX_FRAME_BYTES` bytes."""
        shape = cut(len(data))
        if not self._first_time and not self._repairs:
            self._pacer.resume(now_ns)
        frame = self._frames[frame_id] = OutgoingFrame(frame_id, data, shape)
        size = HEADER.size + shape.symbol_bytes + OVERHEAD_BYTES
        self._measure_interval(now_ns)
        for index, block in enumerate(frame.blocks):
            extra = parity_count(
                block.k,
                self._loss.share,
                self._loss.run,
                self._flight.rtt_ns,
                self._interval_ns,
                shape.blocks,
            )
            block.fresh = min(symbol_limit(block.k), block.k + extra)
            block.unsent = (1 << block.fresh) - 1
            frame.to_send += block.fresh
            self._first_time.extend((frame, index, symbol) for symbol in range(block.fresh))
        self._backlog_bytes += frame.to_send * size
        while len(self._frames) > MAX_KEPT_FRAMES:
            self._forget(next(iter(self._frames)))
        if self._sent_bytes:
            fresh = 1 - 1 / OVERHEAD_MEMORY
            self._payload_bytes = self._payload_bytes * fresh + self._handed_bytes
            self._wire_bytes = self._wire_bytes * fresh + self._sent_bytes
        self._sent_bytes, self._handed_bytes = 0, len(data)

    def _measure_interval(self, now_ns: int) -> None:
        if self._handed_at_ns is not None:
            interval_ns = min(now_ns - self._handed_at_ns, MOST_INTERVAL_NS)
            self._interval_ns += (interval_ns - self._interval_ns) // INTERVAL_MEMORY
        self._handed_at_ns = now_ns

    def cancel(self, frame_id: int) -> None:
        """Give a frame up: what has not left will not."""
        self._forget(frame_id)

    def poll(self, now_ns: int) -> list[bytes]:
        """The messages that are to leave now, in order."""
        self._expire(now_ns)
        messages: list[bytes] = []
        self._pacer.rate = self._copa.pacing_rate
        while self._pacer.ready(now_ns):
            repair = bool(self._repairs) and self._flight.nbytes < self._window()
            if not repair and not self._first_time:
                break
            frame, index, symbol = (self._repairs if repair else self._first_time).popleft()
            block = frame.blocks[index]
            nbytes = HEADER.size + frame.cut.symbol_bytes + OVERHEAD_BYTES
            if repair:
                block.waiting &= ~(1 << symbol)
                if frame.frame_id not in self._frames or block.whole or block.there >> symbol & 1:
                    continue
            else:
                frame.last_sent_ns = now_ns
                self._backlog_bytes -= nbytes
                block.unsent &= ~(1 << symbol)
                frame.to_send -= 1
                if not frame.to_send:
                    self._leaving.append(frame.frame_id)
                if frame.frame_id not in self._frames:
                    continue
            messages.append(self._pack(frame, index, symbol))
            block.flying |= 1 << symbol
            self._flight.on_sent(
                Sent(self._sequence, now_ns, nbytes, frame.frame_id, index, symbol, repair)
            )
            self._sequence += 1
            self._sent_bytes += nbytes
            self._use.add(nbytes, now_ns)
            self._pacer.on_sent(nbytes, now_ns)
        return messages

    def take_left(self) -> list[int]:
        """The frames of which the last packet has left since the last call."""
        left, self._leaving = self._leaving, []
        return left

    def next_at_ns(self, now_ns: int) -> int | None:
        """When to call `poll` again, unless something happens before; None: not needed."""
        times = []
        repairs = bool(self._repairs) and self._flight.nbytes < self._window()
        if repairs or self._first_time:
            times.append(self._pacer.ready_at_ns())
        timeout_ns = self._flight.timeout_at_ns(self._copa.rate)
        if timeout_ns is not None:
            times.append(timeout_ns)
        elif self._frames and not (self._repairs or self._first_time):
            times.append(now_ns + REPAIR_FOR_NS)
        return min(times, default=None)

    # -- what becomes of them ---------------------------------------------------------------------

    def on_ping(self, rtt_ns: int) -> None:
        """A ping came back; it tells the round trip before the first frame does."""
        if not self._reported:
            self._flight.on_ping(rtt_ns)
            self._copa.start(self._flight.rtt_ns)

    def on_report(self, report: Report, now_ns: int) -> None:
        """Take a report; raises `MalformedFrame` for one whose time can't be true."""
        self._check_clock(report.at_ns, now_ns)
        self._reported = True
        outage = self._flight.timeouts > 1  # what was lost in it says nothing of the path
        news = self._flight.on_report(report, now_ns, self._copa.rate)
        lost = [] if outage else [sent.sequence for sent in news.lost]
        if not outage:
            self._loss.on_fates(0, self._timed_out)
        self._timed_out = []
        self._settle(news)
        arrived = sorted((*news.late, *news.arrived), key=lambda arrival: arrival.sent.sequence)
        self._copa.on_report(arrived, len(lost) - len(news.late), self._flight.rtt_ns, now_ns)
        self._loss.on_fates(len(news.arrived), lost)
        self._loss.on_late(len(news.late))
        self._repair(news.lost, now_ns)
        self._prove(now_ns)

    def _prove(self, now_ns: int) -> None:
        """Does the rate rest on what the path was seen to carry, or is it where all rates begin?"""
        if self._proven:
            return
        if self._unproven_since_ns is None:
            self._unproven_since_ns = now_ns
        long_enough = now_ns - self._unproven_since_ns >= PROVEN_AFTER_NS
        if long_enough or not self._copa.slow_start:
            self._proven = True

    def _check_clock(self, at_ns: int, now_ns: int) -> None:
        """The other end's clock may be anywhere, but it goes as fast as ours."""
        offset_ns = at_ns - now_ns
        if self._first_report is None:
            self._first_report = (now_ns, offset_ns)
        since_ns, first_ns = self._first_report
        if abs(offset_ns - first_ns) > CLOCK_SLACK_NS + CLOCK_DRIFT * (now_ns - since_ns):
            raise MalformedFrame("a report's time jumps")

    def _settle(self, news: News) -> None:
        for arrival in (*news.arrived, *news.late):
            sent = arrival.sent
            frame = self._frames.get(sent.frame_id)
            if frame is None:
                continue
            block = frame.blocks[sent.block]
            before = block.whole
            block.there |= 1 << sent.symbol
            if block.whole and not before:
                frame.unfinished -= 1
                if not frame.unfinished:
                    self._forget(sent.frame_id)
        for arrival in news.arrived:
            self._land(arrival.sent)
        for sent in news.lost:
            self._land(sent)

    def _land(self, sent: Sent) -> None:
        frame = self._frames.get(sent.frame_id)
        if frame is not None:
            frame.blocks[sent.block].flying &= ~(1 << sent.symbol)

    def _repair(self, lost: list[Sent], now_ns: int) -> None:
        """Send again what a block still lacks, the lost source symbols first."""
        again: dict[tuple[int, int], list[int]] = {}
        for sent in lost:
            again.setdefault((sent.frame_id, sent.block), []).append(sent.symbol)
        if not self._first_time and not self._repairs:
            self._pacer.resume(now_ns)
        dear = self._flight.rtt_ns > DEAR_RTT_NS and self._loss.share > LIKELY_LOSS
        for (frame_id, index), symbols in again.items():
            frame = self._frames.get(frame_id)
            if frame is None:
                continue
            block = frame.blocks[index]
            coming = block.coming
            lacking = block.k - coming.bit_count()
            if lacking <= 0:
                continue
            chosen = [symbol for symbol in sorted(symbols) if not coming >> symbol & 1][:lacking]
            spare = lacking - len(chosen) + dear
            fresh = range(block.fresh, min(symbol_limit(block.k), block.fresh + spare))
            block.fresh = max(block.fresh, fresh.stop)
            for symbol in (*chosen, *fresh):
                self._repairs.append((frame, index, symbol))
                block.waiting |= 1 << symbol

    def _expire(self, now_ns: int) -> None:
        timeout_ns = self._flight.timeout_at_ns(self._copa.rate)
        if timeout_ns is not None and now_ns >= timeout_ns:
            news = self._flight.on_timeout(now_ns)
            self._settle(news)
            self._copa.on_timeout(self._flight.timeouts, self._flight.rtt_ns)
            if self._flight.timeouts > 1:  # an outage: the rate begins again
                self._proven, self._unproven_since_ns = False, None
            self._timed_out = [sent.sequence for sent in news.lost]
            self._repair(news.lost, now_ns)
        for frame_id, frame in list(self._frames.items()):
            if frame.to_send or now_ns - frame.last_sent_ns < REPAIR_FOR_NS:
                break
            self._forget(frame_id)

    def _forget(self, frame_id: int) -> None:
        self._frames.pop(frame_id, None)

    def _pack(self, frame: OutgoingFrame, index: int, symbol: int) -> bytes:
        piece = frame.symbol(index, symbol)
        packet = Packet(self._sequence, frame.frame_id, frame.cut.length, index, symbol, piece)
        return pack_packet(packet)
