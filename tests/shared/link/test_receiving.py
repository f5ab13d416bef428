from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import MalformedFrame
from shared.link.events import ReceivedFrame
from shared.link.messages import (
    AGE_UNIT_NS,
    LEAST_MESSAGE_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_REPORTED,
    MAX_TOLD,
    Report,
    pack_report,
    parse_report,
)
from shared.link.receiving import (
    FRAME_FIRST_NS,
    LISTEN_NS,
    MAX_WAITING_FRAMES,
    MAX_WAITING_NS,
    REPEAT_AFTER_NS,
    REPORT_EVERY_NS,
    REPORT_EVERY_PACKETS,
    STALL_NS,
    TOLD_TIMES,
    ArrivalLog,
    FrameInbox,
    FrameReceiver,
)
from tests.shared.link.simulated_path import messages_of

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
    log.hurry(150)
    assert log.due_at_ns(incomplete=False) == 150 + FRAME_FIRST_NS
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
            assert len(log.report(0).ages) <= MAX_TOLD
    assert len(log.report(0).ages) == MAX_TOLD
    assert len(log._arrived) <= 2 * MAX_TOLD + 1


def test_the_largest_report_that_is_made_fits_the_smallest_path():
    assert len(pack_report(Report(0, 0, (1,) * MAX_TOLD))) <= LEAST_MESSAGE_BYTES


def test_after_a_gap_longer_than_a_report_the_newest_are_told():
    log = ArrivalLog()
    log.add(0, 0)
    log.report(0)
    log.add(3 * MAX_TOLD, MS)
    assert max(told(log.report(MS))) == 3 * MAX_TOLD


def test_very_old_arrivals_have_the_largest_age_and_clocks_that_step_back_none():
    log = ArrivalLog()
    log.add(0, 0)
    assert log.report(10**12).ages == (0xFFFF,)
    log.add(1, 10**12)
    assert log.report(10**12 - 5).ages[-1] == 1


def take(receiver: FrameReceiver, *messages: bytes, at: int = 0) -> list[bytes]:
    return [whole.data for message in messages for whole in receiver.on_packet(message, at)]


def test_a_frame_is_whole_with_its_last_packet():
    receiver = FrameReceiver()
    *first, last = messages_of(0, b"abc" * 1_000)
    assert take(receiver, *first) == []
    assert take(receiver, last) == [b"abc" * 1_000]


def test_what_has_arrived_is_reported_once_the_frame_is_handed_over():
    receiver = FrameReceiver()
    take(receiver, *messages_of(0, b"x"), at=100)
    assert receiver.next_at_ns() == 100 + FRAME_FIRST_NS
    assert receiver.wake(100 + FRAME_FIRST_NS - 1) is None
    message = receiver.wake(100 + FRAME_FIRST_NS)
    assert message is not None
    assert told(parse_report(message)) == {0}


def test_woken_much_too_late_it_listens_before_it_reports():
    receiver = FrameReceiver()
    first, second, *_ = messages_of(0, bytes(3_000))
    take(receiver, first)
    late = REPORT_EVERY_NS + STALL_NS + 1
    assert receiver.wake(late) is None
    assert receiver.next_at_ns() == late + LISTEN_NS
    take(receiver, second, at=late + 5)
    message = receiver.wake(late + LISTEN_NS)
    assert message is not None
    assert told(parse_report(message)) == {0, 1}


def test_frames_that_are_given_up_are_counted_by_how_they_failed():
    receiver = FrameReceiver()
    take(receiver, messages_of(0, bytes(3_000))[0], messages_of(64, bytes(3_000))[0])
    receiver.poll(0)
    assert receiver.given_up == {"incomplete": 1}
    for frame_id in (65, 67, 65 + 66):
        take(receiver, *messages_of(frame_id, b"x"))
    receiver.poll(1)
    assert receiver.given_up["lost"] > 0


def test_a_frame_that_stays_incomplete_is_given_up_in_time():
    receiver, now = FrameReceiver(), 0
    take(receiver, messages_of(0, bytes(3_000))[0], *messages_of(1, b"newer"))
    while not receiver.given_up:
        at = receiver.next_at_ns()
        assert at is not None
        now = max(now, at)
        receiver.wake(now)
    assert receiver.given_up == {"incomplete": 1}
    assert now < 1_000 * MS


def test_frames_too_many_or_too_old_give_way_to_the_newest():
    inbox = FrameInbox()
    for i in range(MAX_WAITING_FRAMES + 3):
        inbox.add(ReceivedFrame(bytes([i]), i))
    assert inbox.pop().data == b"\x03"
    assert inbox.dropped == 3
    inbox.add(ReceivedFrame(b"new", MAX_WAITING_NS + 100))
    assert [frame.data for frame in iter(inbox.pop, None)] == [b"new"]
