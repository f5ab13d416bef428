"""When a live source stands still, what is told of it, and when it ends the session."""

from __future__ import annotations

import pytest

from sender.playback.standstill import REPEAT_EVERY_NS, STILL_AFTER_NS, StandStill
from shared.errors import SourceFailed

S = 1_000_000_000


def standing(*, fps: float = 30.0, timeout_s: float | None = None) -> StandStill:
    still = StandStill(0, fps=fps, timeout_ns=None if timeout_s is None else round(timeout_s * S))
    assert still.moved(5 * S) is None
    return still


def test_nothing_is_told_for_most_of_a_second() -> None:
    still = standing()
    assert still.look_ns == 5 * S + STILL_AFTER_NS
    assert still.look(still.look_ns - 1, 5 * S) is None
    assert STILL_AFTER_NS <= S


def test_a_picture_that_repeats_and_one_that_does_not_come_are_told_apart() -> None:
    repeating, silent = standing(), standing()
    at_ns = repeating.look_ns
    told = repeating.look(at_ns, at_ns - 30_000_000)
    assert told is not None
    assert (told.kind, told.text) == ("source_still", "the source stands still")
    assert (told.lasting, told.since_ns) == (True, 5 * S)
    told = silent.look(at_ns, 5 * S)
    assert told is not None
    assert told.text == "the source delivers no picture"


def test_it_is_looked_at_again_every_second_and_told_of_once() -> None:
    still = standing()
    assert still.look(still.look_ns, 5 * S) is not None
    for _ in range(5):
        at_ns = still.look_ns
        assert still.look(at_ns, 5 * S) is None
        assert still.look_ns == at_ns + REPEAT_EVERY_NS


def test_a_source_that_stops_repeating_its_picture_is_told_of_anew_and_since_the_same_time() -> (
    None
):
    still = standing()
    still.look(still.look_ns, still.look_ns)
    told = still.look(still.look_ns, 6 * S - 1)
    assert told is not None
    assert (told.text, told.since_ns) == ("the source delivers no picture", 5 * S)


def test_a_new_picture_ends_it_and_says_how_long_it_lasted() -> None:
    still = standing()
    still.look(still.look_ns, 5 * S)
    told = still.moved(17 * S)
    assert told is not None
    assert told.text == "the source gives new pictures again, after 12 s"
    assert (told.lasting, told.since_ns) == (False, 5 * S)
    assert still.moved(17 * S + 1) is None
    assert still.look_ns == 17 * S + 1 + STILL_AFTER_NS


def test_a_source_of_one_picture_a_second_does_not_stand_still_between_them() -> None:
    still = standing(fps=1.0)
    assert still.look(7 * S, 5 * S) is None
    assert still.look(8 * S, 5 * S) is not None


def test_what_the_source_has_told_by_itself_is_not_told_again() -> None:
    still = standing()
    assert still.look(still.look_ns, 5 * S, explained=True) is None
    assert still.moved(9 * S) is None, "nothing was told that could end"


@pytest.mark.parametrize(("heard_s", "what"), [(9.5, "the same picture"), (5.0, "no picture")])
def test_a_source_that_stands_still_too_long_has_failed(heard_s: float, what: str) -> None:
    still = standing(timeout_s=5.0)
    while still.look_ns < 10 * S:
        still.look(still.look_ns, round(heard_s * S))
    assert still.look_ns == 10 * S
    with pytest.raises(SourceFailed, match=f"delivered {what} for 5 s") as caught:
        still.look(10 * S, round(heard_s * S))
    assert "--source-timeout" in caught.value.hint


def test_a_new_picture_begins_the_timeout_anew_and_none_never_ends() -> None:
    still = standing(timeout_s=5.0)
    still.moved(9 * S)
    still.look(13 * S, None)
    for_ever = standing()
    for hours in range(1, 100):
        for_ever.look(hours * 3600 * S, None)
