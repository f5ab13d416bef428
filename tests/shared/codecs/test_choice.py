"""`--codec auto`: when whole colour is taken up and given up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sender.streamcodec import FIRST_CODEC, CodecUse, first_codec, reconsider
from shared.codecs import CODECS

MBIT = 1_000_000


def test_there_is_a_codec_to_begin_with() -> None:
    assert FIRST_CODEC in CODECS


def test_what_to_begin_with_is_the_best_that_can_be_used() -> None:
    assert first_codec(CODECS) == FIRST_CODEC
    assert all(first_codec({name, "stills"}) == name for name in CODECS)
    assert first_codec({"stills"}) is None


def _use(
    used_bps: float, most_bps: float, *, spare_time: bool = True, behind: bool = False
) -> CodecUse:
    return CodecUse(used_bps, most_bps, spare_time, behind)


def _reconsidered(current: str, use: CodecUse, channels: int = 3) -> str:
    """What the stream goes on in."""
    choice = reconsider(current, channels, use)
    return current if choice is None else choice.codec


def test_whole_colour_is_taken_up_where_there_is_room_for_it() -> None:
    assert _reconsidered("h264", _use(2 * MBIT, 5 * MBIT)) == "h264-444"
    assert _reconsidered("h264", _use(2 * MBIT, 4 * MBIT)) == "h264"


def test_whole_colour_is_given_up_where_the_bitrate_binds_it() -> None:
    assert _reconsidered("h264-444", _use(4 * MBIT, 4 * MBIT)) == "h264"
    assert _reconsidered("h264-444", _use(3 * MBIT, 4 * MBIT)) == "h264-444"


def test_whole_colour_is_taken_up_with_time_to_spare_alone_and_given_up_where_it_is_late() -> None:
    room = {"used_bps": MBIT, "most_bps": 200 * MBIT}
    busy = CodecUse(**room, spare_time=False, behind=False)
    assert _reconsidered("h264", busy) == "h264"
    assert _reconsidered("h264-444", busy) == "h264-444"
    assert _reconsidered("h264-444", CodecUse(**room, spare_time=False, behind=True)) == "h264"


def test_grey_has_no_colour_to_make_whole() -> None:
    assert _reconsidered("h264", _use(MBIT, 200 * MBIT), channels=1) == "h264"


def test_nothing_is_known_before_the_first_pictures() -> None:
    assert _reconsidered("h264", _use(0, 200 * MBIT)) == "h264"


@pytest.mark.parametrize("codec", [name for name in CODECS if not name.startswith("h264")])
@given(used_bps=st.integers(0, 10**9), most_bps=st.integers(1, 10**9), late=st.booleans())
def test_other_codecs_are_kept(codec: str, used_bps: int, most_bps: int, late: bool) -> None:
    use = _use(used_bps, most_bps, spare_time=not late, behind=late)
    assert _reconsidered(codec, use) == codec


@given(
    halved_bps=st.integers(10_000, 10**8),
    cost=st.floats(1.6, 2.1),
    most_bps=st.integers(100_000, 10**8),
    start=st.sampled_from(["h264", "h264-444"]),
)
def test_a_steady_path_and_scene_switch_once_at_most(
    halved_bps: int, cost: float, most_bps: int, start: str
) -> None:
    def used_by(codec: str) -> int:
        wanted = halved_bps * (1 if codec == "h264" else cost)
        return round(min(wanted, most_bps))

    codec, switches = start, 0
    for _ in range(10):
        after = _reconsidered(codec, _use(used_by(codec), most_bps))
        switches += after != codec
        codec = after
    assert switches <= 1


def test_a_switch_says_why() -> None:
    up = reconsider("h264", 3, _use(400_000, 1_800_000))
    assert up is not None and up.reason == "whole colour, 0.4 of 1.8 Mbit/s used"
    down = reconsider("h264-444", 3, _use(1_750_000, 1_800_000))
    assert down is not None and down.reason == "colour lowered, 1.8 of 1.8 Mbit/s used"
    late = reconsider("h264-444", 3, _use(400_000, 1_800_000, behind=True))
    assert late is not None and late.reason == "colour lowered, encoder slow"
