"""How fast frames may leave: Copa, a delay-based congestion control.

Pure.  Arun and Balakrishnan, "Copa: Practical Delay-Based Congestion Control for the Internet",
NSDI 2018: the target rule and velocity of section 2.1; `Competition` has the mode switch of
section 2.2.  The rate aims at 1 / (delta * queueing delay), which leaves 1 / delta packets in the
queue, shares fairly with others like it, drains the queue regularly, and takes a random loss for
what it is; beside traffic that fills queues it turns delta down as TCP turns its window up.  What
differs here:

- delays are one-way (see `arrivals`);
- a queue shorter than the jitter of the path and of two busy event loops is none;
- a video is a train of packets a frame and is mostly limited by its encoder: the rate never goes
  beyond what recent trains were seen to arrive at, so idle links teach nothing (packet trains:
  Dovrolis et al., "What do packet dispersion techniques measure?", INFOCOM 2001); where frames are
  too small to be trains, not beyond twice what did arrive (as RFC 7661 and draft-ietf-rmcat-gcc
  bound an application-limited sender);
- a queue that is far too long cuts the rate at once to a part of the rate of arrival (the 0.85 of
  Google Congestion Control, draft-ietf-rmcat-gcc-02 section 5.5), since a picture can't wait for
  the velocity to build up; so does loss above 10 % (its section 6).

It paces nothing and holds no packets.
"""

from __future__ import annotations

from collections.abc import Sequence

from shared.link.arrivals import ArrivalMeter, Trains
from shared.link.congestion import CongestionControl
from shared.link.flight import Arrival
from shared.link.messages import PACKET_BYTES

__all__ = ["Competition", "Copa"]

TARGET_MOST_NS = 20_000_000  # 20 ms of queue, and no longer where nobody else fills it

INITIAL_PACKETS = 10  # a round trip, as TCP and QUIC start with (RFC 6928, RFC 9002)
INITIAL_LEAST = 75_000.0  # bytes/s: 0.6 Mbit/s, the least that ultrasound needs
INITIAL_MOST = 2_500_000.0  # bytes/s: 20 Mbit/s
MIN_RATE = 15_000.0  # bytes/s: 120 kbit/s, one small picture a second
MAX_RATE = 250_000_000.0  # bytes/s

ROUND_LEAST_NS = 20_000_000  # a round of control: reports come every 5 ms, whatever the round trip

BEYOND_SEEN = 1.12  # else two flows that share a path would each believe in what they have
BEYOND_USED = 2.0  # without a train: the next doubling then shows whether the path carries that

STEP_MOST = 0.5  # of the rate, a round: velocity doubles without end in the paper
EXCESS_NS = 20_000_000  # 20 ms beyond the target: a cut
CUT_TO = 0.85  # of the rate of arrival
CUT_LEAST = 0.3  # of the rate, at once
LOSSY = 0.10  # lost lately: beyond, loss counts as congestion
LOSS_MEMORY_PACKETS = 100
LOSS_MEMORY_NS = 500_000_000  # or so long: of a slow flow 100 packets are many seconds

COMPETE_MOST_NS = 250_000_000  # longest queue to keep up beside others; worse is no live picture

SLOW_START_GAIN = 2.0
PACING_GAIN = 1.4  # a frame is out well before the next one; the paper paces at twice the rate

# 1 / delta: packets left in the queue.  The paper's 2 drown in the jitter of an event loop; 6 are
# 7.5 ms at 8 Mbit/s, and where they would be longer than a picture can wait, the queue is that.
INVERSE_DELTA = 6.0

COMPETE_AFTER_NS = 1_000_000_000  # 1 s, or five rounds, without an empty queue: somebody fills it
EMPTY_MEMORY_NS = 1_000_000_000
EMPTY_OFTEN = 0.2  # of the last second; TCP too empties the queue at times
EMPTY_SHARE = 0.1  # of the longest queue seen lately: so short a one is empty
LONGEST_DECAY = 0.995  # a report


class Copa(CongestionControl):
    """Feed it arrivals, losses and time-outs; read `rate`, `pacing_rate` and `queue_ns`."""

    def __init__(self) -> None:
        self.rate = INITIAL_LEAST
        self.slow_start = True
        self.queue_ns = 0
        self._arrivals = ArrivalMeter()
        self._trains = Trains()
        self._ceiling: float | None = None  # bytes a second that trains were seen to arrive at
        self._competition = Competition()
        self._heard_at_ns = 0
        # velocity
        self._direction = 0
        self._velocity = 1.0
        self._round_at_ns = 0
        self._rounds_same_way = 0
        # cuts
        self._cut_at_ns = 0
        self._loss = 0.0

    @property
    def proven_rate(self) -> float:
        """Bytes a second that recent frames were seen to arrive at, if `rate` is beyond them."""
        ceiling = self._ceiling
        return self.rate if ceiling is None else max(MIN_RATE, min(self.rate, ceiling))

    @property
    def pacing_rate(self) -> float:
        """Bytes a second at which a burst leaves: above `rate`, so that it is over in time."""
        return self.rate * (SLOW_START_GAIN if self.slow_start else PACING_GAIN)

    @property
    def carried_rate(self) -> float:
        """Bytes a second that the path takes: what arrives, while a queue stands; else the rate.

        Where the path has become slower this knows it first: the rate follows a round later.
        """
        if self.queue_ns <= self._target_ns():
            return self.rate
        carried = self._arrivals.carried
        return self.rate if carried is None else min(self.rate, carried)

    @property
    def tolerated_queue_ns(self) -> int:
        """Delay that is not of our making: jitter, or the queue of whom it competes with."""
        if self._competition.on:
            return round(min(COMPETE_MOST_NS, max(self.queue_ns, self._target_ns())))
        return round(self._trains.jitter_ns)

    @property
    def competing(self) -> bool:
        """Whether somebody else keeps the queue full (section 2.2)."""
        return self._competition.on

    def start(self, rtt_ns: int) -> None:
        """The round trip is known and nothing else; ignored after the first report."""
        if not self._heard_at_ns:
            self.rate = _initial_rate(rtt_ns)

    def on_report(self, arrived: Sequence[Arrival], lost: int, rtt_ns: int, now_ns: int) -> None:
        """Packets `arrived` (in order of sending) and `lost` others did not, as just learnt.

        `lost` is less than nothing where some counted as lost have come after all.
        """
        self.start(rtt_ns)
        if not arrived:
            self._on_loss(0, lost, 0, rtt_ns, now_ns)
            return
        since_ns = max(0, now_ns - self._heard_at_ns) if self._heard_at_ns else LOSS_MEMORY_NS
        nbytes = self._arrivals.on_report(arrived, rtt_ns, since_ns, now_ns)
        self.queue_ns = self._arrivals.queue_ns
        for arrival in arrived:
            self._trains.add(arrival)
        self._ceiling = self._trains.ceiling()
        round_ns = max(rtt_ns, ROUND_LEAST_NS)
        self._competition.on_report(
            self.queue_ns,
            self._trains.jitter_ns,
            rate=self.rate,
            lost=lost,
            round_ns=round_ns,
            now_ns=now_ns,
        )
        self._on_loss(len(arrived), lost, since_ns, round_ns, now_ns)
        self._steer(nbytes, round_ns, now_ns)
        self.rate = min(MAX_RATE, max(MIN_RATE, self.rate))
        self._heard_at_ns = now_ns

    def on_timeout(self, timeouts: int, rtt_ns: int) -> None:
        """Nothing is heard; `timeouts` in a row.  One may be a stall, more are an outage."""
        if timeouts > 1:
            self.rate = min(self.rate, max(_initial_rate(rtt_ns), self.rate / 2))
            self.slow_start = True
            self._loss = 0.0  # an outage is none of the path's usual losses
            self._trains.clear()
            self._ceiling = self._trains.ceiling()
            self._arrivals.clear()
            self._velocity = 1.0

    # -- deciding ---------------------------------------------------------------------------------

    def _target_ns(self) -> float:
        """The queue that the target rule asks for at the present rate, jitter allowed for."""
        queue_ns = self._competition.inverse_delta * PACKET_BYTES / self.rate * 1e9
        if not self._competition.on:
            queue_ns = min(queue_ns, TARGET_MOST_NS)
        return queue_ns + self._trains.jitter_ns

    def _steer(self, nbytes: int, round_ns: int, now_ns: int) -> None:
        queue_ns, target_ns = self.queue_ns, self._target_ns()
        excess_ns = COMPETE_MOST_NS if self._competition.on else target_ns + EXCESS_NS
        if queue_ns > excess_ns:
            self.slow_start = False
            self._cut(round_ns, now_ns)
            return
        if self.slow_start:
            if queue_ns > target_ns:
                self.slow_start = False
            else:
                grown = min(self.rate + nbytes / round_ns * 1e9, self._limit(1.0))
                self.rate = max(self.rate, grown)
            return
        direction = 1 if queue_ns < target_ns else -1
        self._turn(direction, round_ns, now_ns)
        window = self.rate * (round_ns + queue_ns) / 1e9
        step = self._velocity * self._competition.inverse_delta * PACKET_BYTES * nbytes / window
        step = min(step / round_ns * 1e9, STEP_MOST * self.rate * nbytes / window)
        if direction < 0:
            self.rate -= step
        elif self._loss <= LOSSY:
            self.rate = max(self.rate, min(self.rate + step, self._limit(BEYOND_SEEN)))

    def _limit(self, beyond: float) -> float:
        """How far the rate may grow: `beyond` times the ceiling, or as far as its use justifies."""
        ceiling = self._ceiling
        return BEYOND_USED * self._arrivals.used if ceiling is None else beyond * ceiling

    def _turn(self, direction: int, round_ns: int, now_ns: int) -> None:
        """Velocity: doubled each round in the same direction from the third on (section 2.1)."""
        if direction != self._direction:
            self._direction, self._velocity, self._rounds_same_way = direction, 1.0, 0
            self._round_at_ns = now_ns
        elif now_ns - self._round_at_ns >= round_ns:
            self._round_at_ns = now_ns
            self._rounds_same_way += 1
            if self._rounds_same_way >= 3:
                self._velocity = min(self._velocity * 2, 2.0**20)

    def _cut(self, round_ns: int, now_ns: int) -> None:
        # A round later the cut shows (the round trip has the queue in it).
        if now_ns - self._cut_at_ns < round_ns:
            return
        carried = self._arrivals.carried
        carried = self.rate if carried is None else min(self.rate, carried)
        self.rate = max(CUT_LEAST * self.rate, CUT_TO * carried)
        self._cut_at_ns = now_ns
        self._trains.clear()
        self._ceiling = self._trains.ceiling()
        self._direction, self._velocity, self._rounds_same_way = -1, 1.0, 0

    def _on_loss(self, arrived: int, lost: int, since_ns: int, round_ns: int, now_ns: int) -> None:
        total = arrived + lost
        if total <= 0:
            return
        weight = total / LOSS_MEMORY_PACKETS
        if lost / total < self._loss:  # few packets may forgive sooner, but not accuse
            weight = max(weight, since_ns / LOSS_MEMORY_NS)
        weight = min(1.0, weight)
        self._loss = max(0.0, self._loss + (lost / total - self._loss) * weight)
        if (
            self._loss > LOSSY
            and lost > 0
            and now_ns - self._cut_at_ns >= max(round_ns, 100_000_000)
        ):
            self.rate *= 1 - self._loss / 2
            self._cut_at_ns = now_ns
            self.slow_start = False


def _initial_rate(rtt_ns: int) -> float:
    rate = INITIAL_PACKETS * PACKET_BYTES / max(rtt_ns, 1) * 1e9
    return min(INITIAL_MOST, max(INITIAL_LEAST, rate))


class Competition:
    """Whether somebody else keeps the path's queue full, and how long a queue to keep up then.

    A queue that never empties is filled by traffic that knows loss alone, and beside that delta
    goes up and down as TCP's window does.  Feed it each report; read `on` and `inverse_delta`.
    """

    def __init__(self) -> None:
        self.on = False  # whether somebody else keeps the queue full
        self.inverse_delta = INVERSE_DELTA  # packets to leave in the queue
        self._empty_at_ns = 0
        self._empty = 0.0  # how much of the last while the queue was empty
        self._longest_queue_ns = 0.0
        self._halved_at_ns = 0
        self._heard_at_ns = 0

    def on_report(
        self,
        queue_ns: int,
        jitter_ns: float,
        *,
        rate: float,
        lost: int,
        round_ns: int,
        now_ns: int,
    ) -> None:
        """The queue is `queue_ns` long at `rate` bytes a second, and `lost` packets were lost."""
        since_ns = min(now_ns - self._heard_at_ns, EMPTY_MEMORY_NS) if self._heard_at_ns else 0
        self._heard_at_ns = now_ns
        self._longest_queue_ns = max(float(queue_ns), self._longest_queue_ns * LONGEST_DECAY)
        empty = queue_ns <= max(EMPTY_SHARE * self._longest_queue_ns, jitter_ns)
        self._empty += (empty - self._empty) * since_ns / EMPTY_MEMORY_NS
        if empty or not self._empty_at_ns:
            self._empty_at_ns = now_ns
        if not self.on:
            if now_ns - self._empty_at_ns > max(5 * round_ns, COMPETE_AFTER_NS):
                # From where the rate is: what it takes to hold it in such a queue.
                self.on = True
                self.inverse_delta = max(INVERSE_DELTA, rate * queue_ns / 1e9 / PACKET_BYTES)
        elif self._empty > EMPTY_OFTEN:
            self.on, self.inverse_delta = False, INVERSE_DELTA
        elif lost > 0 and now_ns - self._halved_at_ns >= round_ns:
            self.inverse_delta = max(INVERSE_DELTA, self.inverse_delta / 2)
            self._halved_at_ns = now_ns
        else:
            self.inverse_delta += min(1.0, since_ns / round_ns)  # 1 a round
