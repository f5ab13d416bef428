"""Text that a person masks in a video compressed with loss is gone, with all that it smeared."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from sender.masks.masking import Masking
from sender.masks.rectangles import apply_masks
from sender.sources.video import VideoSource
from shared.frame import Image, Rect
from tests.sender.sources.video.test_rendering import MATRICES, turned
from tests.sender.sources.video.videofiles import pictures_of, write, yuv_frames

GROUND = 60
SHARPLY_CODED = {"qmin": "12", "qmax": "12"}
CODECS = [
    ("mjpeg", "a.avi", "yuvj420p", SHARPLY_CODED),
    ("mpeg2video", "a.mkv", "yuv420p", SHARPLY_CODED),
    ("mpeg4", "a.avi", "yuv420p", SHARPLY_CODED),
    ("libx264", "a.mp4", "yuv420p", {"qp": "44"}),
    ("libx265", "a.mp4", "yuv420p", {"x265-params": "qp=44:log-level=none"}),
    ("libvpx", "a.mkv", "yuv420p", {"b": "60k", "qmin": "40", "qmax": "63"}),
    ("libvpx-vp9", "a.mkv", "yuv420p", {"crf": "55", "b": "0"}),
]


def written(rect: Rect, shape: tuple[int, int]) -> Image:
    """A plain picture with a name that fills `rect` from edge to edge."""
    picture = np.full((*shape, 3), GROUND, np.uint8)
    inside = picture[rect.y : rect.y + rect.height, rect.x : rect.x + rect.width].copy()
    for bottom in (rect.height, rect.height // 2):
        cv2.putText(inside, "DOE JANE 12", (-3, bottom), 0, 0.8, (140, 140, 140), 2)
    picture[rect.y : rect.y + rect.height, rect.x : rect.x + rect.width] = inside
    return picture


def left_over(path: Path, rect: Rect) -> int:
    """The largest departure from the ground that masking leaves in any picture of a video."""
    source = VideoSource(path)
    masking = Masking(source.first, [rect])
    worst = 0
    for picture in pictures_of(list(source.pictures())):
        masks = masking.masks(picture)
        masked = apply_masks(picture.image, masks)
        for mask in masks:
            cut = masked[mask.y : mask.y + mask.height, mask.x : mask.x + mask.width]
            assert not cut.any()
            cut[:] = GROUND
        worst = max(worst, int(np.abs(masked.astype(int) - GROUND).max()))
    return worst


@pytest.mark.parametrize(("codec", "name", "pixels", "options"), CODECS)
def test_nothing_of_masked_text_is_left_beside_the_mask(
    codec: str, name: str, pixels: str, options: dict[str, str], tmp_path: Path
) -> None:
    # On the codec's grid, so that only what the codec smooths lies beyond.
    rect = Rect(64, 64, 160, 32)
    frames = yuv_frames([written(rect, (192, 320))] * 5, pixels)
    path = write(tmp_path / name, frames, codec=codec, pixels=pixels, options=options)
    assert left_over(path, rect) <= 4


@pytest.mark.parametrize("size", [(96, 128), (95, 128), (96, 127)])
@pytest.mark.parametrize(
    ("codec", "name", "pixels"),
    [
        ("mjpeg", "a.avi", "yuvj420p"),
        ("mpeg2video", "a.mkv", "yuv420p"),
        ("mpeg4", "a.avi", "yuv420p"),
        ("ffv1", "a.mkv", "yuv420p"),
        ("ffv1", "a.mkv", "yuv422p"),
        ("ffv1", "a.mkv", "yuv411p"),
        ("ffv1", "a.mkv", "yuv410p"),
    ],
)
def test_nothing_of_a_masked_colour_is_left_beside_the_mask(
    codec: str, name: str, pixels: str, size: tuple[int, int], tmp_path: Path
) -> None:
    # Halved and quartered colours are mixed with their neighbours, with or without other loss.
    rect, pictures = Rect(32, 32, 32, 32), []
    for lettered in (False, True):
        picture = np.full((*size, 3), 90, np.uint8)
        if lettered:
            picture[32:64, 32:64] = (255, 0, 0)
        frames = yuv_frames([picture] * 2, pixels)
        options = {} if codec == "ffv1" else {"qmin": "2", "qmax": "2"}
        path = write(tmp_path / name, frames, codec=codec, pixels=pixels, options=options)
        pictures.append(VideoSource(path).first)
    plain, lettered_one = pictures
    masks = Masking(lettered_one, [rect]).first_masks
    left = [apply_masks(picture.image, masks).astype(int) for picture in (plain, lettered_one)]
    assert np.abs(left[1] - left[0]).max() <= 5


@pytest.mark.parametrize("exif", MATRICES)
def test_masks_lie_where_a_person_sees_the_text_of_a_turned_video(
    exif: int, tmp_path: Path
) -> None:
    rect = Rect(0, 0, 180, 28)  # of the picture as it is shown
    shown = written(rect, (320, 180))
    a, b, c, d = MATRICES[exif]
    stored = turned(shown, a, c, b, d)  # the inverse: its transpose
    matrix = [part << 16 for part in (a, b, 0, c, d, 0, 0, 0)] + [1 << 30]
    path = write(
        tmp_path / "a.mp4",
        yuv_frames([stored] * 3),
        codec="libx264",
        pixels="yuv420p",
        options={"qp": "40"},
        prepare=lambda stream: stream.set_display_matrix(matrix),
    )
    assert VideoSource(path).first.image.shape == (320, 180, 3)
    assert left_over(path, rect) <= 4


def test_masks_lie_where_a_person_sees_the_text_of_a_stretched_video(tmp_path: Path) -> None:
    stored = Rect(40, 64, 90, 22)
    path = write(
        tmp_path / "a.mkv",
        yuv_frames([written(stored, (192, 320))] * 3),
        codec="libx264",
        pixels="yuv420p",
        options={"qp": "40"},
        prepare=lambda stream: setattr(stream, "sample_aspect_ratio", Fraction(2)),
    )
    assert left_over(path, Rect(80, 64, 180, 22)) <= 4
