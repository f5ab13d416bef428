"""The codec that a stream begins with, and when `auto` changes it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sender.streamcodec import AUTO, REST_NS, STAND_NS, CodecChoice, CodecUse, StreamCodec
from shared.codecs import CODECS

ROOM = CodecUse(used_bps=2e6, most_bps=40e6, spare_time=True, behind=False)
NONE = replace(ROOM, most_bps=2e6)
BEHIND = replace(ROOM, spare_time=False, behind=True)


def auto() -> StreamCodec:
    codec = StreamCodec(AUTO)
    choice = codec.begin()
    assert choice is not None and choice.codec == "h264"
    return codec


def whole() -> StreamCodec:
    """Gone over to whole colour at `STAND_NS`."""
    codec = auto()
    review(codec, 0, ROOM)
    assert review(codec, STAND_NS, ROOM) is not None
    assert name(codec) == "h264-444"
    return codec


def name(codec: StreamCodec) -> str:
    assert codec.codec is not None
    return codec.codec.name


def review(codec: StreamCodec, now_ns: int, use: CodecUse) -> CodecChoice | None:
    return codec.review(now_ns, 3, use)


def test_what_was_asked_for_is_taken_without_a_reason_and_never_changed() -> None:
    codec = StreamCodec("h264")
    assert codec.codec is None
    assert codec.begin() == CodecChoice("h264", "")
    for now_ns in (0, STAND_NS, 2 * STAND_NS):
        assert review(codec, now_ns, ROOM) is None
    assert codec.failed(0) is None
    assert codec.begin() is None


def test_auto_begins_with_a_reason() -> None:
    codec = StreamCodec(AUTO)
    choice = codec.begin()
    assert choice is not None and choice.reason
    assert name(codec) == "h264"


def test_a_better_codec_is_taken_once_it_has_been_better_for_a_while() -> None:
    codec = auto()
    assert review(codec, 0, ROOM) is None
    assert review(codec, STAND_NS - 1, ROOM) is None
    choice = review(codec, STAND_NS, ROOM)
    assert choice is not None and choice.codec == "h264-444"
    assert name(codec) == "h264-444"


def test_a_moment_without_room_begins_the_wait_anew() -> None:
    codec = auto()
    review(codec, 0, ROOM)
    review(codec, STAND_NS - 1, NONE)
    assert review(codec, STAND_NS, ROOM) is None
    assert review(codec, 2 * STAND_NS - 1, ROOM) is None
    assert review(codec, 2 * STAND_NS, ROOM) is not None


def test_after_a_change_everything_rests_for_a_while() -> None:
    codec = whole()
    back = [now for now in range(STAND_NS, 10 * REST_NS, 10**9) if review(codec, now, NONE)]
    assert back == [STAND_NS + REST_NS]


def test_what_the_machine_is_too_slow_for_is_given_up_at_once_and_for_good() -> None:
    codec = whole()
    choice = review(codec, STAND_NS + 1, BEHIND)
    assert choice is not None and choice.codec == "h264"
    assert all(review(codec, now, ROOM) is None for now in range(0, 10 * REST_NS, 10**9))


def test_what_fails_is_given_up_at_once_and_for_good() -> None:
    codec = whole()
    choice = codec.failed(STAND_NS + 1)
    assert choice == CodecChoice("h264", "h264-444 does not work here")
    assert all(review(codec, now, ROOM) is None for now in range(0, 10 * REST_NS, 10**9))
    assert codec.failed(10 * REST_NS) is None, "there is nothing before the first"


def test_for_other_receivers_it_begins_again_and_rests_no_more() -> None:
    codec = whole()
    choice = codec.begin()
    assert choice is not None and choice.codec == "h264"
    review(codec, STAND_NS, ROOM)
    assert review(codec, 2 * STAND_NS, ROOM) is not None
    assert auto().begin() is None, "it is in use already"


@pytest.mark.parametrize("period_s", [1, 2, 7, 30])
def test_a_path_that_wavers_changes_it_a_few_times_a_minute_at_most(period_s: int) -> None:
    codec = auto()
    changes = [
        at
        for at in range(60 * 30)
        if review(codec, at * 10**9 // 30, ROOM if at // 30 // period_s % 2 else NONE)
    ]
    assert len(changes) <= 3


# -- receivers that can't decode all -------------------------------------------------------------

ALL = frozenset(CODECS)


def test_whole_colour_is_not_taken_up_where_a_receiver_lacks_it() -> None:
    codec = auto()
    codec.usable = ALL - {"h264-444"}
    assert all(review(codec, now, ROOM) is None for now in range(0, 10 * REST_NS, 10**9))
    codec.usable = ALL
    assert any(review(codec, now, ROOM) for now in range(11 * REST_NS, 12 * REST_NS, 10**9))


def test_a_receiver_that_lacks_the_codec_in_use_changes_it_at_once_even_while_it_rests() -> None:
    codec = auto()
    review(codec, 0, ROOM)
    assert review(codec, STAND_NS, ROOM) is not None
    assert codec.replace(STAND_NS + 1) is None
    codec.usable = ALL - {"h264-444"}
    choice = codec.replace(STAND_NS + 1)
    assert choice == CodecChoice("h264", "a receiver has no h264-444")
    codec.usable = frozenset({"lossless", "jpeg", "stills"})
    choice = codec.replace(STAND_NS + 2)
    assert choice == CodecChoice("jpeg", "a receiver has no h264")


def test_what_stood_in_is_given_up_as_soon_as_all_have_better() -> None:
    codec = auto()
    codec.usable = frozenset({"lossless"})
    assert codec.replace(0) is not None
    codec.usable = frozenset({"lossless", "jpeg"})
    assert codec.replace(1) == CodecChoice("jpeg", "all receivers have jpeg")
    codec.usable = ALL
    assert codec.replace(2) == CodecChoice("h264", "all receivers have h264")
    assert codec.replace(3) is None


def test_a_stand_in_that_fails_is_not_tried_again() -> None:
    codec = auto()
    codec.usable = frozenset({"jpeg", "lossless"})
    assert codec.replace(0) is not None
    choice = codec.failed(1)
    assert choice == CodecChoice("lossless", "jpeg does not work here")
    assert all(codec.replace(now_ns) is None for now_ns in range(2, 5))
    choice = codec.failed(5)
    assert choice == CodecChoice("h264", "lossless does not work here"), "for those who have it"
    assert all(codec.replace(now_ns) is None for now_ns in range(6, 9))
    assert not codec.suits({"jpeg", "lossless"}, ALL)


def test_it_begins_with_what_all_have() -> None:
    codec = StreamCodec("auto")
    codec.usable = frozenset({"jpeg", "lossless"})
    assert codec.begin() == CodecChoice("jpeg", "a receiver has no h264")


def test_a_codec_that_was_asked_for_is_not_replaced() -> None:
    codec = StreamCodec("jpeg")
    codec.begin()
    codec.usable = frozenset({"h264"})
    assert codec.replace(0) is None


@pytest.mark.parametrize(
    ("asked_for", "features", "watching", "suits"),
    [
        ("auto", ALL, ALL, True),
        ("auto", {"jpeg", "stills"}, ALL, True),
        ("auto", {"jpeg"}, {"h264", "jpeg"}, True),
        ("auto", {"jpeg"}, {"h264", "stills"}, False),
        ("auto", {"stills", "notices"}, ALL | {"stills"}, False),
        ("auto", {"lossless"}, ALL, False),
        ("auto", {"av1", "stills"}, {"h264", "jpeg"}, False),
        ("auto", {"lossless"}, {"lossless"}, True),
        ("lossless", ALL, ALL, True),
        ("lossless", {"h264"}, ALL, False),
        ("lossless", {"lossless"}, {"lossless"}, True),
    ],
)
def test_a_receiver_suits_the_stream_if_a_codec_is_left_that_all_have(
    asked_for: str, features: set[str], watching: set[str], suits: bool
) -> None:
    assert StreamCodec(asked_for).suits(features, watching) is suits


def test_a_slow_codec_is_taken_for_one_who_watches_alone() -> None:
    assert StreamCodec("auto").suits({"lossless"}, ALL, alone=True)
    assert not StreamCodec("auto").suits({"stills"}, ALL, alone=True)
