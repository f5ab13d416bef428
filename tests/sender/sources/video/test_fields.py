"""Interlaced video becomes whole pictures; progressive video is left as it is."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from sender.sources import images
from sender.sources.video import VideoSource
from shared.frame import Image
from tests.sender.sources.video.videofiles import (
    pictures_of,
    rgb_pictures,
    rgb_video,
    write,
    yuv_frames,
)


def bar(moment: int, shape: tuple[int, int] = (64, 96)) -> Image:
    """A bright bar that moves 3 pixels a field."""
    picture = np.full((*shape, 3), 40, np.uint8)
    left = 6 + 3 * moment
    picture[:, left : left + 12] = 200
    return picture


def interlaced(count: int, *, top_first: bool = True) -> list[Image]:
    frames = []
    for index in range(count):
        first, second = bar(2 * index), bar(2 * index + 1)
        top, bottom = (first, second) if top_first else (second, first)
        frame = top.copy()
        frame[1::2] = bottom[1::2]
        frames.append(frame)
    return frames


def combing(image: Image) -> float:
    """How much neighbouring lines differ from those two away: teeth of a comb."""
    grey = image.astype(int).mean(axis=2)
    return float(np.abs(2 * grey[1:-1] - grey[:-2] - grey[2:]).mean())


H264_FIELDS = {"flags": "+ilme+ildct", "x264-params": "tff=1", "qp": "10"}


def interlaced_video(path: Path, count: int = 10, **options: str) -> Path:
    return write(
        path,
        yuv_frames(interlaced(count), "yuv422p"),
        codec="mpeg2video",
        pixels="yuv422p",
        rate=25,
        options={"flags": "+ilme+ildct", "qmin": "1", "qmax": "2", "top": "1", **options},
    )


def test_fields_are_made_whole_one_picture_for_each_frame_at_its_time(tmp_path: Path) -> None:
    source = VideoSource(interlaced_video(tmp_path / "a.mkv"))
    for _ in range(2):
        pictures = pictures_of(list(source.pictures()))
        assert [p.at_s for p in pictures] == pytest.approx([i / 25 for i in range(10)], abs=1e-3)
        raw, shown = combing(interlaced(10)[4]), [combing(p.image) for p in pictures]
        assert max(shown) < raw / 4
        # The first frame is not lost: the bar starts where it starts.
        assert pictures[0].image[32, 10].mean() > 150
    assert any("interlaced" in remark for remark in source.info.remarks)


@pytest.mark.parametrize(("order", "top_first"), [(2, True), (3, False)])
def test_the_containers_field_order_is_taken_where_the_codec_says_nothing(
    order: int, top_first: bool, tmp_path: Path
) -> None:
    path = write(
        tmp_path / "a.mkv",
        yuv_frames(interlaced(8, top_first=top_first), "yuv422p"),
        pixels="yuv422p",
        prepare=lambda stream: setattr(stream.codec_context, "field_order", order),
    )
    with av.open(str(path)) as container:
        if container.streams.video[0].codec_context.field_order != order:
            pytest.skip("this FFmpeg writes no field order")
    pictures = list(images(VideoSource(path)))
    assert len(pictures) == 8
    assert max(map(combing, pictures)) < combing(interlaced(8)[4]) / 4
    # Of each frame the field that is shown first is kept.
    lefts = [int(np.argmax(picture[32].mean(axis=1) > 120)) for picture in pictures[1:-1]]
    assert lefts == pytest.approx([6 + 6 * index for index in range(1, 7)], abs=1.5)


def test_grey_video_stays_grey_when_its_fields_are_made_whole(tmp_path: Path) -> None:
    frames = [
        av.VideoFrame.from_ndarray(picture[..., 0].copy(), format="gray")
        for picture in interlaced(4)
    ]
    path = write(
        tmp_path / "a.mkv",
        frames,
        pixels="gray",
        prepare=lambda stream: setattr(stream.codec_context, "field_order", 2),
    )
    assert {picture.ndim for picture in images(VideoSource(path))} == {2}


def test_progressive_video_passes_bit_for_bit(tmp_path: Path) -> None:
    pictures = rgb_pictures(4)
    source = VideoSource(rgb_video(tmp_path / "a.mkv", pictures))
    assert all(np.array_equal(a, b) for a, b in zip(images(source), pictures, strict=True))
    assert source.info.remarks == ()


def test_interlaced_and_progressive_parts_may_follow_each_other(tmp_path: Path) -> None:
    options = {"qmin": "1", "qmax": "2"}
    whole = write(
        tmp_path / "a.ts",
        yuv_frames([bar(2 * index) for index in range(6)], "yuv422p"),
        codec="mpeg2video",
        pixels="yuv422p",
        rate=25,
        options=options,
    )
    fields = interlaced_video(tmp_path / "b.ts", 6)
    joined = tmp_path / "c.ts"
    joined.write_bytes(whole.read_bytes() + fields.read_bytes() + whole.read_bytes())
    pictures = pictures_of(list(VideoSource(joined).pictures()))
    assert len(pictures) == 18
    assert max(combing(p.image) for p in pictures) < combing(interlaced(6)[3]) / 4
    assert [p.at_s for p in pictures] == pytest.approx([i / 25 for i in range(18)], abs=1e-3)


def test_a_change_of_size_loses_no_interlaced_picture(tmp_path: Path) -> None:
    first = write(
        tmp_path / "a.ts",
        yuv_frames(interlaced(5)),
        codec="libx264",
        pixels="yuv420p",
        rate=25,
        options=H264_FIELDS,
    )
    second = write(
        tmp_path / "b.ts",
        yuv_frames([np.pad(p, ((0, 32), (0, 0), (0, 0))) for p in interlaced(5)]),
        codec="libx264",
        pixels="yuv420p",
        rate=25,
        options=H264_FIELDS,
    )
    joined = tmp_path / "c.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    heights = [image.shape[0] for image in images(VideoSource(joined))]
    assert heights == [64] * 5 + [96] * 5
