from __future__ import annotations

import pytest

from shared.errors import MalformedFrame
from shared.link.clockcheck import SLACK_NS, ClockCheck

S = 1_000_000_000


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
