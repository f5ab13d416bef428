"""What a path does to packets: the figures of one moment, and how they change over time."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from shared.errors import BadInput

__all__ = ["Impairment", "Schedule", "ImpairmentStep"]


@dataclass(frozen=True, slots=True)
class Impairment:
    """What one direction does to packets.  A size is that of the IP packet, without framing.

    Raises `BadInput` for figures that contradict each other or make no sense.
    """

    delay_ms: float = 0.0  # one way, after the bottleneck
    jitter_ms: float = 0.0  # the delay varies by at most so much to either side, uniformly
    jitter_period_ms: float = 0.0  # how long the delay takes to move to a new value; 0: each packet
    keep_order: bool = True  # jitter may not let a packet overtake another
    loss: float = 0.0  # share of packets lost, each on its own
    burst_loss: float = 0.0  # share of packets lost in bursts, in the long run
    burst_packets: float = 1.0  # mean length of the bad state, in packets
    burst_density: float = 1.0  # share of packets lost while in the bad state
    reorder: float = 0.0  # share of packets held back by reorder_ms, so that others overtake
    reorder_ms: float = 0.0
    duplicate: float = 0.0  # share of packets delivered twice
    rate_mbit: float | None = None  # 10^6 bits a second; None: no bottleneck
    queue_ms: float | None = None  # a packet that would wait longer for its turn is dropped
    queue_bytes: int | None = None  # what would not fit, the packet in service included, is dropped
    outage: bool = False  # nothing offered gets through

    def __post_init__(self) -> None:
        for name in ("delay_ms", "jitter_ms", "jitter_period_ms", "reorder_ms"):
            _check(0 <= getattr(self, name) <= 60_000, f"{name} must be 0 to 60,000")
        for name in ("loss", "reorder", "duplicate"):
            _check(0 <= getattr(self, name) <= 1, f"{name} is a share, 0 to 1 (1 % is 0.01)")
        _check(self.jitter_ms <= self.delay_ms, "jitter_ms can't be more than delay_ms")
        _check(self.burst_packets >= 1, "burst_packets must be 1 or more")
        _check(0 < self.burst_density <= 1, "burst_density must be above 0, up to 1")
        _check(
            self.burst_loss >= 0 and self._bad <= 0.5,
            "burst_loss must be 0 up to half of burst_density",
        )
        if self.rate_mbit is None:
            unused = self.queue_ms is None and self.queue_bytes is None
            _check(unused, "a queue needs a rate_mbit to wait for")
            return
        _check(0.001 <= self.rate_mbit <= 100_000, "rate_mbit must be 0.001 to 100,000")
        _check(
            (self.queue_ms is None) != (self.queue_bytes is None),
            "a rate needs a bound of its queue: give queue_ms or queue_bytes, not both",
        )
        _check(self.queue_ms is None or self.queue_ms >= 0, "queue_ms must be 0 or more")
        _check(
            self.queue_bytes is None or self.queue_bytes >= 1500,
            "queue_bytes must be 1,500 or more: a packet has to fit",
        )

    @property
    def _bad(self) -> float:
        """Share of packets that meet the bad state."""
        return self.burst_loss / self.burst_density

    @property
    def leave_bad(self) -> float:
        """Chance, at each packet, to leave the bad state."""
        return 1 / self.burst_packets

    @property
    def enter_bad(self) -> float:
        """Chance, at each packet, to enter the bad state; from the balance of the chain."""
        return self._bad / (1 - self._bad) * self.leave_bad

    @property
    def mean_loss(self) -> float:
        """Share of packets lost behind the bottleneck in the long run, outages apart."""
        return 1 - (1 - self.loss) * (1 - self.burst_loss)


def _check(right: bool, message: str) -> None:
    if not right:
        raise BadInput(f"impaired path: {message}")


@dataclass(frozen=True, slots=True)
class ImpairmentStep:
    """From `at_s` seconds after the beginning on, the path does this."""

    at_s: float
    impairment: Impairment


@dataclass(frozen=True, slots=True)
class Schedule:
    """What a path does over time: steps in order, the first at 0; each holds until the next."""

    steps: tuple[ImpairmentStep, ...]

    def __post_init__(self) -> None:
        times = [step.at_s for step in self.steps]
        _check(bool(times) and times[0] == 0, "the first step of a schedule is at second 0")
        _check(
            all(a < b for a, b in pairwise(times)),
            "the steps of a schedule must follow each other in time",
        )

    @classmethod
    def constant(cls, impairment: Impairment) -> Schedule:
        """The same from beginning to end."""
        return cls((ImpairmentStep(0.0, impairment),))

    def as_json(self) -> list[dict[str, Any]]:
        """The steps as plain values."""
        return [asdict(step) for step in self.steps]

    @classmethod
    def from_json(cls, steps: list[dict[str, Any]]) -> Schedule:
        """The schedule that `as_json` made these of."""
        return cls(
            tuple(ImpairmentStep(step["at_s"], Impairment(**step["impairment"])) for step in steps)
        )
