"""The sending half of a link: frames in, paced packets out, and their repair.

Pure: bytes and times in, bytes out.  It joins `sendqueue` (what leaves), `flight` (what became of
it), `redundancy` (how much parity), `congestion` (how fast) and `pathmtu` (in packets of what
size).  A frame handed over begins to leave at once and nothing queues behind it: what the path
can't take now, `can_send` refuses.  Lost packets are sent again, or parity in their place, for as
long as the frame may still be of use.
"""

from __future__ import annotations

import math

from shared.link.congestion.copa import Copa
from shared.link.events import PathEstimate
from shared.link.flight import Flight, Sent
from shared.link.heartbeat import ClockCheck
from shared.link.messages import (
    DATA,
    MAX_MESSAGE_BYTES,
    OVERHEAD_BYTES,
    PACKET_BYTES,
    SIZED,
    Report,
    cut,
    symbol_limit,
)
from shared.link.pathmtu import PathMtu
from shared.link.redundancy import (
    LEAST_SHARE,
    SHORT_RTT_NS,
    LossMeter,
    parity_count,
    window_spare_bytes,
)
from shared.link.sendqueue import REPAIR_FOR_NS, OutgoingFrame, SendQueue

__all__ = ["AHEAD_NS", "FrameSender", "Pacer", "UsageMeter"]

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

WINDOW_SPARE_BYTES = window_spare_bytes()

LIMITED_SHARE = 0.75  # of the rate in use: the frames would use more if there were more

IDLE_CREDIT_NS = 2_000_000  # 2 ms: what a burst may begin with, after a pause
BUSY_CREDIT_NS = 10_000_000  # 10 ms of catching up, where the event loop was late
AHEAD_NS = 2_000_000  # 2 ms sent ahead: each step costs a wake-up and a way into the kernel


USE_MEMORY_NS = 300_000_000  # over which use is averaged: ten frames at 30 fps
OVERHEAD_MEMORY = 32  # frames over which the share of repair is averaged

# Between two frames: 30 a second until that is known.  One that comes later than the longest
# interval ends a pause, which is no frame rate; the second such in a row is one.
FIRST_INTERVAL_NS = 33_000_000
MOST_INTERVAL_NS = 500_000_000
INTERVAL_MEMORY = 8  # frames

FIRST_SHARE = 0.9  # of the wire, for payload, until it is known


class Pacer:
    """Ask `ready`, and tell `on_sent`.  `rate` is in bytes a second, on the wire."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._free_at_ns = 0

    def resume(self, now_ns: int) -> None:
        """There is something to send again, after there was nothing."""
        self._free_at_ns = max(self._free_at_ns, now_ns - IDLE_CREDIT_NS)

    def room_bytes(self, now_ns: int) -> float:
        """How many bytes may leave now: packets until those are passed; below 0, none."""
        base_ns = max(self._free_at_ns, now_ns - BUSY_CREDIT_NS)
        return (now_ns + AHEAD_NS - base_ns) * self.rate / 1e9

    def ready_at_ns(self) -> int:
        """When the next packet may leave."""
        return self._free_at_ns

    def on_sent(self, nbytes: int, now_ns: int) -> None:
        base_ns = max(self._free_at_ns, now_ns - BUSY_CREDIT_NS)
        self._free_at_ns = base_ns + round(nbytes / self.rate * 1e9)


class UsageMeter:
    """Tell it of each frame (`on_frame`) and of each packet, repairs too (`on_sent`)."""

    def __init__(self) -> None:
        self._used = 0.0  # bytes sent lately, the older the less
        self._used_at_ns = 0
        self._handed_bytes = 0  # of the newest frame
        self._sent_bytes = 0  # on the wire since, for it and for repairs
        self._payload_bytes = 0.0  # both summed over recent frames, the older the less
        self._wire_bytes = 0.0
        self._handed_at_ns: int | None = None
        self._interval_ns = FIRST_INTERVAL_NS
        self._paused = False  # before the newest frame

    @property
    def interval_ns(self) -> int:
        """Between two frames, on average."""
        return self._interval_ns

    @property
    def payload_share(self) -> float:
        """Of the bytes on the wire, how many are the frames' own: 0 to 1."""
        return self._payload_bytes / self._wire_bytes if self._wire_bytes else FIRST_SHARE

    def rate(self, now_ns: int) -> float:
        """Bytes a second sent lately, on the wire."""
        return self._left(now_ns) / USE_MEMORY_NS * 1e9

    def on_frame(self, nbytes: int, now_ns: int) -> None:
        """A frame of `nbytes` is handed over."""
        if self._handed_at_ns is not None:
            self._on_interval(now_ns - self._handed_at_ns)
        self._handed_at_ns = now_ns
        if self._sent_bytes:
            fresh = 1 - 1 / OVERHEAD_MEMORY
            self._payload_bytes = self._payload_bytes * fresh + self._handed_bytes
            self._wire_bytes = self._wire_bytes * fresh + self._sent_bytes
        self._sent_bytes, self._handed_bytes = 0, nbytes

    def on_sent(self, nbytes: int, now_ns: int) -> None:
        """A packet of `nbytes` on the wire leaves."""
        self._used = self._left(now_ns) + nbytes
        self._used_at_ns = now_ns
        self._sent_bytes += nbytes

    def _on_interval(self, interval_ns: int) -> None:
        paused, self._paused = self._paused, interval_ns > MOST_INTERVAL_NS
        if paused or not self._paused:
            interval_ns = min(interval_ns, MOST_INTERVAL_NS)
            self._interval_ns += (interval_ns - self._interval_ns) // INTERVAL_MEMORY

    def _left(self, now_ns: int) -> float:
        return self._used * math.exp((self._used_at_ns - now_ns) / USE_MEMORY_NS)


class FrameSender:
    """Give it frames (`hand_over`) and reports; take packets (`poll`) when `next_at_ns` says."""

    def __init__(self, *, cross_parity: bool = False) -> None:
        self.cross_parity = cross_parity
        """Whether the other end takes parity over several frames."""
        self.path_mtu: PathMtu | None = None
        """Where the other end takes packets of any size, which size the path carries."""
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
        self._overhead_bytes = OVERHEAD_BYTES
        self._room_ns = 0
        self._window_bytes = 0.0
        self._size_window()
        self._timed_out: list[int] = []  # by the last time-out, which may be the first of an outage

    @property
    def message_bytes(self) -> int:
        """What frames are cut to: what the path is known to carry, or what every version knows."""
        return MAX_MESSAGE_BYTES if self.path_mtu is None else self.path_mtu.message_bytes

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
            and self._flight.nbytes < self._window_bytes
            and (
                self._flight.age_ns(now_ns) < self._room_ns + STALL_NS
                # A queue that drains is known by what arrives: its last packet need not be told of.
                or now_ns - self._flight.news_at_ns < STALL_NS
            )
        )

    def _size_window(self) -> None:
        """How long packets may be under way, and how many bytes of them: once for each news."""
        # Longer than this, more would only queue behind what is under way.
        self._room_ns = self._flight.least_rtt_ns + self._copa.tolerated_queue_ns + MAX_QUEUE_NS
        if self._flight.timeouts > 1:  # of an outage a single frame asks whether it is over
            self._window_bytes = 1.0
        else:
            carried_bytes = self._copa.carried_rate * self._room_ns / 1e9
            self._window_bytes = max(LEAST_WINDOW_BYTES, carried_bytes)

    def _may_repair(self) -> bool:
        return self._queue.repairs > 0 and self._flight.nbytes < self._window_bytes

    # -- frames out -------------------------------------------------------------------------------

    def hand_over(self, frame_id: int, data: bytes, now_ns: int) -> None:
        """A frame begins to leave.  Ids rise; `data` is 1 to `MAX_FRAME_BYTES` bytes."""
        sized = self.path_mtu is not None  # else the cut is what every version knows
        spare_bytes = WINDOW_SPARE_BYTES if sized and self.cross_parity else 0
        shape = cut(len(data), self.message_bytes, spare_bytes)
        if self._queue.empty:
            self._pacer.resume(now_ns)
        self._usage.on_frame(len(data), now_ns)
        frame = OutgoingFrame(frame_id, data, shape)
        window = self._queue.window(frame, self.message_bytes) if self.cross_parity else ()
        for block in frame.blocks:
            parity = self._parity(block.k, shape.blocks)
            block.fresh = block.k if window else min(symbol_limit(block.k), block.k + parity)
        self._queue.add(frame, window, parity)

    def _parity(self, k: int, blocks: int) -> int:
        loss, rtt_ns = self._loss, self._flight.rtt_ns
        if rtt_ns <= SHORT_RTT_NS or loss.share < LEAST_SHARE:
            return 0
        return parity_count(k, loss.share, loss.run, rtt_ns, self._usage.interval_ns, blocks)

    def cancel(self, frame_id: int) -> None:
        """Give a frame up: what has not left will not."""
        self._queue.forget(frame_id)

    def poll(self, now_ns: int) -> list[bytes]:
        """The messages that are to leave now, in order."""
        self._expire(now_ns)
        self._pacer.rate = self._copa.pacing_rate
        room_bytes = self._pacer.room_bytes(now_ns)
        if room_bytes < 0 or self._queue.empty:
            return []
        departure = self._queue.depart(
            now_ns,
            room_bytes=room_bytes,
            repair_bytes=self._window_bytes - self._flight.nbytes,
            sequence=self._sequence,
            kind=DATA if self.path_mtu is None else SIZED,
        )
        if departure.burst:
            self._flight.on_sent(departure.burst)
            self._sequence += len(departure.burst)
            self._usage.on_sent(departure.nbytes, now_ns)
            self._pacer.on_sent(departure.nbytes, now_ns)
        return departure.messages

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
        if self.path_mtu is not None:
            times.append(self.path_mtu.due_ns)
        return min(times, default=None)

    # -- what becomes of them ---------------------------------------------------------------------

    def on_ping(self, rtt_ns: int) -> None:
        """A ping came back; it tells the round trip before the first frame does."""
        if not self._reported:
            self._flight.on_ping(rtt_ns)
            self._copa.start(self._flight.rtt_ns)
            self._size_window()

    def on_report(self, report: Report, now_ns: int) -> None:
        """Take a report; raises `MalformedFrame` for one whose time can't be true."""
        if self._clock.check(report.at_ns, now_ns):
            self.begin_anew(now_ns)
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
        self._size_window()
        if self.path_mtu is not None and (news.lost or self.path_mtu.doubts):
            came = [arrival.sent.nbytes - OVERHEAD_BYTES for arrival in arrived]
            self.path_mtu.on_fates(came, [s.nbytes - OVERHEAD_BYTES for s in news.lost], now_ns)
        self._repair(news.lost, now_ns)
        self._prove(now_ns)

    def find_packet_size(self, now_ns: int, overhead_bytes: int) -> None:
        """The other end takes packets of any size: look for the one that the path carries.

        `overhead_bytes`: what is between a message and its IP packet.
        """
        self._overhead_bytes = overhead_bytes
        self.path_mtu = PathMtu(now_ns, overhead_bytes=overhead_bytes)

    def begin_anew(self, now_ns: int, overhead_bytes: int | None = None) -> None:
        """The path is another one, or was silent for long: nothing measured of it holds any more.

        A machine that slept comes back with a clock that stood still.
        """
        if self.path_mtu is not None:
            if overhead_bytes is not None:
                self._overhead_bytes = overhead_bytes
            self.path_mtu.reset(now_ns, overhead_bytes=self._overhead_bytes)
        self._clock = ClockCheck()
        self._copa = Copa()
        self._copa.start(self._flight.rtt_ns)
        self._size_window()
        self._proven, self._unproven_since_ns = False, None

    def poll_probes(self, now_ns: int) -> list[bytes]:
        """The probes of the path's packet size that are to leave now."""
        if self.path_mtu is None or now_ns < self.path_mtu.due_ns:
            return []
        return self.path_mtu.poll(now_ns, self._flight.rtt_ns)

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
            self._size_window()
            if self._flight.timeouts > 1:  # an outage: the rate begins again
                self._proven, self._unproven_since_ns = False, None
            self._timed_out = [sent.sequence for sent in news.lost]
            if self.path_mtu is not None:
                self.path_mtu.on_fates(
                    [], [sent.nbytes - OVERHEAD_BYTES for sent in news.lost], now_ns
                )
            self._repair(news.lost, now_ns)
        self._queue.expire(now_ns)
