from __future__ import annotations

import pytest

from shared.link.congestion.copa import INVERSE_DELTA, Competition
from shared.link.messages import PACKET_BYTES

MS = 1_000_000
S = 1_000_000_000
JITTER = 4.0 * MS
ROUND = 50 * MS


class Reports:
    """A report every 10 ms, at 1 MB/s."""

    def __init__(self) -> None:
        self.competition = Competition()
        self.now = 10 * S

    def __call__(self, ms: int, queue_ms: float, lost: int = 0, round_ns: int = ROUND) -> None:
        for _ in range(ms // 10):
            self.now += 10 * MS
            self.competition.on_report(
                round(queue_ms * MS), JITTER, rate=1e6, lost=lost, round_ns=round_ns,
                now_ns=self.now,
            )  # fmt: skip


def competing() -> Reports:
    report = Reports()
    report(1_500, 80)
    assert report.competition.on
    return report


def test_it_begins_alone_with_the_usual_delta():
    competition = Competition()
    assert not competition.on
    assert competition.inverse_delta == INVERSE_DELTA


def test_a_queue_that_does_not_empty_for_a_second_is_somebody_elses():
    report = Reports()
    report(900, 80)
    assert not report.competition.on
    report(200, 80)
    assert report.competition.on


def test_over_a_long_round_trip_it_takes_five_rounds():
    report = Reports()
    report(1_900, 80, round_ns=400 * MS)
    assert not report.competition.on
    report(200, 80, round_ns=400 * MS)
    assert report.competition.on


@pytest.mark.parametrize("queue_ms", [0, 3.9, 7.9])
def test_a_queue_that_empties_at_times_is_not(queue_ms):
    report = Reports()
    for _ in range(10):
        report(500, 80)
        report(10, queue_ms)
    assert not report.competition.on


def test_it_begins_with_what_it_takes_to_hold_the_rate_in_such_a_queue():
    report = Reports()
    while not report.competition.on:
        report(10, 80)
    assert report.competition.inverse_delta == pytest.approx(1e6 * 0.08 / PACKET_BYTES)


def test_delta_goes_as_the_window_of_tcp_does():
    report = competing()
    before = report.competition.inverse_delta
    report(10 * ROUND // MS, 80)
    assert report.competition.inverse_delta == pytest.approx(before + 10)
    report(10, 80, lost=1)
    assert report.competition.inverse_delta == pytest.approx((before + 10) / 2)
    report(10, 80, lost=1)  # once a round
    assert report.competition.inverse_delta > (before + 10) / 2


def test_it_never_asks_for_less_than_alone():
    report = competing()
    for _ in range(20):
        report(ROUND // MS, 80, lost=1)
    assert report.competition.inverse_delta >= INVERSE_DELTA


def test_once_the_queue_is_often_empty_it_is_alone_again():
    report = competing()
    report(100, 0)
    assert report.competition.on
    report(300, 0)
    assert not report.competition.on
    assert report.competition.inverse_delta == INVERSE_DELTA
