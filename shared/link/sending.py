"""The sending half of a link: frames in, paced packets out, and their repair.

Pure: bytes and times in, bytes out.  It joins `sendqueue` (what leaves), `flight` (what became of
it), `loss` and `redundancy` (how much parity), `congestion` and `pacer` (how fast).  A frame handed
over begins to leave at once and nothing queues behind it: what the path can't take now, `can_send`
refuses.  Lost packets are sent again, or parity in their place, for as long as the frame may still
be of use.
"""

from __future__ import annotations

from shared.link.clockcheck import ClockCheck
from shared.link.congestion import Copa
from shared.link.fec import symbol_limit
from shared.link.feedback import Report
from shared.link.flight import Flight, Sent
from shared.link.link import PathEstimate
from shared.link.loss import LossMeter
from shared.link.outgoing import OutgoingFrame
from shared.link.pacer import Pacer
from shared.link.packets import PACKET_BYTES, Packet, cut, pack_packet
from shared.link.redundancy import parity_count
from shared.link.sendqueue import REPAIR_FOR_NS, Due, SendQueue
from shared.link.usage import UsageMeter

__all__ = ["FrameSender"]

# What a frame may find ahead of it: packets that are still to leave, and a queue on the path beyond
# the round trip.  Half a frame at 30 fps each.
MAX_BACKLOG_NS = 15_000_000
MAX_QUEUE_NS = 45_000_000
STALL_NS = 25_000_000  # 25 ms: what a busy event loop at either end adds to that at times
LEAST_WINDOW_BYTES = 16 * PACKET_BYTES  # with less than a dozen it stalls on reports alone

# A re-request costs a round trip, and its packet may be lost too: where that is dear and likely,
# one packet more goes with it.
DEAR_RTT_NS = 80_000_000
LIKELY_LOSS = 0.005

# 2 s of reports: slow start, which doubles the rate each round trip, is over or was not asked for.
PROVEN_AFTER_NS = 2_000_000_000

LIMITED_SHARE = 0.75  # of the rate in use: the frames would use more if there were more


class FrameSender:
    """Give it frames (`hand_over`) and reports; take packets (`poll`) when `next_at_ns` says."""

    def __init__(self) -> None:
        self._queue = SendQueue()
        self._flight = Flight()
        self._loss = LossMeter()
        self._usage = UsageMeter()
        self._clock = ClockCheck()
        self._copa = Copa()
        self._pacer = Pacer(self._copa.pacing_rate)
        self._sequence = 0
        self._reported = False
        self._proven = False
        self._unproven_since_ns: int | None = None  # of reports
        self._timed_out: list[int] = []  # by the last time-out, which may be the first of an outage

    # -- what the link asks -----------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Frames of which the other end has not got everything, and that are not given up."""
        return self._queue.kept

    @property
    def idle(self) -> bool:
        """Whether nothing waits to leave and nothing is under way: a quiet gap."""
        return self._queue.empty and not self._flight.outstanding

    def path(self, now_ns: int) -> PathEstimate | None:
        """What the path carries; None before a report or a ping measured it."""
        if not self._flight.measured:
            return None
        return PathEstimate(
            rate_bps=round(self._copa.proven_rate * 8 * self._usage.payload_share),
            rtt_ns=self._flight.rtt_ns,
            queue_ns=self._copa.queue_ns,
            loss=self._loss.share,
            limited=self._usage.rate(now_ns) > LIMITED_SHARE * self._copa.rate,
            proven=self._proven and not self._flight.timeouts,
        )

    def can_send(self, now_ns: int) -> bool:
        """Whether a frame handed over now would leave now."""
        backlog_ns = self._queue.backlog_bytes / self._pacer.rate * 1e9
        return (
            backlog_ns <= MAX_BACKLOG_NS
            and self._window_open()
            and self._flight.age_ns(now_ns) < self._room_ns() + STALL_NS
        )

    def _room_ns(self) -> int:
        """How long a packet may be under way before more would only queue behind it."""
        return self._flight.least_rtt_ns + self._copa.tolerated_queue_ns + MAX_QUEUE_NS

    def _may_repair(self) -> bool:
        return self._queue.repairs > 0 and self._window_open()

    def _window_open(self) -> bool:
        """Whether more may be under way; of an outage a single frame asks whether it is over."""
        if self._flight.timeouts > 1:
            return not self._flight.nbytes
        window = max(LEAST_WINDOW_BYTES, self._copa.rate * self._room_ns() / 1e9)
        return self._flight.nbytes < window

    # -- frames out -------------------------------------------------------------------------------

    def hand_over(self, frame_id: int, data: bytes, now_ns: int) -> None:
        """A frame begins to leave.  Ids rise; `data` is 1 to `MAX_FRAME_BYTES` bytes."""
        shape = cut(len(data))
        if self._queue.empty:
            self._pacer.resume(now_ns)
        self._usage.on_frame(len(data), now_ns)
        frame = OutgoingFrame(frame_id, data, shape)
        for block in frame.blocks:
            parity = self._parity(block.k, shape.blocks)
            block.fresh = min(symbol_limit(block.k), block.k + parity)
        self._queue.add(frame)

    def _parity(self, k: int, blocks: int) -> int:
        loss, rtt_ns = self._loss, self._flight.rtt_ns
        return parity_count(k, loss.share, loss.run, rtt_ns, self._usage.interval_ns, blocks)

    def cancel(self, frame_id: int) -> None:
        """Give a frame up: what has not left will not."""
        self._queue.forget(frame_id)

    def poll(self, now_ns: int) -> list[bytes]:
        """The messages that are to leave now, in order."""
        self._expire(now_ns)
        messages: list[bytes] = []
        self._pacer.rate = self._copa.pacing_rate
        while self._pacer.ready(now_ns):
            due = self._queue.pop(now_ns, repairs=self._may_repair())
            if due is None:
                break
            messages.append(self._pack(due))
            frame, block, symbol, repair = due
            nbytes = frame.packet_bytes
            sent = Sent(self._sequence, now_ns, nbytes, frame.frame_id, block, symbol, repair)
            self._flight.on_sent(sent)
            self._sequence += 1
            self._usage.on_sent(nbytes, now_ns)
            self._pacer.on_sent(nbytes, now_ns)
        return messages

    def take_left(self) -> list[int]:
        """The frames of which the last packet has left since the last call."""
        return self._queue.take_left()

    def next_at_ns(self, now_ns: int) -> int | None:
        """When to call `poll` again, unless something happens before; None: not needed."""
        times = []
        if self._queue.ready(repairs=self._may_repair()):
            times.append(self._pacer.ready_at_ns())
        timeout_ns = self._flight.timeout_at_ns(self._copa.rate)
        if timeout_ns is not None:
            times.append(timeout_ns)
        elif self._queue.kept and self._queue.empty:
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
        self._clock.check(report.at_ns, now_ns)
        self._reported = True
        outage = self._flight.timeouts > 1  # what was lost in it says nothing of the path
        news = self._flight.on_report(report, now_ns, self._copa.rate)
        lost = [] if outage else [sent.sequence for sent in news.lost]
        if not outage:
            self._loss.on_fates(0, self._timed_out)
        self._timed_out = []
        self._queue.settle(news)
        arrived = sorted((*news.late, *news.arrived), key=lambda arrival: arrival.sent.sequence)
        undone = self._loss.on_late(late.sent.sequence for late in news.late)
        self._copa.on_report(arrived, len(lost) - undone, self._flight.rtt_ns, now_ns)
        self._loss.on_fates(len(news.arrived), lost)
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

    def _repair(self, lost: list[Sent], now_ns: int) -> None:
        if self._queue.empty:
            self._pacer.resume(now_ns)
        dear = self._flight.rtt_ns > DEAR_RTT_NS and self._loss.share > LIKELY_LOSS
        self._queue.repair(lost, spare=int(dear))

    def _expire(self, now_ns: int) -> None:
        timeout_ns = self._flight.timeout_at_ns(self._copa.rate)
        if timeout_ns is not None and now_ns >= timeout_ns:
            news = self._flight.on_timeout(now_ns)
            self._queue.settle(news)
            self._copa.on_timeout(self._flight.timeouts, self._flight.rtt_ns)
            if self._flight.timeouts > 1:  # an outage: the rate begins again
                self._proven, self._unproven_since_ns = False, None
            self._timed_out = [sent.sequence for sent in news.lost]
            self._repair(news.lost, now_ns)
        self._queue.expire(now_ns)

    def _pack(self, due: Due) -> bytes:
        frame, block, symbol, _ = due
        piece = frame.symbol(block, symbol)
        packet = Packet(self._sequence, frame.frame_id, frame.cut.length, block, symbol, piece)
        return pack_packet(packet)
