"""`--codec auto`: what is chosen for which source, machine and path, and that it says why.

And what is chosen again once the path and the pictures are known.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.codecs import CODECS, choose_codec, reconsider
from shared.errors import BadInput

MBIT = 1_000_000


@pytest.mark.parametrize(
    ("channels", "size", "fps", "rate_bps", "cores", "lossless", "codec"),
    [
        (1, (640, 480), 30, None, 2, False, "h264"),  # the path is not known yet
        (1, (640, 480), 30, 100 * MBIT, 2, False, "h264"),  # fewest bytes on any path
        (3, (640, 480), 30, None, 2, False, "h264"),
        (3, (640, 480), 30, 1 * MBIT, 2, False, "h264"),  # no room for whole chroma
        (3, (640, 480), 30, 20 * MBIT, 2, False, "h264-444"),
        (3, (1920, 1080), 30, 200 * MBIT, 2, False, "h264-444"),
        (3, (1920, 1080), 60, 200 * MBIT, 2, False, "h264"),  # whole chroma costs too much time
        (3, (1920, 1080), 60, 200 * MBIT, 1, False, "h264"),
        (1, (1280, 720), 30, 90 * MBIT, 2, True, "lossless"),
        (1, (1280, 720), 30, None, 2, True, "lossless"),
        (1, (1280, 720), 30, 8 * MBIT, 2, True, "h264"),
        (3, (512, 512), 30, 100 * MBIT, 2, True, "lossless"),
        (3, (1920, 1080), 30, 1000 * MBIT, 2, True, "h264-444"),  # colour costs too much time
        (1, (1920, 1080), 90, 500 * MBIT, 1, False, "jpeg"),  # too much for H.264 on one core
    ],
)
def test_the_codec_follows_source_machine_and_path(
    channels: int,
    size: tuple[int, int],
    fps: float,
    rate_bps: int | None,
    cores: int,
    lossless: bool,
    codec: str,
) -> None:
    assert choose_codec(channels, *size, fps, rate_bps, cores, lossless).codec == codec


def test_the_reason_names_the_path_when_lossless_does_not_fit_on_it() -> None:
    reason = choose_codec(1, 1280, 720, 30, 8 * MBIT, 2, True).reason
    assert "lossless was asked for, but the path carries 8.0" in reason


def test_the_reason_names_the_machine_when_lossless_takes_too_long() -> None:
    reason = choose_codec(3, 1920, 1080, 30, None, 2, True).reason
    assert "lossless was asked for, but encoding takes 1.9 of 2 cores" in reason


@given(
    channels=st.sampled_from([1, 3]),
    width=st.integers(16, 4096),
    height=st.integers(16, 4096),
    fps=st.floats(0.1, 240),
    rate_bps=st.none() | st.integers(1, 10**10),
    cores=st.integers(1, 256),
    lossless=st.booleans(),
)
def test_there_is_always_a_codec_and_a_reason_of_one_line(
    channels: int,
    width: int,
    height: int,
    fps: float,
    rate_bps: int | None,
    cores: int,
    lossless: bool,
) -> None:
    choice = choose_codec(channels, width, height, fps, rate_bps, cores, lossless)
    assert choice.codec in CODECS
    assert choice.reason and "\n" not in choice.reason
    if not lossless:
        assert choice.codec != "lossless"


def test_a_source_that_cannot_be_is_refused() -> None:
    for channels, width, fps, cores in [
        (2, 64, 30, 1),
        (1, 0, 30, 1),
        (1, 64, 0, 1),
        (1, 64, 9, 0),
    ]:
        with pytest.raises(BadInput):
            choose_codec(channels, width, 64, fps, None, cores, False)


def _reconsidered(
    current: str,
    used_bps: int,
    allowed_bps: int,
    *,
    channels: int = 3,
    size: tuple[int, int] = (640, 480),
    fps: float = 30,
    cores: int = 2,
) -> str:
    """What the stream goes on in."""
    choice = reconsider(
        current,
        channels=channels,
        width=size[0],
        height=size[1],
        fps=fps,
        cores=cores,
        used_bps=used_bps,
        allowed_bps=allowed_bps,
    )
    return current if choice is None else choice.codec


def test_whole_colour_is_taken_up_where_the_path_has_room_for_it() -> None:
    assert _reconsidered("h264", 2 * MBIT, 5 * MBIT) == "h264-444"
    assert _reconsidered("h264", 2 * MBIT, 4 * MBIT) == "h264"


def test_whole_colour_is_given_up_where_the_bitrate_binds_it() -> None:
    assert _reconsidered("h264-444", 4 * MBIT, 4 * MBIT) == "h264"
    assert _reconsidered("h264-444", 3 * MBIT, 4 * MBIT) == "h264-444"


def test_whole_colour_is_not_taken_up_and_is_given_up_where_it_takes_too_long() -> None:
    busy = {"size": (1920, 1080), "fps": 60.0}
    assert _reconsidered("h264", MBIT, 200 * MBIT, **busy) == "h264"  # type: ignore[arg-type]
    assert _reconsidered("h264-444", MBIT, 200 * MBIT, **busy) == "h264"  # type: ignore[arg-type]


def test_grey_has_no_colour_to_make_whole() -> None:
    assert _reconsidered("h264", MBIT, 200 * MBIT, channels=1) == "h264"


def test_nothing_is_known_before_the_first_pictures() -> None:
    assert _reconsidered("h264", 0, 200 * MBIT) == "h264"


@pytest.mark.parametrize("codec", [name for name in CODECS if not name.startswith("h264")])
@given(used_bps=st.integers(0, 10**9), allowed_bps=st.integers(1, 10**9))
def test_other_codecs_are_kept(codec: str, used_bps: int, allowed_bps: int) -> None:
    assert _reconsidered(codec, used_bps, allowed_bps) == codec


@given(
    halved_bps=st.integers(10_000, 10**8),
    cost=st.floats(1.6, 2.1),
    allowed_bps=st.integers(100_000, 10**8),
    start=st.sampled_from(["h264", "h264-444"]),
)
def test_a_steady_path_and_scene_switch_once_at_most(
    halved_bps: int, cost: float, allowed_bps: int, start: str
) -> None:
    def used_by(codec: str) -> int:
        wanted = halved_bps * (1 if codec == "h264" else cost)
        return round(min(wanted, allowed_bps))

    codec, switches = start, 0
    for _ in range(10):
        after = _reconsidered(codec, used_by(codec), allowed_bps)
        switches += after != codec
        codec = after
    assert switches <= 1


def test_a_switch_says_what_is_used_of_what() -> None:
    choice = reconsider(
        "h264",
        channels=3,
        width=320,
        height=240,
        fps=30,
        cores=2,
        used_bps=400_000,
        allowed_bps=1_800_000,
    )
    assert choice is not None
    assert choice.reason == "0.4 of 1.8 Mbit/s used, so the path has room for whole colour"


def test_a_stream_that_cannot_be_is_not_reconsidered() -> None:
    with pytest.raises(BadInput):
        _reconsidered("h264", MBIT, MBIT, channels=2)
