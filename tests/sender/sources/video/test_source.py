"""Video files made on the fly: exact colours and levels, rates, passes and failures."""

from __future__ import annotations

import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from sender.sources import images
from sender.sources.video import VideoSource
from shared.errors import SourceFailed
from tests.sender.sources.video.videofiles import (
    BT601,
    BT709,
    FULL,
    LIMITED,
    pictures_of,
    planar,
    rgb_pictures,
    rgb_video,
    write,
)


def one_colour(path: Path) -> list[int]:
    picture = next(images(VideoSource(path)))
    assert np.all(picture == picture[0, 0])
    return [int(c) for c in np.atleast_1d(picture[0, 0])]


def test_rgb_videos_come_bit_for_bit(tmp_path: Path) -> None:
    pictures = rgb_pictures(7)
    source = VideoSource(rgb_video(tmp_path / "a.mkv", pictures))
    shown = list(images(source))
    assert len(shown) == 7
    assert all(np.array_equal(a, b) for a, b in zip(shown, pictures, strict=True))
    assert (source.info.width, source.info.height, source.info.channels) == (64, 48, 3)
    assert not source.info.live


def test_grey_videos_come_grey_and_bit_for_bit(tmp_path: Path) -> None:
    pictures = [picture[..., 0].copy() for picture in rgb_pictures(3)]
    frames = [av.VideoFrame.from_ndarray(picture, format="gray") for picture in pictures]
    source = VideoSource(write(tmp_path / "a.mkv", frames, pixels="gray"))
    assert source.info.channels == 1
    assert all(np.array_equal(a, b) for a, b in zip(images(source), pictures, strict=True))


def test_grey_said_to_be_of_limited_range_is_brought_to_full_range(tmp_path: Path) -> None:
    for value, shown in ((16, 0), (235, 255), (126, 128), (0, 0), (255, 255)):
        frame = av.VideoFrame.from_ndarray(np.full((48, 64), value, np.uint8), format="gray")
        path = write(tmp_path / f"{value}.mkv", [frame], pixels="gray", color_range=LIMITED)
        assert one_colour(path) == [shown]


def test_limited_range_colour_is_brought_to_full_range(tmp_path: Path) -> None:
    for luma, shown in ((16, 0), (235, 255)):
        path = write(
            tmp_path / f"{luma}.mkv",
            [planar(luma, 128, 128)],
            pixels="yuv444p",
            color_range=LIMITED,
        )
        assert one_colour(path) == pytest.approx([shown] * 3, abs=1)


def test_full_range_colour_keeps_its_levels(tmp_path: Path) -> None:
    for luma in (0, 16, 100, 255):
        path = write(
            tmp_path / f"{luma}.mkv", [planar(luma, 128, 128)], pixels="yuv444p", color_range=FULL
        )
        assert one_colour(path) == pytest.approx([luma] * 3, abs=1)


@pytest.mark.parametrize(
    ("matrix", "red"), [(BT709, (63, 102, 240)), (BT601, (81, 90, 240))], ids=["709", "601"]
)
def test_colours_follow_the_matrix_that_the_video_names(
    matrix: int, red: tuple[int, int, int], tmp_path: Path
) -> None:
    path = write(
        tmp_path / "a.mkv", [planar(*red)], pixels="yuv444p", color_range=LIMITED, colorspace=matrix
    )
    assert one_colour(path) == pytest.approx([255, 0, 0], abs=3)


def test_odd_sizes_are_taken_whole(tmp_path: Path) -> None:
    pictures = rgb_pictures(2, (37, 51))
    shown = list(images(VideoSource(rgb_video(tmp_path / "a.mkv", pictures))))
    assert np.array_equal(shown[1], pictures[1])


def test_the_rate_is_the_files_own(tmp_path: Path) -> None:
    path = rgb_video(tmp_path / "a.avi", rgb_pictures(10), rate=Fraction(25, 2))
    assert VideoSource(path).info.fps == pytest.approx(12.5)
    assert VideoSource(path, fps=50).info.fps == 50


def test_every_pass_starts_anew(tmp_path: Path) -> None:
    pictures = rgb_pictures(5)
    source = VideoSource(rgb_video(tmp_path / "a.mkv", pictures))
    for _ in range(3):
        shown = list(images(source))
        assert len(shown) == 5
        assert np.array_equal(shown[0], pictures[0])


def test_a_pass_broken_off_does_not_shorten_the_next(tmp_path: Path) -> None:
    pictures = rgb_pictures(5)
    source = VideoSource(rgb_video(tmp_path / "a.mkv", pictures))
    next(images(source))
    assert np.array_equal(next(images(source)), pictures[0])


def elementary(path: Path, shape: tuple[int, int], count: int) -> Path:
    frames = [
        av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv444p")
        for picture in rgb_pictures(count, shape)
    ]
    options = {"preset": "ultrafast", "qp": "20", "bf": "2"}
    return write(path, frames, codec="libx264", pixels="yuv444p", options=options)


def test_an_elementary_stream_without_times_plays_all_its_pictures(tmp_path: Path) -> None:
    source = VideoSource(elementary(tmp_path / "sweep.h264", (48, 64), 20), fps=29.4)
    assert source.info.fps == 29.4
    assert len(list(images(source))) == 20


def test_a_file_of_sound_only_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        sound.rate, sound.pts = 8000, 0
        container.mux(stream.encode(sound))
    with pytest.raises(SourceFailed, match="no video"):
        VideoSource(path)


def test_a_stream_that_nobody_serves_fails_in_one_line() -> None:
    with pytest.raises(SourceFailed) as caught:
        VideoSource("http://127.0.0.1:9/secret-name")
    assert "secret" not in str(caught.value)


def test_closing_twice_does_nothing(tmp_path: Path) -> None:
    source = VideoSource(rgb_video(tmp_path / "a.mkv", rgb_pictures(2)))
    source.close()
    source.close()


def test_closing_from_another_thread_ends_the_pass_that_reads(tmp_path: Path) -> None:
    path = rgb_video(tmp_path / "a.mkv", rgb_pictures(30))
    for _ in range(5):
        source = VideoSource(path)
        begun, taken = threading.Event(), 0

        def read(source: VideoSource = source, begun: threading.Event = begun) -> None:
            nonlocal taken
            for _ in range(1000):
                for _ in source.pictures():
                    taken += 1
                    begun.set()

        reader = threading.Thread(target=read)
        reader.start()
        begun.wait()
        source.close()
        reader.join()
        assert list(source.pictures()) == []


def test_an_elementary_stream_plays_evenly(tmp_path: Path) -> None:
    source = VideoSource(elementary(tmp_path / "sweep.h264", (48, 64), 6))
    assert {picture.at_s for picture in pictures_of(list(source.pictures()))} == {None}


def test_a_file_in_a_long_name_of_a_patient_is_not_named_anywhere(tmp_path: Path) -> None:
    path = rgb_video(tmp_path / "Doe Jane 1970.mkv", rgb_pictures(2), rate=90_000)
    source = VideoSource(path)
    assert "Doe" not in repr(source.info)
