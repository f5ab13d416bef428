from __future__ import annotations

import pytest

from shared.link.arrivals import (
    BASE_LIFE_NS,
    LATELY_NS,
    MAX_LATELY,
    USE_MEMORY_NS,
    ArrivalMeter,
)
from shared.link.flight import Arrival, Sent

MS = 1_000_000
S = 1_000_000_000
RTT = 40 * MS
THEIRS = 5_000 * S


class Reports:
    """Packets of 1,000 bytes, one a report, that take `RTT / 2` and a queue."""

    def __init__(self) -> None:
        self.meter = ArrivalMeter()
        self.now = 10 * S

    def __call__(self, queue_ns: int = 0, after_ns: int = 5 * MS) -> None:
        self.now += after_ns
        came_at_ns = self.now + RTT // 2 + queue_ns + THEIRS
        arrival = Arrival(Sent(0, self.now, 1_000, 0, 0, 0), came_at_ns)
        assert self.meter.on_report([arrival], RTT, after_ns, self.now + RTT) == 1_000


def test_the_queue_is_what_all_recent_packets_met_and_the_least_one_did_not():
    report = Reports()
    report()
    for _ in range(50):
        report(30 * MS)
    assert report.meter.queue_ns == 30 * MS
    report(10 * MS)
    assert report.meter.queue_ns == 10 * MS
    for _ in range(3):
        report(30 * MS)
    assert report.meter.queue_ns == 10 * MS  # the queue was that short a moment ago


def test_a_path_that_became_longer_has_no_queue_after_a_while():
    report = Reports()
    report()
    for _ in range(BASE_LIFE_NS // (100 * MS) + 10):
        report(30 * MS, after_ns=100 * MS)
    assert report.meter.queue_ns == 0


def test_after_an_outage_the_delays_before_it_say_nothing_of_the_queue():
    report = Reports()
    report()
    report.meter.clear()
    report(30 * MS)
    assert report.meter.queue_ns == 30 * MS


def test_what_is_carried_is_told_from_more_than_a_few_packets_of_the_last_moment():
    report = Reports()
    for _ in range(5):
        report()
    assert report.meter.carried is None
    for _ in range(2 * LATELY_NS // (2 * MS)):
        report(after_ns=2 * MS)
    assert report.meter.carried == pytest.approx(500_000)


def test_packets_that_came_all_at_once_do_not_tell_what_is_carried():
    report = Reports()
    for _ in range(20):
        report(after_ns=0)
    assert report.meter.carried is None


def test_use_is_averaged_and_fades():
    report = Reports()
    for _ in range(1_000):
        report(after_ns=5 * MS)
    assert report.meter.used == pytest.approx(200_000, rel=0.05)
    before = report.meter.used
    report(after_ns=USE_MEMORY_NS)
    assert report.meter.used == pytest.approx(before / 2.718 + 2_000, rel=0.01)


@pytest.mark.parametrize("at", [2**63, -(2**62)])
def test_one_impossible_time_costs_no_memory(at):
    meter, now = ArrivalMeter(), 10 * S
    for number in range(40_000):
        arrived = now + number * MS + 10 * MS if number else at
        sent = Sent(number, now + number * MS, 1_000, 0, 0, 0)
        meter.on_report([Arrival(sent, arrived)], RTT, MS, now + number * MS + RTT)
    assert meter.queue_ns == 0
    assert len(meter._lately) <= MAX_LATELY
    assert len(meter._base) < 30


def test_times_that_only_rise_a_little_cost_no_memory():
    meter = ArrivalMeter()
    for number in range(3 * MAX_LATELY):
        sent = Sent(number, 10 * S, 1_000, 0, 0, 0)
        meter.on_report([Arrival(sent, 20 * S + number)], RTT, 0, 10 * S + number)
    assert len(meter._lately) <= MAX_LATELY
    assert len(meter._recent) <= MAX_LATELY
