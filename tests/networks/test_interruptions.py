"""A path, or a program, that is silent for a while: the session outlives it."""

from __future__ import annotations

import re

import pytest

from tests.networks.expectations import STALE_MS, after, long, of
from tests.networks.sessions import FPS, Outcome

pytestmark = [pytest.mark.xdist_group("networks-interruptions"), pytest.mark.timeout(240)]


def seconds_of(request: pytest.FixtureRequest) -> int:
    return int(re.findall(r"\d+", request.node.callspec.params["outcome"])[0])


@of(long("drop3"), "drop6", long("drop10"), long("drop60"), long("drop115"))
def test_the_picture_is_back_soon_after_a_path_that_lost_everything_for_a_while(
    outcome: Outcome, request: pytest.FixtureRequest
) -> None:
    assert outcome.statuses == (0, 0)
    assert outcome.longest_gap_s <= after(seconds_of(request))
    assert outcome.frames_after_the_gap > FPS
    assert outcome.oldest_ms < STALE_MS


@of(long("linkdown2"), "linkdown6", long("linkdown10"))
def test_the_picture_is_back_soon_after_a_cable_was_pulled_out_and_put_back(
    outcome: Outcome, request: pytest.FixtureRequest
) -> None:
    assert outcome.statuses == (0, 0)
    assert outcome.longest_gap_s <= after(seconds_of(request))
    assert outcome.frames_after_the_gap > FPS
    assert outcome.oldest_ms < STALE_MS


@of(
    long("stop-sender-3"), "stop-sender-6", long("stop-sender-60"),
    long("stop-receiver-3"), "stop-receiver-6", long("stop-receiver-60"),
    long("stop-both-3"), long("stop-both-6"), long("stop-both-60"),
)  # fmt: skip
def test_a_program_that_stood_still_goes_on_and_shows_nothing_old_as_live(
    outcome: Outcome, request: pytest.FixtureRequest
) -> None:
    assert outcome.statuses == (0, 0)
    assert outcome.longest_gap_s <= after(seconds_of(request))
    assert outcome.frames_after_the_gap > FPS
    assert outcome.oldest_ms < STALE_MS


@of(long("held-up-sender"), "held-up-receiver")
def test_a_program_whose_event_loop_is_blocked_again_and_again_streams_on(outcome: Outcome) -> None:
    assert outcome.statuses == (0, 0)
    assert "unexpected error" not in outcome.told
    assert outcome.longest_gap_s <= after(0.21)
    assert outcome.oldest_ms < STALE_MS


@of(long("cpu-sender"), long("cpu-receiver"))
def test_a_program_that_gets_half_of_a_processor_streams_on(outcome: Outcome) -> None:
    assert outcome.statuses == (0, 0)
    assert outcome.longest_gap_s <= after(0.1)


@of(long("lost-for-good"))
def test_a_path_that_never_comes_back_ends_both_programs_and_they_say_why(outcome: Outcome) -> None:
    assert outcome.statuses == (5, 5)
    for end in (outcome.sender, outcome.receiver):
        assert "nothing was heard" in end.output
        assert "Traceback" not in end.output
