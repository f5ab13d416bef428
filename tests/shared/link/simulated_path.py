"""A network in virtual time: delay, jitter, loss, a bottleneck with a bounded queue; all seeded.

For tests of the link's pure halves, and, run as a program, for tables of latency and goodput.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from shared.errors import MalformedFrame
from shared.link.messages import OVERHEAD_BYTES, Packet, cut, pack_packet, parse_report
from shared.link.receiving import FrameReceiver
from shared.link.sending import FrameSender

MS = 1_000_000
S = 1_000_000_000


class Simulation:
    """Events in the order of virtual time."""

    def __init__(self) -> None:
        self.now = 10 * S
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, when: int, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (max(when, self.now), self._count, action))

    def run(self, until: int) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, action = heapq.heappop(self._events)
            action()
        self.now = until


@dataclass
class Path:
    """One direction.  `rate` in bits a second, of the time in seconds since the start."""

    simulation: Simulation
    delay_ms: float = 0.0
    jitter_ms: float = 0.0  # each way from the delay
    reorders: bool = False  # whether jitter lets packets overtake each other
    loss: float = 0.0
    burst: float = 1.0  # mean length of a run of losses
    rate: Callable[[float], float] = lambda s: math.inf
    queue_ms: float = 200.0  # at the rate of the moment
    outage: tuple[float, float] = (math.inf, math.inf)  # seconds
    seed: int = 1
    _random: random.Random = field(init=False)
    _free_at: float = 0.0
    _bad: bool = False
    _last: int = 0
    _start: int = field(init=False)
    dropped: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._start = self.simulation.now

    def send(
        self, nbytes: int, deliver: Callable[[], None], lost: Callable[[], None] = lambda: None
    ) -> None:
        now = self.simulation.now
        seconds = (now - self._start) / S
        begin = max(now, self._free_at)
        if begin - now > self.queue_ms * MS or self.outage[0] <= seconds < self.outage[1]:
            self.dropped += 1
            lost()
            return
        rate = self.rate(seconds)
        self._free_at = begin + nbytes * 8 / rate * S
        if self._is_lost():
            self.dropped += 1
            lost()
            return
        jitter = self._random.uniform(-1, 1) * self.jitter_ms
        arrival = round(self._free_at + (self.delay_ms + jitter) * MS)
        if not self.reorders:
            arrival = self._last = max(arrival, self._last)
        self.simulation.at(arrival, deliver)

    def _is_lost(self) -> bool:
        if self.burst <= 1.0:
            return self._random.random() < self.loss
        if self._bad:
            self._bad = self._random.random() >= 1 / self.burst
        else:
            enter = self.loss / (1 - self.loss) / self.burst
            self._bad = self._random.random() < enter
        return self._bad


def messages_of(frame_id: int, data: bytes, first_sequence: int = 0) -> list[bytes]:
    """The packets of a frame as a sender would post them over a path that loses nothing."""
    frame = cut(len(data))
    padded = data + bytes(frame.symbols * frame.symbol_bytes - len(data))
    messages = []
    for block in range(frame.blocks):
        for symbol in range(frame.source_symbols(block)):
            number = frame.first_symbol(block) + symbol
            piece = padded[number * frame.symbol_bytes : (number + 1) * frame.symbol_bytes]
            sequence = first_sequence + number
            packet = Packet(sequence, frame_id, len(data), block, symbol, piece)
            messages.append(pack_packet(packet))
    return messages


class Stream:
    """Video from a FrameSender to a FrameReceiver over two paths, `fps` frames a second.

    `size` gives a frame's bytes from the sender's rate estimate in bits a second.  The receiver's
    clock runs `skew` ahead.  Event loops wake up to 1 ms late.
    """

    skew = 123_456_789_000

    def __init__(
        self,
        simulation: Simulation,
        there: Path,
        back: Path,
        *,
        fps: float = 30.0,
        size: Callable[[float], int] = lambda bps: 25_000,
        start_s: float = 0.0,
        stop_s: float = math.inf,
        rtt_hint_ms: float | None = None,
        cross_parity: tuple[bool, bool] = (False, False),  # sender, receiver
    ) -> None:
        self.simulation, self.there, self.back = simulation, there, back
        self.sender = FrameSender(cross_parity=cross_parity[0])
        self.receiver = FrameReceiver(cross_parity=cross_parity[1])
        self.malformed = 0
        self.fps, self.size = fps, size
        self.offered = 0
        self.handed: dict[int, int] = {}
        self.sizes: dict[int, int] = {}
        self.latency: dict[int, int] = {}  # ns, by frame
        self.shown: list[tuple[int, int]] = []  # (at, frame id)
        self.given_up = 0
        self.wire_bytes = 0
        self.rates: list[tuple[int, float, int]] = []
        self._start = simulation.now
        self._stop = stop_s
        self._polls: dict[str, int] = {}
        self._data = bytes(2_000_000)
        if rtt_hint_ms is not None:
            self.sender.on_ping(round(rtt_hint_ms * MS))
        simulation.at(simulation.now + round(start_s * S), self._frame)

    def _frame(self) -> None:
        now = self.simulation.now
        if (now - self._start) / S >= self._stop:
            return
        self.offered += 1
        path = self.sender.path(now)
        rate = path.rate_bps if path else 1e6
        self.rates.append((now, self.sender._copa.rate * 8, self.sender._copa.queue_ns))
        if self.sender.can_send(now):
            frame_id = len(self.handed)
            nbytes = self.size(rate)
            self.handed[frame_id] = now
            self.sizes[frame_id] = nbytes
            self.sender.hand_over(frame_id, self._data[:nbytes], now)
            self._pump()
        self.simulation.at(now + round(S / self.fps), self._frame)

    def _pump(self) -> None:
        now = self.simulation.now
        for message in self.sender.poll(now):
            nbytes = len(message) + OVERHEAD_BYTES
            self.wire_bytes += nbytes
            self.there.send(nbytes, lambda m=message: self._arrive(m))
        self._wake("sender", self.sender.next_at_ns(now), self._pump)

    def _wake(self, who: str, when: int | None, action: Callable[[], None]) -> None:
        if when is None:
            return
        when = max(self.simulation.now + MS // 10, -(-when // MS) * MS)  # timers of 1 ms
        if self._polls.get(who, -1) <= self.simulation.now or when < self._polls[who]:
            self._polls[who] = when

            def fire() -> None:
                if self._polls.get(who) == self.simulation.now:
                    self._polls[who] = -1
                    action()

            self.simulation.at(when, fire)

    def _arrive(self, message: bytes) -> None:
        now = self.simulation.now
        try:
            completed = self.receiver.on_packet(message, now + self.skew)
        except MalformedFrame:
            self.malformed += 1
            return
        for frame in completed:
            self.latency[frame.frame_id] = now - self.handed[frame.frame_id]
            self.shown.append((now, frame.frame_id))
        self._answer()

    def _answer(self) -> None:
        now = self.simulation.now
        report = self.receiver.poll(now + self.skew)
        self.given_up = sum(self.receiver.given_up.values())
        if report is not None:
            self.back.send(len(report) + OVERHEAD_BYTES, lambda: self._report(report))
        when = self.receiver.next_at_ns()
        self._wake("receiver", None if when is None else when - self.skew, self._answer)

    def _report(self, message: bytes) -> None:
        self.sender.on_report(parse_report(message), self.simulation.now)
        self._pump()

    # -- results ----------------------------------------------------------------------------------

    def newest_latencies(self) -> list[int]:
        """Latency of each frame that was the newest when it came (late ones are not shown)."""
        newest, kept = -1, []
        for _, frame_id in self.shown:
            if frame_id > newest:
                newest = frame_id
                kept.append(self.latency[frame_id])
        return kept

    def decodable(self) -> list[int]:
        """Latency of each frame that came, to when it and all before it were there."""
        latest, waited = 0, []
        for frame_id in sorted(self.latency):
            latest = max(latest, self.handed[frame_id] + self.latency[frame_id])
            waited.append(latest - self.handed[frame_id])
        return waited

    def longest_gap_ms(self) -> float:
        times = [at for at, _ in self.shown]
        return max((b - a for a, b in pairwise(times)), default=0) / MS

    def row(self) -> str:
        lat = sorted(self.latency.values())

        def p(q: float) -> float:
            return lat[min(len(lat) - 1, int(q * len(lat)))] / MS if lat else math.nan

        seconds = (self.simulation.now - self._start) / S
        good = sum(self.sizes[i] for i in self.latency) * 8 / seconds / 1e6
        repair = self.wire_bytes / max(1, sum(self.sizes.values()))
        share = 100 * len(lat) / max(1, self.offered)
        return (
            f"shown {len(lat):4d}/{self.offered:4d} ({share:5.1f}%) "
            f"handed {len(self.handed):4d} given up {self.given_up:3d} "
            f"p50 {p(0.5):6.1f} p95 {p(0.95):6.1f} p99 {p(0.99):6.1f} max {p(1):6.1f} ms "
            f"gap {self.longest_gap_ms():6.0f} goodput {good:6.2f} Mbit/s "
            f"wire/payload {repair:4.2f}"
        )


def fall(before: float, after: float, at_s: float) -> Callable[[float], float]:
    return lambda s: before if s < at_s else after


PROFILES: dict[str, dict[str, object]] = {
    "lan": {"delay_ms": 0.2, "rate": lambda s: 1e9},
    "clinic": {"delay_ms": 10, "loss": 0.001, "rate": lambda s: 20e6},
    "uplink": {"delay_ms": 20, "loss": 0.01, "rate": lambda s: 8e6},
    "4g": {"delay_ms": 30, "jitter_ms": 10, "loss": 0.01, "burst": 3, "rate": fall(5e6, 1.5e6, 10)},
    "4g-reordering": {
        "delay_ms": 30, "jitter_ms": 10, "reorders": True, "loss": 0.01, "burst": 3,
        "rate": fall(5e6, 1.5e6, 10),
    },
    "bad": {"delay_ms": 60, "loss": 0.03, "burst": 4, "rate": lambda s: 2e6},
    "bursts": {"delay_ms": 40, "loss": 0.01, "burst": 4, "rate": lambda s: 4e6},
    "bad bursts": {"delay_ms": 60, "loss": 0.03, "burst": 6, "rate": lambda s: 2e6},
    "outage": {"delay_ms": 20, "loss": 0.01, "rate": lambda s: 8e6, "outage": (8.0, 11.0)},
}  # fmt: skip


def paths(simulation: Simulation, profile: str, seed: int = 1) -> tuple[Path, Path]:
    there = Path(simulation, seed=seed, **PROFILES[profile])  # type: ignore[arg-type]
    back = Path(
        simulation, delay_ms=there.delay_ms, jitter_ms=there.jitter_ms, reorders=there.reorders,
        loss=there.loss, burst=there.burst, outage=there.outage, seed=seed + 1000,
    )  # fmt: skip
    return there, back


def encoder(most: int, share: float = 0.9, fps: float = 30) -> Callable[[float], int]:
    """Frames of `share` of the rate, at most `most` bytes each, that vary as an encoder's do."""
    dice = random.Random(7)
    return lambda bps: max(500, int(min(most, bps * share / fps / 8) * dice.uniform(0.8, 1.0)))


class RenoFlow:
    """A loss-based bulk TCP flow on the same bottleneck, packet by packet (RFC 5681)."""

    nbytes = 1500

    def __init__(self, simulation: Simulation, there: Path, delay_back_ms: float) -> None:
        self.simulation, self.there = simulation, there
        self._back = round(delay_back_ms * MS)
        self.window, self.threshold = 10.0, math.inf
        self.flying = 0
        self.received = 0
        self._sent = 0
        self._recover = -1
        simulation.at(simulation.now, self._fill)

    def _fill(self) -> None:
        while self.flying < self.window:
            number = self._sent
            self._sent += 1
            self.flying += 1
            self.there.send(
                self.nbytes,
                lambda n=number: self.simulation.at(
                    self.simulation.now + self._back, lambda: self._ack(n)
                ),
                lambda n=number: self.simulation.at(
                    self.simulation.now + self._back + round(self.there.queue_ms * MS / 2),
                    lambda: self._loss(n),
                ),
            )

    def _ack(self, number: int) -> None:
        self.flying -= 1
        self.received += self.nbytes
        self.window += 1.0 if self.window < self.threshold else 1.0 / self.window
        self._fill()

    def _loss(self, number: int) -> None:
        self.flying -= 1
        if number > self._recover:
            self.threshold = self.window = max(2.0, self.window / 2)
            self._recover = self._sent
        self._fill()


if __name__ == "__main__":
    import sys

    names = sys.argv[1:] or list(PROFILES)
    for name in names:
        for label, size in (("fixed 25 KB", lambda bps: 25_000), ("adaptive", encoder(25_000))):
            simulation = Simulation()
            there, back = paths(simulation, name)
            hint = 2 * there.delay_ms
            stream = Stream(simulation, there, back, size=size, rtt_hint_ms=hint)
            simulation.run(simulation.now + 20 * S)
            sys.stdout.write(f"{name:14s} {label:12s} {stream.row()}\n")
