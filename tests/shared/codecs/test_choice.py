"""`--codec auto`: what is chosen for which source, machine and path, and that it says why."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.codecs import CODECS, choose_codec
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
