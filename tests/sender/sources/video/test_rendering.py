"""Frames as pictures: matrix, range, depth, transparency, turning; against plain arithmetic."""

from __future__ import annotations

import shutil
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from sender.sources import images
from sender.sources.video import VideoSource
from sender.sources.video.rendering import Compression, FrameRenderer, orientation
from shared.errors import SourceFailed
from shared.frame import Image as Picture
from tests.sender.sources.video.videofiles import (
    BT601,
    BT709,
    BT2020,
    FULL,
    LIMITED,
    plain_pictures,
    planar,
    rgb_pictures,
    rgb_video,
    write,
    yuv_frames,
)

UNNAMED, YCGCO, BT2020_CONSTANT = 2, 8, 10
# Weights of red and blue, ITU-T H.273 table 4.
WEIGHTS = {BT709: (0.2126, 0.0722), BT601: (0.299, 0.114), BT2020: (0.2627, 0.0593)}
WEIGHTS |= {4: (0.30, 0.11), 5: (0.299, 0.114), 7: (0.212, 0.087)}


def colour(y: int, u: int, v: int, matrix: int, full: bool) -> list[float]:
    """RGB of 8-bit YUV, ITU-T H.273 8.3."""
    red, blue = WEIGHTS[matrix]
    span, chroma_span, black = (255, 255, 0) if full else (219, 224, 16)
    luma, pb, pr = (y - black) / span, (u - 128) / chroma_span, (v - 128) / chroma_span
    r, b = luma + 2 * (1 - red) * pr, luma + 2 * (1 - blue) * pb
    g = (luma - red * r - blue * b) / (1 - red - blue)
    return [255 * min(1.0, max(0.0, part)) for part in (r, g, b)]


def filled(pixels: str, values: tuple[int, ...], bits: int) -> av.VideoFrame:
    """A frame whose planes hold one value each, given at 8 bits."""
    frame = av.VideoFrame(64, 48, pixels)
    for plane, value in zip(frame.planes, values, strict=False):
        kind = np.uint8 if bits == 8 else np.dtype("<u2")
        plane.update(np.full(plane.buffer_size // (1 if bits == 8 else 2), value << bits - 8, kind))
    return frame


@pytest.mark.parametrize("matrix", WEIGHTS)
@pytest.mark.parametrize(
    ("pixels", "bits", "ranges"),
    [
        ("yuv420p", 8, (LIMITED, FULL)),
        ("yuv444p", 8, (LIMITED, FULL)),
        ("yuvj422p", 8, (FULL,)),
        ("yuv420p10le", 10, (LIMITED, FULL)),
        ("yuv422p12le", 12, (LIMITED, FULL)),
    ],
)
def test_colours_are_those_of_the_named_matrix_and_range(
    pixels: str, bits: int, ranges: tuple[int, ...], matrix: int
) -> None:
    renderer = FrameRenderer("ffv1")
    for color_range in ranges:
        for yuv in ((120, 90, 170), (60, 128, 128), (200, 110, 140), (90, 160, 100)):
            frame = filled(pixels, yuv, bits)
            frame.colorspace, frame.color_range = matrix, color_range
            image = renderer.image(frame)
            wanted = colour(*yuv, matrix, color_range == FULL)
            assert image[20, 30] == pytest.approx(wanted, abs=2)


@pytest.mark.parametrize(
    ("size", "taken"),
    [((1280, 720), BT709), ((1280, 64), BT709), ((64, 720), BT709), ((720, 576), BT601)],
)
def test_video_that_names_no_matrix_is_taken_as_players_take_it(
    size: tuple[int, int], taken: int
) -> None:
    frame = planar(120, 90, 170, size)
    frame.colorspace, frame.color_range = UNNAMED, LIMITED
    wanted = colour(120, 90, 170, taken, full=False)
    assert FrameRenderer("ffv1").image(frame)[9, 9] == pytest.approx(wanted, abs=2)


def test_an_hd_file_that_names_no_matrix_is_bt709(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.mp4",
        [planar(120, 90, 170, (1280, 720)).reformat(format="yuv420p")],
        codec="libx264",
        pixels="yuv420p",
        options={"preset": "ultrafast", "qp": "1"},
    )
    wanted = colour(120, 90, 170, BT709, full=False)
    assert next(images(VideoSource(path)))[300, 600] == pytest.approx(wanted, abs=3)


def test_bt2020_of_constant_luminance_is_taken_as_players_take_it() -> None:
    frame = planar(120, 90, 170)
    frame.colorspace, frame.color_range = BT2020_CONSTANT, LIMITED
    wanted = colour(120, 90, 170, BT2020, full=False)
    assert FrameRenderer("ffv1").image(frame)[9, 9] == pytest.approx(wanted, abs=2)


def test_a_matrix_that_would_be_shown_wrong_is_refused_by_its_number() -> None:
    frame = planar(120, 90, 170)
    frame.colorspace = YCGCO
    with pytest.raises(SourceFailed, match="number 8"):
        FrameRenderer("ffv1").image(frame)


def test_pixels_that_ffmpeg_can_not_convert_are_named() -> None:
    frame = av.VideoFrame(64, 48, "yuv420p")
    frame.colorspace = BT709

    class Failing:
        def reformat(self, *_: object, **__: object) -> None:
            raise av.ArgumentError(22, "no")

    renderer = FrameRenderer("ffv1")
    renderer._scaler = Failing()  # type: ignore[assignment]
    with pytest.raises(SourceFailed, match="yuv420p"):
        renderer.image(frame)


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_deep_grey_is_brought_to_8_bits_and_stays_grey(bits: int) -> None:
    levels = np.linspace(0, 2**bits - 1, 64).round().astype("<u2")
    frame = av.VideoFrame(64, 48, f"gray{bits}le")
    frame.planes[0].update(
        np.broadcast_to(
            np.pad(levels, (0, frame.planes[0].line_size // 2 - 64)),
            (48, frame.planes[0].line_size // 2),
        ).tobytes()
    )
    image = FrameRenderer("ffv1").image(frame)
    assert image.shape == (48, 64)
    assert image[7] == pytest.approx(levels / (2**bits - 1) * 255, abs=1)


def rgba_frames(alpha: Picture) -> list[av.VideoFrame]:
    rgba = np.dstack([np.full((*alpha.shape, 3), (200, 100, 50), np.uint8), alpha])
    return [av.VideoFrame.from_ndarray(rgba, format="rgba").reformat(format="bgra")]


def test_what_is_transparent_is_black_whatever_colour_lies_under_it(tmp_path: Path) -> None:
    alpha = np.repeat(np.array([0, 128, 255, 255], np.uint8), 16)[None, :].repeat(48, 0)
    picture = next(
        images(VideoSource(write(tmp_path / "a.mkv", rgba_frames(alpha), pixels="bgra")))
    )
    assert picture[5, 5].tolist() == [0, 0, 0]
    assert picture[5, 20] == pytest.approx([100, 50, 25], abs=1)
    assert picture[5, 40].tolist() == [200, 100, 50]


def test_raw_video_whose_alpha_was_never_set_is_opaque(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.avi",
        rgba_frames(np.zeros((48, 64), np.uint8)),
        codec="rawvideo",
        pixels="bgra",
    )
    assert next(images(VideoSource(path)))[5, 5].tolist() == [200, 100, 50]


def test_palettes_give_their_colours() -> None:
    pictures = plain_pictures([0, 85, 170])
    for picture in pictures:
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="rgb8")
        index = int(np.frombuffer(frame.planes[0], np.uint8)[0])
        paletted = av.VideoFrame(64, 48, "pal8")
        paletted.planes[0].update(np.full(paletted.planes[0].buffer_size, index, np.uint8))
        palette = np.zeros(256, "<u4")
        palette[index] = 0xFF000000 | int(picture[0, 0, 0]) * 0x010101
        paletted.planes[1].update(palette.tobytes())
        assert FrameRenderer("msrle").image(paletted)[3, 3].tolist() == picture[0, 0].tolist()


MATRICES = {  # a, b, c, d of ISO 14496-12 6.2.2 by EXIF's orientation
    1: (1, 0, 0, 1),
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: (0, 1, -1, 0),
    7: (0, -1, -1, 0),
    8: (0, -1, 1, 0),
}


def turned(image: Picture, a: int, b: int, c: int, d: int) -> Picture:
    """Put each pixel (x, y) to (a x + c y, b x + d y), moved back into the picture."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    x, y = a * columns + c * rows, b * columns + d * rows
    x, y = x - x.min(), y - y.min()
    out = np.zeros((y.max() + 1, x.max() + 1, 3), np.uint8)
    out[y, x] = image
    return out


def turned_video(path: Path, matrix: tuple[int, int, int, int], picture: Picture) -> Path:
    a, b, c, d = (part << 16 for part in matrix)
    return write(
        path,
        yuv_frames([picture, picture]),
        codec="mpeg4",
        pixels="yuv420p",
        options={"qscale": "1", "flags": "+qscale", "global_quality": "118"},
        prepare=lambda stream: stream.set_display_matrix((a, b, 0, c, d, 0, 0, 0, 1 << 30)),
    )


def lopsided() -> Picture:
    picture = np.full((48, 80, 3), 30, np.uint8)
    picture[:16, :40] = 220
    picture[16:32, :16] = 130
    return picture


@pytest.mark.parametrize("exif", MATRICES)
def test_videos_are_turned_and_mirrored_by_their_display_matrix(exif: int, tmp_path: Path) -> None:
    path = turned_video(tmp_path / "a.mp4", MATRICES[exif], lopsided())
    source = VideoSource(path)
    wanted = turned(lopsided(), *MATRICES[exif])
    assert source.first.geometry.orientation == exif
    assert (source.info.width, source.info.height) == wanted.shape[1::-1]
    assert np.abs(source.first.image.astype(int) - wanted).mean() < 4
    assert bool(source.info.remarks) == (exif != 1)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="FFmpeg's program is the oracle")
@pytest.mark.parametrize("exif", MATRICES)
def test_videos_are_turned_as_ffmpeg_turns_them(exif: int, tmp_path: Path) -> None:
    path = turned_video(tmp_path / "a.mp4", MATRICES[exif], lopsided())
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-frames:v", "1", "-f", "rawvideo"]
    shown = subprocess.run(
        [*command, "-pix_fmt", "rgb24", "-"], capture_output=True, check=True
    ).stdout
    first = VideoSource(path).first.image
    assert np.abs(first.astype(int).ravel() - np.frombuffer(shown, np.uint8)).mean() < 2


@pytest.mark.parametrize("exif", MATRICES)
def test_jpeg_pictures_are_turned_by_their_exif(exif: int, tmp_path: Path) -> None:
    tag = Image.Exif()
    tag[0x112] = exif
    path = tmp_path / "a.mjpeg"
    with path.open("wb") as file:
        for _ in range(3):
            Image.fromarray(lopsided()).save(file, "JPEG", exif=tag, quality=95)
    wanted = turned(lopsided(), *MATRICES[exif])
    for picture in images(VideoSource(path)):
        assert np.abs(picture.astype(int) - wanted).mean() < 4


def test_a_matrix_between_quarters_is_taken_as_the_nearest_and_a_broken_one_as_none() -> None:
    class Turned:
        def __init__(self, *matrix: int) -> None:
            self.side_data = {"DISPLAYMATRIX": np.array(matrix, np.int32).tobytes()}

    def of(*matrix: int) -> int:
        return orientation(Turned(*matrix))  # type: ignore[arg-type]

    assert of(60000, 20000, 0, -20000, 60000, 0, 0, 0, 1 << 30) == 1
    assert of(20000, 60000, 0, -60000, 20000, 0, 0, 0, 1 << 30) == 6
    assert of(0, 0, 0, 0, 0, 0, 0, 0, 0) == 1
    assert of(1, 2, 3) == 1


@pytest.mark.parametrize(
    ("aspect", "size"),
    [(Fraction(2), (128, 48)), (Fraction(1, 2), (64, 96)), (Fraction(16, 11), (93, 48))],
)
def test_pixels_are_made_square(aspect: Fraction, size: tuple[int, int], tmp_path: Path) -> None:
    source = VideoSource(
        write(
            tmp_path / "a.mkv",
            yuv_frames(rgb_pictures(2)),
            codec="mpeg4",
            pixels="yuv420p",
            prepare=lambda stream: setattr(stream, "sample_aspect_ratio", aspect),
        )
    )
    assert (source.info.width, source.info.height) == size
    assert source.first.image.shape == (size[1], size[0], 3)
    assert "not square" in source.info.remarks[0]


def test_an_impossible_aspect_is_passed_over(tmp_path: Path) -> None:
    source = VideoSource(
        write(
            tmp_path / "a.mkv",
            yuv_frames(rgb_pictures(2)),
            pixels="yuv420p",
            prepare=lambda stream: setattr(stream, "sample_aspect_ratio", Fraction(500)),
        )
    )
    assert (source.info.width, source.info.height) == (64, 48)


@pytest.mark.parametrize(
    ("codec", "pixels", "block"),
    [
        ("ffv1", "gray", 1),
        ("ffv1", "yuv420p", 2),
        ("png", "rgb24", 1),
        ("mjpeg", "yuvj420p", 16),
        ("mjpeg", "yuvj411p", 32),
        ("h264", "yuv420p", 16),
        ("hevc", "yuv420p", 64),
        ("cinepak", "rgb24", 16),
    ],
)
def test_a_codecs_grid_is_known_to_masks(codec: str, pixels: str, block: int) -> None:
    geometry = Compression(av.Codec(codec, "r")).geometry(
        av.VideoFrame(64, 48, pixels), (48, 64), None, interlaced=False
    )
    assert geometry.block == block


class Frame:
    """A decoded frame, as far as its geometry goes; `matrix` is one of `MATRICES`, or none."""

    format = av.VideoFrame(64, 48, "yuv420p").format

    def __init__(self, matrix: tuple[int, ...] | None) -> None:
        self.side_data = {}
        if matrix is not None:
            a, b, c, d = matrix
            whole = np.array([a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30], np.int32)
            self.side_data["DISPLAYMATRIX"] = whole.tobytes()


@pytest.mark.parametrize(("codec", "after"), [("h264", 6), ("mjpeg", 1)])
def test_what_a_stream_says_once_of_its_turning_holds_and_of_pictures_each_says_its_own(
    codec: str, after: int
) -> None:
    compression = Compression(av.Codec(codec, "r"))

    def turned_as(matrix: tuple[int, ...] | None) -> int:
        frame: Any = Frame(matrix)
        return compression.geometry(frame, (48, 64), None, interlaced=False).orientation

    assert turned_as(None) == 1
    assert turned_as(MATRICES[6]) == 6
    assert [turned_as(None), turned_as(None)] == [after, after]
    assert turned_as(MATRICES[3]) == 3


def test_the_grid_of_interlaced_video_is_twice_as_high() -> None:
    geometry = Compression(av.Codec("mpeg2video", "r")).geometry(
        av.VideoFrame(64, 48, "yuv420p"), (48, 64), None, interlaced=True
    )
    assert geometry.block == 32


def test_hdr_is_said_not_to_be_mapped(tmp_path: Path) -> None:
    def hdr(stream: av.VideoStream) -> None:
        stream.codec_context.color_trc = 16

    path = rgb_video(tmp_path / "a.mkv", rgb_pictures(1), prepare=hdr)
    assert any("HDR" in remark for remark in VideoSource(path).info.remarks)
