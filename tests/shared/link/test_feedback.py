from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import MalformedFrame
from shared.link.feedback import (
    AGE_UNIT_NS,
    MAX_REPORTED,
    REPEAT_AFTER_NS,
    REPORT_EVERY_NS,
    REPORT_EVERY_PACKETS,
    TOLD_TIMES,
    ArrivalLog,
    Report,
    pack_report,
    parse_report,
)
from shared.link.packets import MAX_MESSAGE_BYTES

MS = 1_000_000


def told(report: Report) -> set[int]:
    return {report.begin + i for i, age in enumerate(report.ages) if age}


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**63),
    st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=MAX_REPORTED),
)
def test_a_report_survives_the_wire_in_one_packet(begin, at_ns, ages):
    report = Report(begin, at_ns, tuple(ages))
    message = pack_report(report)
    assert parse_report(message) == report
    assert len(message) <= MAX_MESSAGE_BYTES


def test_the_layout_is_the_documented_one():
    message = pack_report(Report(7, 8, (0, 1, 258)))
    assert message.hex(" ") == "02 00 00 00 07 00 03 00 00 00 00 00 00 00 08 00 00 00 01 01 02"


@pytest.mark.parametrize(
    "message",
    [
        b"\x02",
        pack_report(Report(0, 0, (1, 2)))[:-1],
        pack_report(Report(0, 0, (1, 2))) + b"\0",
        b"\x03" + pack_report(Report(0, 0, (1,)))[1:],
        pack_report(Report(0, 0, ())),
        pack_report(Report(0, 0, (1,) * (MAX_REPORTED + 1))),
    ],
)
def test_a_damaged_report_is_malformed(message):
    with pytest.raises(MalformedFrame):
        parse_report(message)


def test_a_report_tells_which_packets_came_and_how_long_ago():
    log = ArrivalLog()
    for sequence, at in ((0, 0), (1, 2 * MS), (4, 3 * MS)):
        log.add(sequence, at)
    report = log.report(5 * MS)
    assert report.begin == 0
    assert report.at_ns == 5 * MS
    units = MS // AGE_UNIT_NS
    assert report.ages == (1 + 5 * units, 1 + 3 * units, 0, 0, 1 + 2 * units)


def test_reports_are_due_after_some_time_some_packets_or_a_hurry():
    log = ArrivalLog()
    assert log.due_at_ns(incomplete=True) is None
    log.add(0, 100)
    log.add(1, 200)
    assert log.due_at_ns(incomplete=False) == 100 + REPORT_EVERY_NS
    log.hurry()
    assert log.due_at_ns(incomplete=False) == 100
    log.report(300)
    assert log.due_at_ns(incomplete=False) is None
    for sequence in range(2, 2 + REPORT_EVERY_PACKETS):
        log.add(sequence, 400)
    assert log.due_at_ns(incomplete=False) == 400


def test_each_arrival_is_told_several_times_so_that_reports_may_be_lost():
    log = ArrivalLog()
    reports = []
    for sequence in range(20):
        log.add(sequence, sequence * MS)
        reports.append(log.report(sequence * MS))
    for sequence in range(20 - TOLD_TIMES):
        assert sum(sequence in told(report) for report in reports) == TOLD_TIMES


def test_while_a_frame_is_incomplete_the_report_is_repeated_ever_more_rarely():
    log = ArrivalLog()
    log.add(0, 0)
    log.report(0)
    now, waits = 0, []
    while (due := log.due_at_ns(incomplete=True)) is not None:
        waits.append(due - now)
        now = due
        assert told(log.report(now)) == {0}
    assert tuple(waits) == REPEAT_AFTER_NS
    assert log.due_at_ns(incomplete=True) is None


def test_a_packet_that_was_overtaken_by_a_report_is_told_in_the_next():
    log = ArrivalLog()
    for sequence in range(TOLD_TIMES + 2):
        if sequence != 1:
            log.add(sequence, 0)
            log.report(0)
    log.add(1, 0)
    assert 1 in told(log.report(0))


def test_memory_and_reports_are_bounded_whatever_numbers_come():
    log = ArrivalLog()
    for sequence in (*range(5_000), 2**31, 5, 2**32 - 1):
        log.add(sequence, 0)
        if sequence % 7 == 0:
            assert len(log.report(0).ages) <= MAX_REPORTED
    assert len(log.report(0).ages) <= MAX_REPORTED
    assert len(log._arrived) <= 2 * MAX_REPORTED + 1


def test_very_old_arrivals_have_the_largest_age_and_clocks_that_step_back_none():
    log = ArrivalLog()
    log.add(0, 0)
    assert log.report(10**12).ages == (0xFFFF,)
    log.add(1, 10**12)
    assert log.report(10**12 - 5).ages[-1] == 1
