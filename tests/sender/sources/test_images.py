"""A folder of pictures: order, kinds, and what does not belong."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from sender.sources import images
from sender.sources.images import ImagesSource
from shared.errors import SourceFailed
from shared.frame import Image


def grey(value: int, shape: tuple[int, int] = (20, 24)) -> Image:
    return np.full(shape, value, np.uint8)


def test_pictures_come_in_the_natural_order_of_their_names(tmp_path: Path) -> None:
    for name, value in [("f10.png", 10), ("f2.png", 2), ("F1.png", 1), ("f20.png", 20)]:
        cv2.imwrite(str(tmp_path / name), grey(value))
    source = ImagesSource(tmp_path)
    assert [int(image[0, 0]) for image in images(source)] == [1, 2, 10, 20]
    assert source.info.frame_count == 4


def test_every_pass_starts_anew(tmp_path: Path) -> None:
    for value in (1, 2):
        cv2.imwrite(str(tmp_path / f"{value}.png"), grey(value))
    source = ImagesSource(tmp_path)
    assert len(list(images(source))) == len(list(images(source))) == 2


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "PNG"])
def test_colour_and_grey_come_as_they_are(suffix: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for folder, shape in (("grey", (20, 24)), ("colour", (20, 24, 3))):
        (tmp_path / folder).mkdir()
        picture = rng.integers(0, 256, shape, dtype=np.uint8)
        written = picture if len(shape) == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(tmp_path / folder / f"1.{suffix}"), written)
        (shown,) = images(ImagesSource(tmp_path / folder))
        assert np.array_equal(shown, picture)


def test_a_grey_jpeg_stays_grey(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.jpg"), grey(77))
    assert ImagesSource(tmp_path).info.channels == 1


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    deep = np.full((20, 24), 65535, np.uint16)
    deep[0, :3] = [0, 257 * 100, 257 * 100 + 129]
    cv2.imwrite(str(tmp_path / "1.png"), deep)
    (shown,) = images(ImagesSource(tmp_path))
    assert shown[0, :4].tolist() == [0, 100, 101, 255]


def test_transparency_is_dropped(tmp_path: Path) -> None:
    picture = np.zeros((20, 24, 4), np.uint8)
    picture[..., 2] = 200  # red, and wholly transparent
    cv2.imwrite(str(tmp_path / "1.png"), picture)
    (shown,) = images(ImagesSource(tmp_path))
    assert shown[0, 0].tolist() == [200, 0, 0]


def test_other_files_and_hidden_ones_are_passed_over(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), grey(1))
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "._1.png").write_bytes(b"left by another system")
    (tmp_path / "2.png").mkdir()
    assert ImagesSource(tmp_path).info.frame_count == 1


def test_a_damaged_picture_fails_by_its_ordinal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), grey(1))
    (tmp_path / "doe_jane.png").write_bytes(b"not a png")
    with pytest.raises(SourceFailed, match="picture 1 "):
        list(images(ImagesSource(tmp_path)))
    assert "doe" not in "".join(capfd.readouterr())


def test_pictures_too_small_to_send_are_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), grey(1, (10, 10)))
    with pytest.raises(SourceFailed, match="16 to 4096"):
        ImagesSource(tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceFailed, match="no picture"):
        ImagesSource(tmp_path)
