"""One direction with its packets: bytes and times in, due bytes out, and what was counted.

Pure as `lab.netlab.path`, which decides; this keeps the packets until they are due, counts what
came out by flow, and takes a sample of everything each 100 ms.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass, field
from heapq import heappop, heappush

import numpy as np

from lab.netlab.impairment import Schedule
from lab.netlab.path import Path, PathCounters

__all__ = ["SAMPLE_NS", "Line", "LineCounters", "Sample"]

SAMPLE_NS = 100_000_000  # between samples of the series
_LATE_NS = 1_000_000  # a delivery later than this is counted: it would show in a latency figure
_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp"}


@dataclass(frozen=True, slots=True)
class LineCounters:
    """Totals of one direction since `begin`.  Packets are IP packets, bytes are theirs."""

    offered_packets: int
    offered_bytes: int
    delivered_packets: int  # duplicates counted
    delivered_bytes: int
    lost: int
    queue_dropped: int
    outage_dropped: int
    duplicated: int
    held_back: int
    in_flight: int  # accepted, not yet delivered
    max_queue_bytes: int
    max_queue_ms: float
    flows: dict[str, int]  # "udp 10.77.1.1 > 10.77.2.1": bytes delivered
    late_mean_ms: float  # how much later than decided packets were handed over (negative: before)
    late_max_ms: float
    late_packets: int  # by more than 1 ms


@dataclass(frozen=True, slots=True)
class Sample:
    """What happened in the 100 ms before `at_s` seconds after the beginning."""

    at_s: float
    offered_bytes: int
    delivered_bytes: int
    offered_packets: int
    delivered_packets: int
    lost: int
    queue_dropped: int
    outage_dropped: int
    queue_bytes: int  # at the end of it
    queue_ms: float
    flows: dict[str, int] = field(default_factory=dict)  # bytes delivered


class Line:
    """One direction of the link."""

    def __init__(
        self, schedule: Schedule, *, seed: int | np.random.SeedSequence, now_ns: int
    ) -> None:
        self._path = Path(schedule, seed=seed)
        self._waiting: list[tuple[int, int, bytes]] = []  # a heap: (due, order of arrival, packet)
        self._order = 0
        self._count_from(now_ns)

    def begin(self, now_ns: int) -> None:
        """Start the schedule's clock (again), and count from zero; packets under way stay."""
        self._path.begin(now_ns)
        self._count_from(now_ns)

    def _count_from(self, now_ns: int) -> None:
        self._began = now_ns
        self._packets = 0
        self._bytes = 0
        self._flows: defaultdict[bytes, int] = defaultdict(int)
        self._late_ns = 0
        self._late_max_ns = 0
        self._late_packets = 0
        self._samples: list[Sample] = []
        self._sample_at = now_ns + SAMPLE_NS
        self._sampled = (PathCounters(), 0, 0, dict[bytes, int]())

    @property
    def next_ns(self) -> int | None:
        """When the next packet is due."""
        return self._waiting[0][0] if self._waiting else None

    def take(self, packet: bytes, now_ns: int) -> None:
        """A packet enters."""
        for at_ns in self._path.offer(len(packet), now_ns).at_ns:
            self._order += 1
            heappush(self._waiting, (at_ns, self._order, packet))

    def due(self, now_ns: int, *, early_ns: int = 0) -> list[bytes]:
        """The packets to hand over now, in order; also those that are due within `early_ns`."""
        waiting = self._waiting
        packets = []
        while waiting and waiting[0][0] <= now_ns + early_ns:
            at_ns, _, packet = heappop(waiting)
            late_ns = now_ns - at_ns
            self._late_ns += late_ns
            if late_ns > self._late_max_ns:
                self._late_max_ns = late_ns
            if late_ns > _LATE_NS:
                self._late_packets += 1
            self._bytes += len(packet)
            self._flows[packet[9:10] + packet[12:20]] += len(packet)  # of the IPv4 header
            packets.append(packet)
        self._packets += len(packets)
        return packets

    def counters(self) -> LineCounters:
        """The totals so far."""
        totals = asdict(self._path.counters)
        max_queue_ms = totals.pop("max_queue_ns") / 1e6
        return LineCounters(
            **totals,
            delivered_packets=self._packets,
            delivered_bytes=self._bytes,
            in_flight=len(self._waiting),
            max_queue_ms=max_queue_ms,
            flows={_flow(key): count for key, count in self._flows.items()},
            late_mean_ms=self._late_ns / 1e6 / self._packets if self._packets else 0.0,
            late_max_ms=self._late_max_ns / 1e6,
            late_packets=self._late_packets,
        )

    def sample(self, now_ns: int) -> int:
        """Take the samples that are due; returns when the next one is (ns)."""
        while self._sample_at <= now_ns:
            self._take_sample(self._sample_at)
            self._sample_at += SAMPLE_NS
        return self._sample_at

    def series(self) -> list[Sample]:
        """The samples so far."""
        return list(self._samples)

    def _take_sample(self, at_ns: int) -> None:
        before, packets, nbytes, flows = self._sampled
        total = self._path.counters
        queue_bytes, queue_ns = self._path.queue(at_ns)
        self._samples.append(
            Sample(
                at_s=round((at_ns - self._began) / 1e9, 3),
                offered_bytes=total.offered_bytes - before.offered_bytes,
                delivered_bytes=self._bytes - nbytes,
                offered_packets=total.offered_packets - before.offered_packets,
                delivered_packets=self._packets - packets,
                lost=total.lost - before.lost,
                queue_dropped=total.queue_dropped - before.queue_dropped,
                outage_dropped=total.outage_dropped - before.outage_dropped,
                queue_bytes=queue_bytes,
                queue_ms=round(queue_ns / 1e6, 3),
                flows={
                    _flow(key): count - flows.get(key, 0)
                    for key, count in self._flows.items()
                    if count != flows.get(key, 0)
                },
            )
        )
        self._sampled = (
            PathCounters(**asdict(total)),
            self._packets,
            self._bytes,
            dict(self._flows),
        )


def _flow(key: bytes) -> str:
    """`key`: protocol, source, destination, as they stand in an IPv4 header."""
    if len(key) < 9:
        return "other"
    protocol = _PROTOCOLS.get(key[0], str(key[0]))
    source, destination = (".".join(map(str, part)) for part in (key[1:5], key[5:9]))
    return f"{protocol} {source} > {destination}"
