"""Video streams that reach the sender over a network and break off, change or stay silent.

Cameras that freeze, stutter or change their size are tested without a network, beside the sources.
"""

from __future__ import annotations

import pytest

from tests.networks.expectations import long, of
from tests.networks.sessions import Outcome

pytestmark = [pytest.mark.xdist_group("networks-losses"), pytest.mark.timeout(240)]


@of("source-closes")
def test_a_stream_whose_server_hangs_up_is_opened_again_and_both_people_are_told(
    outcome: Outcome,
) -> None:
    assert outcome.statuses == (0, 0)
    assert len(outcome.frames) > 20
    for end in (outcome.sender, outcome.receiver):
        assert any(words in end.output for words in ("broke off", "gone", "does not answer"))


@of("source-resizes")
def test_a_stream_that_changes_its_size_goes_on(outcome: Outcome) -> None:
    assert outcome.statuses == (0, 0)
    assert {(frame.width, frame.height) for frame in outcome.frames} == {(320, 240), (480, 360)}


@of(long("source-mute"))
def test_a_server_that_takes_the_connection_and_says_nothing_is_said_not_to_answer(
    outcome: Outcome,
) -> None:
    assert outcome.sender.status == 6
    assert "answer" in outcome.sender.output.partition("error: ")[2]
