"""The codec that a stream begins with, and when `auto` changes it."""

from __future__ import annotations

import numpy as np
import pytest

from sender.streamcodec import AUTO, REST_NS, STAND_NS, StreamCodec
from shared.codecs.choice import CodecChoice
from shared.frame import Frame

COLOUR = Frame(0, 0, np.zeros((480, 640, 3), np.uint8))
FPS = 30.0
ROOM, NONE = {"used_bps": 2e6, "allowed_bps": 40e6}, {"used_bps": 2e6, "allowed_bps": 2e6}


def auto() -> StreamCodec:
    codec = StreamCodec(AUTO, cores=4)
    assert codec.choose(COLOUR, FPS).codec == "h264"
    return codec


def review(codec: StreamCodec, now_ns: int, use: dict[str, float]) -> CodecChoice | None:
    return codec.review(now_ns, COLOUR, FPS, **use)


def test_what_was_asked_for_is_taken_without_a_reason_and_never_changed() -> None:
    codec = StreamCodec("h264", cores=4)
    assert codec.codec is None
    assert codec.choose(COLOUR, FPS) == CodecChoice("h264", "")
    for now_ns in (0, STAND_NS, 2 * STAND_NS):
        assert review(codec, now_ns, ROOM) is None


def test_auto_begins_with_a_reason() -> None:
    codec = StreamCodec(AUTO, cores=4)
    assert codec.choose(COLOUR, FPS).reason
    assert codec.codec is not None and codec.codec.name == "h264"


def test_a_better_codec_is_taken_once_it_has_been_better_for_a_while() -> None:
    codec = auto()
    assert review(codec, 0, ROOM) is None
    assert review(codec, STAND_NS - 1, ROOM) is None
    choice = review(codec, STAND_NS, ROOM)
    assert choice is not None and choice.codec == "h264-444"
    assert codec.codec is not None and codec.codec.name == "h264-444"


def test_a_moment_without_room_begins_the_wait_anew() -> None:
    codec = auto()
    review(codec, 0, ROOM)
    review(codec, STAND_NS - 1, NONE)
    assert review(codec, STAND_NS, ROOM) is None
    assert review(codec, 2 * STAND_NS - 1, ROOM) is None
    assert review(codec, 2 * STAND_NS, ROOM) is not None


def test_after_a_change_everything_rests_for_a_while() -> None:
    codec = auto()
    review(codec, 0, ROOM)
    assert review(codec, STAND_NS, ROOM) is not None
    back = [now for now in range(STAND_NS, 10 * REST_NS, 10**9) if review(codec, now, NONE)]
    assert back == [STAND_NS + REST_NS]


@pytest.mark.parametrize("period_s", [1, 2, 7, 30])
def test_a_path_that_wavers_changes_it_a_few_times_a_minute_at_most(period_s: int) -> None:
    codec = auto()
    changes = [
        at
        for at in range(60 * 30)
        if review(codec, at * 10**9 // 30, ROOM if at // 30 // period_s % 2 else NONE)
    ]
    assert len(changes) <= 3
