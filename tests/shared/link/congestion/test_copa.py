"""Copa on a fluid bottleneck of one's own; with rivals and real frames in `test_sending.py`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shared.link.congestion.copa import (
    CUT_LEAST,
    INITIAL_LEAST,
    INITIAL_MOST,
    MIN_RATE,
    Copa,
)
from shared.link.flight import Arrival, Sent
from shared.link.messages import PACKET_BYTES

MS = 1_000_000
S = 1_000_000_000
RTT = 40 * MS
FRAME_NS = 33 * MS
THEIRS = 5_000 * S


class Bottleneck:
    """Frames of `share` of Copa's rate every 33 ms, reported one round trip later."""

    def __init__(self, capacity: Callable[[float], float], share: float = 0.9) -> None:
        self.copa = Copa()
        self.copa.start(RTT)
        self.capacity, self.share = capacity, share
        self.now = 10 * S
        self.free_at = 0.0
        self.frame = 0
        self.sequence = 0
        self.reports: list[tuple[float, list[Arrival], int]] = []
        self.queues: list[float] = []

    def run(self, seconds: float, lost: Callable[[int], bool] = lambda n: False) -> None:
        until = self.now + seconds * S
        while self.now < until:
            self._send_frame(lost)
            self.now += FRAME_NS
            while self.reports and self.reports[0][0] <= self.now:
                at, arrived, missing = self.reports.pop(0)
                self.copa.on_report(arrived, missing, RTT + self.copa.queue_ns, round(at))

    def _send_frame(self, lost: Callable[[int], bool]) -> None:
        packets = max(1, round(self.copa.rate * self.share * FRAME_NS / S / PACKET_BYTES))
        arrived, missing, at = [], 0, float(self.now)
        for _ in range(packets):
            begin = max(at, self.free_at)
            self.queues.append(begin - at)
            self.free_at = begin + PACKET_BYTES / self.capacity((self.now - 10 * S) / S) * S
            sent = Sent(self.sequence, round(at), PACKET_BYTES, self.frame, 0, 0)
            if lost(self.sequence):
                missing += 1
            else:
                arrived.append(Arrival(sent, round(self.free_at) + RTT // 2 + THEIRS))
            at += PACKET_BYTES / self.copa.pacing_rate * S
            self.sequence += 1
        self.frame += 1
        self.reports.append((self.free_at + RTT, arrived, missing))


def steady(rate: float) -> Callable[[float], float]:
    return lambda seconds: rate


@pytest.mark.parametrize(
    ("rtt_ms", "rate"),
    [(0.01, INITIAL_MOST), (40, 10 * PACKET_BYTES / 0.04), (2_000, INITIAL_LEAST)],
)
def test_it_starts_with_ten_packets_a_round_trip_within_bounds(rtt_ms, rate):
    copa = Copa()
    copa.start(round(rtt_ms * MS))
    assert copa.rate == pytest.approx(rate)


@pytest.mark.parametrize("capacity", [0.5e6, 1e6, 4e6])
def test_it_finds_what_the_path_carries_within_two_seconds_and_stays_there(capacity):
    path = Bottleneck(steady(capacity))
    path.run(2)
    assert 0.8 * capacity < path.copa.rate < 1.25 * capacity
    path.run(10)
    assert 0.8 * capacity < path.copa.rate < 1.25 * capacity


def test_the_queue_it_leaves_is_short_and_drained_regularly():
    path = Bottleneck(steady(1e6), share=1.0)
    path.run(3)
    path.queues.clear()
    path.run(10)
    assert sorted(path.queues)[len(path.queues) // 2] < 40 * MS
    assert min(path.queues) == 0


def test_random_loss_is_not_taken_for_congestion():
    path = Bottleneck(steady(1e6))
    path.run(10, lost=lambda n: n % 33 == 0)
    assert path.copa.rate > 0.8e6


def test_heavy_loss_is():
    path = Bottleneck(steady(1e6))
    path.run(3)
    path.run(3, lost=lambda n: n % 4 == 0)
    assert path.copa.rate < 0.6e6


def test_when_the_path_shrinks_the_rate_follows_at_once():
    path = Bottleneck(lambda s: 1e6 if s < 5 else 0.25e6)
    path.run(4.9)
    assert path.copa.rate > 0.8e6
    path.run(1.5)
    assert path.copa.rate < 0.4e6


def test_when_the_path_grows_the_rate_follows_in_seconds():
    path = Bottleneck(lambda s: 0.5e6 if s < 5 else 2e6)
    path.run(5)
    assert path.copa.rate < 0.7e6
    path.run(5)
    assert path.copa.rate > 1.2e6


def test_an_application_that_sends_little_is_not_led_to_believe_in_more_than_it_saw():
    path = Bottleneck(steady(1e6), share=0.3)
    path.run(20)
    assert path.copa.rate < 1.3e6


def test_an_application_that_sends_single_packets_learns_nothing_from_them():
    path = Bottleneck(steady(1e6), share=0.0001)
    path.run(1)
    before = path.copa.rate
    path.run(10)
    assert path.copa.rate <= before


def test_a_queue_that_somebody_else_keeps_full_makes_it_compete_and_an_empty_one_stop():
    path = Bottleneck(steady(1e6))
    path.run(2)
    copa, now = path.copa, path.now

    def report(delay: int) -> None:
        nonlocal now
        now += 20 * MS
        sent = Sent(0, now, PACKET_BYTES, now, 0, 0)
        copa.on_report([Arrival(sent, now + RTT // 2 + delay + THEIRS)], 0, RTT, now + RTT)

    for _ in range(30):
        report(80 * MS)
    assert not copa.competing
    for _ in range(50):
        report(80 * MS)
    assert copa.competing
    held = copa.rate
    for _ in range(100):
        report(80 * MS)
    assert copa.rate > 0.5 * held
    for _ in range(100):
        report(0)
    assert not copa.competing


def test_an_outage_slows_it_and_one_missed_report_does_not():
    path = Bottleneck(steady(1e6))
    path.run(3)
    before = path.copa.rate
    path.copa.on_timeout(1, RTT)
    assert path.copa.rate == before
    path.copa.on_timeout(2, RTT)
    assert path.copa.rate == pytest.approx(before / 2)
    for turn in range(3, 20):
        path.copa.on_timeout(turn, RTT)
    fresh = Copa()
    fresh.start(RTT)
    assert path.copa.rate == fresh.rate


def test_a_cut_is_bounded_and_made_once_a_round():
    path = Bottleneck(steady(1e6))
    path.run(3)
    before, now = path.copa.rate, path.now
    for step in range(5):
        sent = Sent(0, now, PACKET_BYTES, 9_999 + step, 0, 0)
        arrival = Arrival(sent, now + 2 * S + THEIRS + step)
        path.copa.on_report([arrival], 0, RTT, now + step)
    assert CUT_LEAST * before * 0.99 <= path.copa.rate < before


def test_reports_of_any_times_leave_a_rate_that_can_be_used():
    copa = Copa()
    copa.start(RTT)
    for at in (0, -(10**18), 10**18, 5, 2**63):
        copa.on_report([Arrival(Sent(0, 0, PACKET_BYTES, 0, 0, 0), at)], 1, RTT, 10 * S)
        assert copa.rate >= MIN_RATE
        assert copa.queue_ns >= 0


@pytest.mark.parametrize("at", [2**63, -(2**62)])
def test_one_report_of_an_impossible_time_is_forgotten(at):
    copa, now = Copa(), 10 * S

    def report(number: int, arrived: int) -> None:
        sent = Sent(number, now + number * MS, PACKET_BYTES, number // 20, 0, 0)
        copa.on_report([Arrival(sent, arrived)], 0, RTT, now + number * MS + RTT)

    report(0, at)
    for number in range(1, 12_000):
        report(number, now + number * MS + 10 * MS + 60 * MS * (number > 11_900))
    assert 50 * MS < copa.queue_ns < 70 * MS  # told from the true least delay


def test_frames_too_small_to_be_trains_raise_the_rate_to_twice_what_they_use():
    copa, now, number = Copa(), 10 * S, 0

    def frames(count: int, nbytes: int) -> None:
        nonlocal now, number
        for _ in range(count):
            now, number = now + 33 * MS, number + 1
            sent = Sent(number, now, nbytes, number, 0, 0)
            copa.on_report([Arrival(sent, now + RTT // 2)], 0, RTT, now + RTT)

    frames(1, 200)
    copa.rate = MIN_RATE
    frames(300, 200)
    assert copa.rate == MIN_RATE  # twice 6 kB/s is no reason to go beyond
    frames(300, 800)
    assert copa.rate == pytest.approx(2 * 800 / 0.033, rel=0.1)
