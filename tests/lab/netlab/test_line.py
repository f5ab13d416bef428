from __future__ import annotations

from lab.netlab.impairment import Impairment, ImpairmentStep, Schedule
from lab.netlab.line import SAMPLE_NS, Line

MS = 1_000_000


def packet(number: int, *, size: int = 100, protocol: int = 17) -> bytes:
    header = bytearray(20)
    header[9] = protocol
    header[12:20] = bytes([10, 77, 1, 1, 10, 77, 2, 1])
    return (bytes(header) + number.to_bytes(4, "big")).ljust(size, b"\0")


def line(impairment: Impairment, *steps: ImpairmentStep, now_ns: int = 0) -> Line:
    return Line(Schedule((ImpairmentStep(0, impairment), *steps)), seed=1, now_ns=now_ns)


def test_packets_come_out_whole_when_due_and_not_before() -> None:
    way = line(Impairment(delay_ms=5))
    assert way.next_ns is None
    way.take(packet(1), 0)
    way.take(packet(2), MS)
    assert way.next_ns == 5 * MS
    assert way.due(5 * MS - 1) == []
    assert way.due(5 * MS) == [packet(1)]
    assert way.next_ns == 6 * MS
    assert way.due(60 * MS) == [packet(2)]
    assert way.next_ns is None


def test_packets_due_within_the_margin_are_handed_over() -> None:
    way = line(Impairment(delay_ms=5))
    way.take(packet(1), 0)
    assert way.due(4 * MS, early_ns=MS - 1) == []
    assert way.due(4 * MS, early_ns=MS) == [packet(1)]
    assert way.counters().late_mean_ms == -1


def test_packets_due_at_the_same_time_keep_their_order() -> None:
    way = line(Impairment(delay_ms=5))
    sent = [packet(number) for number in (9, 3, 7, 1)]
    for each in sent:
        way.take(each, 0)
    assert way.due(5 * MS) == sent


def test_a_held_back_packet_is_overtaken() -> None:
    way = line(Impairment(delay_ms=1, reorder=0.5, reorder_ms=3))
    sent = [packet(number) for number in range(50)]
    for number, each in enumerate(sent):
        way.take(each, number * MS)
    came = way.due(1000 * MS)
    assert sorted(came) == sent and came != sent
    assert way.counters().held_back > 0


def test_counters_add_up_and_tell_flows_apart() -> None:
    way = line(Impairment(delay_ms=1, loss=0.2, rate_mbit=5, queue_ms=20, duplicate=0.1))
    for number in range(400):
        way.take(packet(number, size=1000, protocol=6 if number % 2 else 17), number * MS)
    way.due(399 * MS)
    counts = way.counters()
    assert counts.offered_packets == 400 and counts.offered_bytes == 400_000
    assert counts.lost and counts.queue_dropped and counts.duplicated and counts.in_flight
    came = 400 + counts.duplicated - counts.lost - counts.queue_dropped
    assert counts.delivered_packets == came - counts.in_flight
    assert counts.delivered_bytes == 1000 * counts.delivered_packets
    assert set(counts.flows) == {"udp 10.77.1.1 > 10.77.2.1", "tcp 10.77.1.1 > 10.77.2.1"}
    assert sum(counts.flows.values()) == counts.delivered_bytes
    assert 0 < counts.max_queue_ms <= 20


def test_lateness_is_told() -> None:
    way = line(Impairment())
    way.take(packet(1), 0)
    way.take(packet(2), 0)
    way.due(3 * MS)
    counts = way.counters()
    assert (counts.late_mean_ms, counts.late_max_ms, counts.late_packets) == (3, 3, 2)


def test_a_short_or_foreign_packet_is_carried_all_the_same() -> None:
    way = line(Impairment())
    way.take(b"\x00", 0)
    assert way.due(0) == [b"\x00"]
    assert way.counters().flows == {"other": 1}


def test_the_series_holds_what_happened_in_each_interval() -> None:
    slow = Impairment(rate_mbit=0.8, queue_bytes=50_000)
    way = line(slow, ImpairmentStep(0.2, Impairment(outage=True)), now_ns=7 * MS)
    way.begin(1000 * MS)
    assert way.sample(1000 * MS) == 1000 * MS + SAMPLE_NS
    for number in range(30):
        now = 1000 * MS + number * 10 * MS
        way.due(now)
        way.sample(now)
        way.take(packet(number, size=1000), now)
    way.due(1300 * MS)
    assert way.sample(1300 * MS) == 1400 * MS
    series = way.series()
    assert [sample.at_s for sample in series] == [0.1, 0.2, 0.3]
    assert [sample.offered_packets for sample in series] == [10, 10, 10]
    assert [sample.outage_dropped for sample in series] == [0, 0, 10]
    assert sum(sample.delivered_bytes for sample in series) == way.counters().delivered_bytes
    assert series[0].queue_bytes == 0 and series[1].offered_bytes == 10_000
    assert sum(sample.flows.get("udp 10.77.1.1 > 10.77.2.1", 0) for sample in series) == 20_000


def test_after_a_pause_no_sample_is_missing() -> None:
    way = line(Impairment())
    way.sample(10 * SAMPLE_NS + 1)
    assert [sample.at_s for sample in way.series()] == [round(0.1 * n, 3) for n in range(1, 11)]


def test_beginning_again_counts_from_zero_and_keeps_what_is_under_way() -> None:
    way = line(Impairment(delay_ms=5))
    way.take(packet(1), 0)
    way.sample(SAMPLE_NS)
    way.begin(SAMPLE_NS)
    assert way.counters().offered_packets == 0 and way.series() == []
    assert way.due(SAMPLE_NS) == [packet(1)]
