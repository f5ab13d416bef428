from __future__ import annotations

import pytest

from shared.errors import MalformedFrame
from shared.link.heartbeat import (
    ANSWERS_EVERY_NS,
    BELIEVED_AFTER,
    BURST_PINGS,
    BURST_SPACING_NS,
    LOST_AFTER_S,
    MAX_ANSWERS,
    PEER_SILENCE_S,
    PING_INTERVAL_NS,
    SLACK_NS,
    TICK_NS,
    ClockCheck,
    Heartbeat,
    Presence,
)
from shared.link.messages import Ping, Pong, pack_ping, pack_pong, parse_small

MS = 1_000_000
S = 1_000 * MS
SILENCE, LOST = 4 * S, 20 * S


class Beating:
    """A heartbeat that is woken whenever it asks for it."""

    def __init__(self, *, quiet: bool = True, late_ns: int = 0) -> None:
        self.heart = Heartbeat(silence_ns=SILENCE, lost_after_ns=LOST)
        self.quiet, self.late_ns = quiet, late_ns
        self.now = S
        self.sent: list[int] = []
        self.heart.start(self.now)

    def run(self, until: int, *, hears: bool = False) -> None:
        while True:
            at = self.heart.tick_at_ns
            assert at is not None
            if at + self.late_ns > until or self.heart.presence is Presence.LOST:
                break
            self.now = at + self.late_ns
            if hears:
                self.heart.heard_ns = self.now
            for message in self.heart.poll(self.now, quiet=self.quiet):
                ping = parse_small(message)
                assert isinstance(ping, Ping)
                self.sent.append(ping.t1)
        self.now = max(self.now, until)


def test_a_ping_is_answered_with_our_moment():
    heart = Heartbeat(silence_ns=SILENCE, lost_after_ns=LOST)
    answer = heart.take(pack_ping(77), 999 * MS)
    assert isinstance(answer, bytes)
    assert parse_small(answer) == Pong(77, 999 * MS, 999 * MS)


def test_it_begins_with_a_burst_that_calibrates_the_clock():
    beating = Beating()
    beating.run(S + BURST_PINGS * BURST_SPACING_NS)
    assert len(beating.sent) == BURST_PINGS
    for t1 in beating.sent:
        there = t1 + 5_000 * MS
        assert beating.heart.take(pack_pong(t1, there, there), t1 + 20) == 20
    estimate = beating.heart.clock.estimate
    assert beating.heart.clock.samples == BURST_PINGS
    assert estimate is not None
    assert abs(estimate.offset_ns - 5_000 * MS) <= estimate.bound_ns


def test_then_it_pings_once_a_second_in_quiet_gaps():
    beating = Beating()
    beating.run(21 * S, hears=True)
    assert 16 <= len(beating.sent) - BURST_PINGS <= 20


def test_an_answer_counts_once_and_only_if_it_was_asked_for():
    beating = Beating()
    beating.run(2 * S)
    heart, t1 = beating.heart, beating.sent[0]
    with pytest.raises(MalformedFrame):
        heart.take(pack_pong(t1 + 1, 0, 0), t1 + 20)
    assert heart.take(pack_pong(t1, 0, 5), t1 + 20) == 15
    with pytest.raises(MalformedFrame):
        heart.take(pack_pong(t1, 0, 0), t1 + 20)
    assert heart.clock.samples == 1


def test_an_answer_with_impossible_times_is_refused():
    beating = Beating()
    beating.run(2 * S)
    with pytest.raises(MalformedFrame):
        beating.heart.take(pack_pong(beating.sent[0], 500, 400), beating.sent[0] + 20)
    assert beating.heart.clock.estimate is None


def test_a_flood_of_pings_is_not_answered():
    heart = Heartbeat(silence_ns=SILENCE, lost_after_ns=LOST)
    answers = [heart.take(pack_ping(1), 0) for _ in range(5_000)]
    assert sum(answer is not None for answer in answers) == MAX_ANSWERS
    assert heart.take(pack_ping(1), ANSWERS_EVERY_NS) is not None


def test_a_ping_that_is_due_waits_a_while_for_a_frame_to_go_ahead_of():
    beating = Beating(quiet=False)
    beating.run(2 * S, hears=True)
    count = len(beating.sent)
    while not beating.heart.ping_if_due(beating.now):
        beating.run(beating.now + TICK_NS // 2, hears=True)
    assert len(beating.sent) == count
    assert beating.heart.ping_if_due(beating.now) == []


def test_where_there_is_neither_a_gap_nor_a_frame_it_goes_as_it_can():
    beating = Beating(quiet=False)
    beating.run(21 * S, hears=True)
    assert len(beating.sent) - BURST_PINGS >= 14


def test_silence_interrupts_and_much_of_it_ends():
    beating = Beating()
    beating.run(S + SILENCE - 1)
    assert beating.heart.presence is Presence.HEARD
    beating.run(S + SILENCE + TICK_NS)
    assert beating.heart.presence is Presence.SILENT
    beating.run(S + LOST - 1)
    assert beating.heart.presence is Presence.SILENT
    beating.run(S + LOST + 2 * TICK_NS)
    assert beating.heart.presence is Presence.LOST


def test_during_a_silence_it_pings_at_every_tick_so_that_its_end_is_noticed_soon():
    beating = Beating()
    beating.run(S + SILENCE + TICK_NS)
    count = len(beating.sent)
    beating.run(beating.now + 2 * S)
    assert len(beating.sent) - count == 8


def test_any_sign_of_life_ends_a_silence():
    beating = Beating()
    beating.run(S + SILENCE + S)
    beating.heart.heard_ns = beating.now
    beating.heart.heard_again()
    assert beating.heart.presence is Presence.HEARD
    beating.run(beating.now + SILENCE - 1)
    assert beating.heart.presence is Presence.HEARD


def test_time_in_which_we_were_held_up_ourselves_does_not_count_as_silence():
    beating = Beating()
    beating.run(2 * S, hears=True)
    heart, asleep = beating.heart, 60 * S
    heart.poll(beating.now + asleep, quiet=True)
    assert heart.presence is Presence.HEARD
    beating.now += asleep
    beating.run(beating.now + SILENCE + 2 * TICK_NS)
    assert heart.presence is Presence.SILENT


def test_checks_that_are_a_little_late_do_not_postpone_the_end():
    beating = Beating(late_ns=500 * MS)
    beating.run(S + LOST + 1_500 * MS)
    assert beating.heart.presence is Presence.LOST


def test_an_interruption_is_noticed_within_five_seconds():
    assert PEER_SILENCE_S * 1e9 + 2 * TICK_NS <= 5.0 * S
    assert PEER_SILENCE_S * 1e9 >= 3 * PING_INTERVAL_NS
    assert LOST_AFTER_S > 60


def test_before_it_starts_a_sign_of_life_is_no_trouble():
    heart = Heartbeat(silence_ns=SILENCE, lost_after_ns=LOST)
    heart.heard_ns = 5
    assert heart.poll(10, quiet=True) == []
    with pytest.raises(MalformedFrame):
        heart.take(pack_pong(1, 2, 3), 4)


@pytest.mark.parametrize("offset", [-(10**18), 0, 10**18])
def test_a_clock_may_be_anywhere_and_go_a_little_wrong(offset):
    check = ClockCheck()
    for second in range(0, 86_400, 600):
        check.check(offset + round(second * S * 1.0001), second * S)


@pytest.mark.parametrize("jump", [-SLACK_NS - 1, SLACK_NS + 1, 2**62])
def test_a_time_that_jumps_is_malformed_and_the_next_is_held_against_the_first_again(jump):
    check = ClockCheck()
    check.check(100 * S, S)
    with pytest.raises(MalformedFrame):
        check.check(100 * S + jump, S)
    check.check(101 * S, 2 * S)


@pytest.mark.parametrize("jump", [-60 * S, 60 * S])
def test_a_clock_that_jumped_once_and_goes_on_from_there_is_believed(jump):
    check = ClockCheck()
    check.check(100 * S, S)
    for report in range(1, BELIEVED_AFTER):
        with pytest.raises(MalformedFrame):
            check.check(100 * S + jump + report * MS, S + report * MS)
    assert check.check(101 * S + jump, 2 * S)
    assert not check.check(102 * S + jump, 3 * S)


def test_times_that_jump_each_elsewhere_are_never_believed():
    check = ClockCheck()
    check.check(100 * S, S)
    for report in range(1, 4 * BELIEVED_AFTER):
        with pytest.raises(MalformedFrame):
            check.check(100 * S + report * 10 * S, S + report * MS)


def test_a_report_may_be_late_or_its_clock_have_stood_still():
    check = ClockCheck()
    check.check(100 * S, S)
    check.check(100 * S - SLACK_NS, S)
    check.check(100 * S, S + SLACK_NS)


def test_a_clock_that_goes_at_another_rate_is_none():
    check = ClockCheck()
    check.check(0, 0)
    with pytest.raises(MalformedFrame):
        check.check(round(3_600 * S * 1.01), 3_600 * S)
