"""Damage costs the pictures that it hits, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import av
import cv2
import numpy as np
import pytest

from sender.sources.source import Reading, Skipped
from sender.sources.video import VideoSource
from sender.sources.video.decoding import MARRED, Decoding
from sender.sources.video.opening import OpenVideo
from shared.control import Notice
from shared.errors import SourceFailed
from tests.sender.sources.video.videofiles import (
    pictures_of,
    plain_pictures,
    rewritten,
    rgb_pictures,
    write,
    yuv_frames,
)

LEVELS = [20 + 8 * index for index in range(25)]  # what each picture of `clip` shows


def clip(path: Path, codec: str = "mjpeg", **options: str) -> Path:
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    frames = yuv_frames(plain_pictures(LEVELS), pixels)
    return write(path, frames, codec=codec, pixels=pixels, rate=25, options=options)


def busy_clip(folder: Path, key_every: int) -> Path:
    """An MPEG-2 clip with so much in each picture that damage to it is found."""
    return write(
        folder / "busy.mkv",
        yuv_frames(rgb_pictures(25, (64, 96))),
        codec="mpeg2video",
        pixels="yuv420p",
        rate=25,
        options={"g": str(key_every), "sc_threshold": "1000000000"},
    )


def levels(readings: list[Reading]) -> list[int]:
    """Which pictures of a clip were shown, by their numbers."""
    shown = [float(picture.image.mean()) for picture in pictures_of(readings)]
    return [int(np.argmin(np.abs(np.array(LEVELS) - level))) for level in shown]


def skipped(readings: list[Reading]) -> list[str]:
    return [reading.why for reading in readings if isinstance(reading, Skipped)]


def noise(data: bytearray) -> None:
    third = len(data) // 3
    rng = np.random.default_rng(1)
    data[third : 2 * third] = rng.integers(0, 256, third, dtype=np.uint8).tobytes()


def zeros(data: bytearray) -> None:
    data[:] = bytes(len(data))


def half(data: bytearray) -> None:
    del data[len(data) // 2 :]


DAMAGE = {"noise": noise, "zeros": zeros, "half": half}


def damaged(path: Path, numbers: set[int], kind: str) -> Path:
    target = path.with_stem("damaged")
    return rewritten(
        path, target, lambda number, data: DAMAGE[kind](data) if number in numbers else None
    )


@pytest.mark.parametrize("kind", ["zeros", "half"])
@pytest.mark.parametrize("number", [0, 9, 24])
def test_a_damaged_jpeg_is_skipped_and_all_others_are_shown(
    number: int, kind: str, tmp_path: Path
) -> None:
    source = VideoSource(damaged(clip(tmp_path / "a.avi"), {number}, kind))
    for _ in range(2):
        readings = list(source.pictures())
        assert levels(readings) == [index for index in range(25) if index != number]
        assert len(skipped(readings)) == 1
        assert f"picture {number} " in skipped(readings)[0]


def test_a_jpeg_that_breaks_off_in_its_scan_is_skipped(tmp_path: Path) -> None:
    frames = yuv_frames(rgb_pictures(5, (64, 96)), "yuvj420p")
    path = write(tmp_path / "a.avi", frames, codec="mjpeg", pixels="yuvj420p")
    readings = list(VideoSource(damaged(path, {2}, "half")).pictures())
    assert (len(pictures_of(readings)), len(skipped(readings))) == (4, 1)


def test_jpegs_that_are_all_cut_short_are_shown_and_that_is_said(tmp_path: Path) -> None:
    frames = yuv_frames(rgb_pictures(5, (64, 96)), "yuvj420p")
    path = write(tmp_path / "a.avi", frames, codec="mjpeg", pixels="yuvj420p")
    source = VideoSource(damaged(path, set(range(5)), "half"))
    assert len(pictures_of(list(source.pictures()))) == 5
    assert any("not well formed" in remark for remark in source.info.remarks)


@pytest.mark.parametrize(
    ("codec", "name", "options"),
    [
        ("libx264", "a.mkv", {"bf": "0", "preset": "ultrafast"}),
        ("libx264", "b.mkv", {"bf": "2"}),
        ("mpeg2video", "a.mkv", {"g": "5"}),
        ("mpeg4", "a.avi", {}),
        ("ffv1", "a.mkv", {}),
        ("libvpx-vp9", "a.mkv", {}),
    ],
)
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_packet_ends_no_stream(
    kind: str, codec: str, name: str, options: dict[str, str], tmp_path: Path
) -> None:
    path = damaged(clip(tmp_path / name, codec, **options), {11}, kind)
    readings = list(VideoSource(path).pictures())
    assert len(pictures_of(readings)) >= 22
    assert levels(readings)[-1] == 24


def test_pictures_that_build_on_a_lost_one_are_said_to_be_marred(tmp_path: Path) -> None:
    readings = list(VideoSource(damaged(busy_clip(tmp_path, 10), {11}, "noise")).pictures())
    told = [reading for reading in readings if not isinstance(reading, Skipped)]
    notices = [
        (told.index(reading), reading.lasting) for reading in told if isinstance(reading, Notice)
    ]
    assert {reading.kind for reading in told if isinstance(reading, Notice)} == {MARRED}
    # Lost: picture 11; the next that stands alone is picture 20.
    assert notices == [(11, True), (20, False)]


def test_a_picture_that_stands_alone_mars_no_other(tmp_path: Path) -> None:
    readings = list(VideoSource(damaged(clip(tmp_path / "a.avi"), {11}, "zeros")).pictures())
    assert not any(isinstance(reading, Notice) for reading in readings)


@pytest.mark.parametrize("name", ["a.avi", "a.mkv", "a.ts"])
def test_a_file_cut_short_plays_what_there_is(name: str, tmp_path: Path) -> None:
    codec = "mpeg2video" if name.endswith("ts") else "mjpeg"
    path = clip(tmp_path / name, codec)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    readings = list(VideoSource(path).pictures())
    shown = levels(readings)
    assert shown == list(range(len(shown)))
    assert 8 <= len(shown) <= 20


def test_a_video_without_one_good_picture_is_refused_with_its_codec(tmp_path: Path) -> None:
    with pytest.raises(SourceFailed, match=r"mjpeg in avi"):
        VideoSource(damaged(clip(tmp_path / "name.avi"), set(range(25)), "zeros"))


def test_decoding_gives_up_after_many_failures_in_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sender.sources.video.decoding._MAX_FAILURES", 10)
    source = VideoSource(damaged(clip(tmp_path / "a.avi"), set(range(5, 25)), "zeros"))
    with pytest.raises(SourceFailed, match="10 pictures of the video in a row"):
        list(source.pictures())


def test_empty_packets_as_of_dropped_frames_end_nothing(tmp_path: Path) -> None:
    path = rewritten(
        clip(tmp_path / "a.avi"),
        tmp_path / "b.avi",
        lambda number, data: data.clear() if number in (5, 6) else None,
    )
    assert levels(list(VideoSource(path).pictures()))[-1] == 24


def test_a_change_of_size_gives_pictures_of_the_new_size(tmp_path: Path) -> None:
    small = write(
        tmp_path / "a.ts",
        yuv_frames(plain_pictures(LEVELS[:10])),
        codec="libx264",
        pixels="yuv420p",
        rate=25,
    )
    large = write(
        tmp_path / "b.ts",
        yuv_frames(plain_pictures(LEVELS[10:20], (80, 96))),
        codec="libx264",
        pixels="yuv420p",
        rate=25,
    )
    joined = tmp_path / "c.ts"
    joined.write_bytes(small.read_bytes() + large.read_bytes())
    pictures = pictures_of(list(VideoSource(joined).pictures()))
    assert [picture.image.shape[:2] for picture in pictures] == [(48, 64)] * 10 + [(80, 96)] * 10
    assert [picture.geometry.shown_size for picture in pictures][-1] == (96, 80)
    times = [picture.at_s for picture in pictures]
    assert times == pytest.approx([index / 25 for index in range(20)])


def test_grey_and_colour_may_follow_each_other(tmp_path: Path) -> None:
    grey = np.full((48, 64), 90, np.uint8)
    colour = np.full((48, 64, 3), (10, 90, 200), np.uint8)
    path = tmp_path / "a.mjpeg"
    jpegs = [cv2.imencode(".jpg", picture)[1].tobytes() for picture in (grey, grey, colour, grey)]
    path.write_bytes(b"".join(jpegs))
    shapes = [p.image.ndim for p in pictures_of(list(VideoSource(path).pictures()))]
    assert shapes == [2, 2, 3, 2]


def test_a_picture_too_large_to_send_is_skipped_in_mid_stream(tmp_path: Path) -> None:
    path = tmp_path / "a.mjpeg"
    sizes = [(48, 64), (16, 4800), (48, 64)]
    jpegs = [cv2.imencode(".jpg", np.full(size, 90, np.uint8))[1].tobytes() for size in sizes]
    path.write_bytes(b"".join(jpegs))
    readings = list(VideoSource(path).pictures())
    assert len(pictures_of(readings)) == 2
    assert "4800" in skipped(readings)[0]


def test_a_frame_that_ffmpeg_marks_as_corrupt_is_not_shown(tmp_path: Path) -> None:
    path = damaged(busy_clip(tmp_path, 5), {11}, "noise")
    with av.open(str(path)) as container:
        marks = [frame.is_corrupt for frame in container.decode(video=0)]
    assert marks.count(True) == 1
    readings = list(VideoSource(path).pictures())
    assert len(pictures_of(readings)) == marks.count(False)
    assert len(skipped(readings)) == marks.count(True)


def test_what_ffmpeg_held_back_until_it_gave_up_waiting_is_not_shown_as_new(
    tmp_path: Path,
) -> None:
    path = clip(tmp_path / "a.avi")
    with av.open(str(path)) as container:
        video = OpenVideo(container, container.streams.video[0], "mjpeg", "avi")
        now_s = [0.0]
        waits_s = {10: 4.9, 11: 5.0}  # before the packets of that number

        class Slow:
            def demux(self, stream: av.VideoStream) -> Iterator[av.Packet]:
                for number, packet in enumerate(container.demux(stream)):
                    now_s[0] += waits_s.get(number, 0.04)
                    yield packet

        slow: Any = replace(video, container=cast(Any, Slow()))
        decoding = Decoding(slow, network=True, clock=lambda: round(now_s[0] * 1e9))
        shown = [frame for frame in decoding.frames() if isinstance(frame, av.VideoFrame)]
    assert [frame.pts for frame in shown] == [pts for pts in range(25) if pts != 11]
