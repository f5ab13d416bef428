from __future__ import annotations

import pytest

from shared.link.flight import (
    INITIAL_RTT_NS,
    MAX_REMEMBERED_LOST,
    REORDER_LEAST_NS,
    TIMEOUT_MOST_NS,
    Flight,
    News,
    Sent,
)
from shared.link.messages import AGE_UNIT_NS, Report

MS = 1_000_000
RATE = 1e6  # bytes a second: a packet of 1,000 bytes takes 1 ms
THEIRS = 77_000 * MS  # the other end's clock, ahead of ours
HALF_RTT = 20 * MS


class Wire:
    """Packets of 1,000 bytes sent a millisecond apart over a path of 20 ms each way."""

    def __init__(self, packets: int) -> None:
        self.flight = Flight()
        for sequence in range(packets):
            self.send(sequence, sequence * MS)

    def send(self, sequence: int, at: int) -> None:
        self.flight.on_sent([Sent(sequence, at, 1_000, 0, 0, sequence)])

    def report(self, at: int, *arrived: int, late: dict[int, int] | None = None) -> News:
        """A report that leaves at `at` (our clock), of packets that came on time or `late`."""
        times = {sequence: sequence * MS + HALF_RTT for sequence in arrived} | (late or {})
        ages = tuple(
            1 + (at - times[sequence]) // AGE_UNIT_NS if sequence in times else 0
            for sequence in range(max(times) + 1)
        )
        return self.flight.on_report(Report(0, at + THEIRS, ages), at + HALF_RTT, RATE)


def numbers(packets) -> list[int]:
    return [getattr(packet, "sent", packet).sequence for packet in packets]


def test_arrivals_are_told_once_with_their_times_and_free_their_bytes():
    wire = Wire(3)
    assert wire.flight.nbytes == 3_000
    news = wire.report(22 * MS, 0, 1, 2)
    assert numbers(news.arrived) == [0, 1, 2]
    assert [arrival.arrived_ns - THEIRS for arrival in news.arrived] == [20 * MS, 21 * MS, 22 * MS]
    assert wire.flight.nbytes == wire.flight.outstanding == 0
    assert wire.report(23 * MS, 0, 1, 2) == News()


def test_the_round_trip_leaves_out_what_the_report_waited():
    wire = Wire(3)
    assert wire.flight.rtt_ns == INITIAL_RTT_NS
    assert not wire.flight.measured
    wire.report(60 * MS, 0, 1, 2)
    assert wire.flight.rtt_ns == 40 * MS
    assert wire.flight.measured


def test_the_least_round_trip_is_forgotten_when_the_path_has_become_longer():
    wire = Wire(1)
    wire.report(20 * MS, 0)
    assert wire.flight.least_rtt_ns == 40 * MS
    for turn in range(1, 25):  # a second apart, 70 ms on the way there
        at = turn * 1_000 * MS
        wire.send(turn, at)
        report = Report(turn, at + 70 * MS + THEIRS, (1,))
        wire.flight.on_report(report, at + 90 * MS, RATE)
        assert wire.flight.least_rtt_ns == (40 if turn < 10 else 90) * MS or 5 <= turn < 12
    assert wire.flight.least_rtt_ns == 90 * MS


def test_before_the_first_report_the_quickest_ping_counts():
    flight = Flight()
    for rtt in (50, 30, 90):
        flight.on_ping(rtt * MS)
    assert flight.rtt_ns == 30 * MS


def test_a_gap_is_a_loss_once_it_is_older_than_reordering_explains():
    wire = Wire(5)
    assert wire.report(22 * MS, 0, 2).lost == []
    later = wire.report(22 * MS + REORDER_LEAST_NS + 2 * AGE_UNIT_NS, 0, 2)
    assert numbers(later.lost) == [1]
    assert wire.flight.nbytes == 2_000  # 3 and 4, not heard of yet


def test_a_lost_packet_that_comes_after_all_is_late_and_widens_what_is_tolerated():
    wire = Wire(4)
    assert numbers(wire.report(30 * MS, 0, 2, 3).lost) == [1]
    news = wire.report(36 * MS, 0, 2, 3, late={1: 35 * MS})
    assert numbers(news.late) == [1]
    assert news.arrived == news.lost == []
    for sequence in range(4, 8):
        wire.send(sequence, sequence * MS)
    assert wire.report(36 * MS, 0, 2, 3, 5, 6, 7, late={1: 35 * MS}).lost == []


def test_the_tail_of_a_burst_is_lost_when_a_report_says_that_it_should_be_there():
    wire = Wire(4)
    assert wire.report(25 * MS, 0, 1).lost == []
    assert numbers(wire.report(45 * MS, 0, 1).lost) == [2, 3]


def test_a_tail_that_comes_after_all_teaches_to_wait_longer():
    wire = Wire(4)
    assert numbers(wire.report(45 * MS, 0, 1).lost) == [2, 3]
    late = {2: 60 * MS, 3: 60 * MS}
    assert numbers(wire.report(61 * MS, 0, 1, late=late).late) == [2, 3]
    for sequence in (100, 101):
        wire.send(sequence, sequence * MS)
    assert wire.report(142 * MS, 0, 1, 100, late=late).lost == []
    assert numbers(wire.report(190 * MS, 0, 1, 100, late=late).lost) == [101]


def test_the_tail_has_the_time_that_the_path_needs_for_it():
    wire = Wire(0)
    for sequence in range(40):  # all at once: the path takes a millisecond for each
        wire.send(sequence, 0)
    times = {sequence: HALF_RTT + sequence * MS for sequence in range(10)}
    assert wire.report(35 * MS, late=times).lost == []
    assert wire.report(39 * MS, late=times).lost == []
    lost = numbers(wire.report(55 * MS, late=times).lost)
    assert lost[0] == 10
    assert len(lost) < 30


def test_a_path_that_has_become_slow_is_believed_before_the_rate():
    wire = Wire(0)
    for sequence in range(20):
        wire.send(sequence, 0)
    times = {sequence: HALF_RTT + sequence * 8 * MS for sequence in range(4)}  # 8 ms each, not 1
    assert wire.report(HALF_RTT + 32 * MS, late=times).lost == []
    assert wire.report(HALF_RTT + 40 * MS, late=times).lost == []


def test_what_left_before_the_reports_window_and_was_never_told_is_lost():
    wire = Wire(3)
    report = Report(2, 60 * MS + THEIRS, (1,))
    news = wire.flight.on_report(report, 80 * MS, RATE)
    assert numbers(news.arrived) == [2]
    assert numbers(news.lost) == [0, 1]


def test_reports_of_packets_that_were_never_sent_change_nothing():
    wire = Wire(1)
    wire.flight.on_report(Report(10**9, 0, (1, 2, 3)), 30 * MS, RATE)
    assert wire.flight.nbytes <= 1_000
    assert not wire.flight.measured


def test_without_any_report_all_is_lost_in_time_and_ever_later():
    wire = Wire(1)
    waits, now = [], 0
    for turn in range(1, 9):
        due = wire.flight.timeout_at_ns(RATE)
        waits.append(due - now)
        news = wire.flight.on_timeout(due)
        assert numbers(news.lost) == [turn - 1]
        assert wire.flight.timeouts == turn
        assert wire.flight.timeout_at_ns(RATE) is None
        now = due
        wire.send(turn, now)
    assert waits == sorted(waits)
    assert waits[-1] <= TIMEOUT_MOST_NS + INITIAL_RTT_NS


def test_a_report_ends_the_series_of_time_outs():
    wire = Wire(1)
    wire.flight.on_timeout(200 * MS)
    wire.flight.on_timeout(400 * MS)
    wire.report(410 * MS, late={0: 409 * MS})
    assert wire.flight.timeouts == 0


def test_the_age_is_that_of_the_oldest_packet_of_which_nothing_is_known():
    wire = Wire(3)
    assert wire.flight.age_ns(10 * MS) == 10 * MS
    wire.report(22 * MS, 0)
    assert wire.flight.age_ns(42 * MS) == 41 * MS
    assert Flight().age_ns(5) == 0


def test_the_memory_of_lost_packets_is_bounded():
    wire = Wire(0)
    for sequence in range(10 * MAX_REMEMBERED_LOST):
        wire.send(sequence, 0)
    wire.flight.on_timeout(10**9)
    assert len(wire.flight._lost) == MAX_REMEMBERED_LOST
    with pytest.raises(StopIteration):
        next(iter(wire.flight._outstanding))
