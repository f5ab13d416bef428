"""A folder of pictures, or one file of them: order, what belongs, what is skipped, what is said."""

from __future__ import annotations

import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from sender.sources import Skipped, SourcePicture, images
from sender.sources.images import ImagesSource
from shared.errors import BadInput, SourceFailed
from shared.frame import Image


def grey(value: int, shape: tuple[int, int] = (20, 24)) -> Image:
    return np.full(shape, value, np.uint8)


def colour(value: int, shape: tuple[int, int] = (20, 24)) -> Image:
    return np.full((*shape, 3), (value, 0, 255 - value), np.uint8)


def save(path: Path, *pictures: Image, **options: object) -> Path:
    first, *others = (Pillow.fromarray(picture) for picture in pictures)
    more = {"save_all": True, "append_images": others} if others else {}
    first.save(path, **more, **options)
    return path


def test_pictures_come_in_the_natural_order_of_their_names(tmp_path: Path) -> None:
    for name, value in [("f10.png", 10), ("f2.png", 2), ("F1.png", 1), ("f20.png", 20)]:
        save(tmp_path / name, grey(value))
    source = ImagesSource(tmp_path)
    assert [int(image[0, 0]) for image in images(source)] == [1, 2, 10, 20]
    assert source.info.frame_count == 4


def test_every_pass_starts_anew(tmp_path: Path) -> None:
    for value in (1, 2):
        save(tmp_path / f"{value}.png", grey(value))
    source = ImagesSource(tmp_path)
    assert len(list(images(source))) == len(list(images(source))) == 2


def test_all_that_both_libraries_open_may_lie_in_one_folder(tmp_path: Path) -> None:
    suffixes = ["png", "jpg", "jpeg", "jpe", "jfif", "bmp", "dib", "tif", "tiff", "webp", "gif"]
    suffixes += ["jp2", "j2k", "jpf", "jpx", "ppm", "pnm", "tga", "pcx", "avif", "ico", "PNG"]
    for suffix in suffixes:
        save(tmp_path / f"{suffix}.{suffix}", colour(90, (64, 64)))
    source = ImagesSource(tmp_path)
    shown = list(images(source))
    assert len(shown) == source.info.frame_count == len(suffixes)
    assert all(np.abs(image.astype(int) - [90, 0, 165]).max() <= 3 for image in shown)


def test_other_files_and_hidden_ones_are_passed_over(tmp_path: Path) -> None:
    save(tmp_path / "1.png", grey(1))
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "._1.png").write_bytes(b"left by another system")
    (tmp_path / "2.png").mkdir()
    assert ImagesSource(tmp_path).info.frame_count == 1


def test_what_was_passed_over_is_said_by_kind_and_never_by_name(tmp_path: Path) -> None:
    save(tmp_path / "doe_1.png", grey(1))
    for name in ("doe.txt", "jane.txt", "scan.pdf", "DOE.JANE", "doe", "1.2.840.77"):
        (tmp_path / name).write_text("no picture")
    (tmp_path / "older").mkdir()
    remarks = ImagesSource(tmp_path).info.remarks
    assert remarks == (
        "6 files passed over, as they are no pictures: 1 .pdf, 2 .txt, 3 of other kinds",
        "1 folder inside not looked into",
    )


def test_a_folder_of_nothing_but_pictures_needs_no_remark(tmp_path: Path) -> None:
    for value in (1, 2):
        save(tmp_path / f"{value}.png", grey(value))
    assert ImagesSource(tmp_path).info.remarks == ()


@pytest.mark.parametrize("name", ["IM_0001", "1.2.840.113619", "2026.11.30"])
def test_a_name_without_suffix_is_known_by_its_content(name: str, tmp_path: Path) -> None:
    save(tmp_path / name, colour(7), format="PNG")
    (shown,) = images(ImagesSource(tmp_path))
    assert shown[0, 0].tolist() == [7, 0, 248]


def test_content_counts_and_not_what_a_suffix_says(tmp_path: Path) -> None:
    save(tmp_path / "1.jpg", colour(7), format="PNG")
    save(tmp_path / "2.bmp", colour(7), format="WEBP", lossless=True)
    assert [image[0, 0].tolist() for image in images(ImagesSource(tmp_path))] == [[7, 0, 248]] * 2


def test_mixed_sizes_and_colours_play_and_are_said(tmp_path: Path) -> None:
    for number, picture in enumerate([colour(1), colour(2, (32, 32)), grey(3), colour(4)]):
        save(tmp_path / f"{number}.png", picture)
    source = ImagesSource(tmp_path)
    assert [image.shape for image in images(source)] == [
        (20, 24, 3),
        (32, 32, 3),
        (20, 24),
        (20, 24, 3),
    ]
    assert source.info.channels == 3
    assert [remark.partition(":")[0] for remark in source.info.remarks] == [
        "2 sizes of pictures",
        "grey pictures and ones in colour",
    ]


def test_what_is_done_to_pictures_is_said(tmp_path: Path) -> None:
    exif = Pillow.Exif()
    exif[274] = 6
    save(tmp_path / "turned.jpg", colour(1), exif=exif)
    save(tmp_path / "wide.png", colour(1), dpi=(72, 144))
    save(tmp_path / "deep.png", np.full((20, 24), 4096, np.uint16))
    save(tmp_path / "clear.png", np.full((20, 24, 4), 9, np.uint8))
    Pillow.new("CMYK", (24, 20)).save(tmp_path / "inks.jpg")
    save(tmp_path / "profile.png", colour(1), icc_profile=b"of some scanner")
    remarks = " / ".join(ImagesSource(tmp_path).info.remarks)
    for what in ("turned", "square", "8 bits", "transparency", "CMYK", "colour profile"):
        assert f"{what}" in remarks
    assert remarks.count("1 picture ") == 6


# -- damage -------------------------------------------------------------------------------------


def test_a_damaged_picture_is_skipped_and_the_others_go_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "a.png", grey(1))
    (tmp_path / "doe_jane.png").write_bytes(b"not a png")
    save(tmp_path / "z.png", grey(3))
    source = ImagesSource(tmp_path)
    first, second, third = source.pictures()
    assert isinstance(first, SourcePicture)
    assert isinstance(second, Skipped)
    assert "picture 1 " in second.why
    assert isinstance(third, SourcePicture)
    assert source.info.frame_count == 3
    assert source.info.remarks == ("1 file that can't be opened, skipped",)
    assert "doe" not in "".join(capfd.readouterr()) + second.why


def test_the_first_good_picture_stands_for_the_source(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"not a png")
    save(tmp_path / "2.png", grey(2, (30, 40)))
    source = ImagesSource(tmp_path)
    assert (source.info.width, source.info.height, source.info.channels) == (40, 30, 1)
    assert int(source.first.image[0, 0]) == 2
    assert [type(reading) for reading in source.pictures()] == [Skipped, SourcePicture]
    assert any("picture 0 can't be shown" in remark for remark in source.info.remarks)


def test_a_last_picture_that_is_cut_short_is_told_before_pairing(tmp_path: Path) -> None:
    save(tmp_path / "1.png", grey(1))
    save(tmp_path / "2.png", np.random.default_rng(0).integers(0, 256, (20, 24), np.uint8))
    whole = (tmp_path / "2.png").read_bytes()
    (tmp_path / "2.png").write_bytes(whole[: len(whole) // 2])
    (remark,) = ImagesSource(tmp_path).info.remarks
    assert "last picture" in remark
    assert "cut short" in remark


def test_a_folder_without_one_good_picture_is_refused_with_a_reason(tmp_path: Path) -> None:
    for name in ("DOE.png", "JANE.jpg"):
        (tmp_path / name).write_bytes(b"no picture")
    with pytest.raises(SourceFailed, match=r"none .* picture 0: .*damaged") as caught:
        ImagesSource(tmp_path)
    assert caught.value.hint
    assert "DOE" not in str(caught.value)


def test_pictures_too_small_to_send_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "1.png", grey(1, (10, 10)))
    with pytest.raises(SourceFailed, match="16 to 4096"):
        ImagesSource(tmp_path)


def test_pictures_too_large_to_send_are_skipped_before_they_are_decoded(tmp_path: Path) -> None:
    save(tmp_path / "1.png", grey(1))
    huge = bytearray((tmp_path / "1.png").read_bytes())
    huge[16:24] = (60_000).to_bytes(4, "big") * 2  # a header that promises 3.6 gigapixels
    huge[29:33] = zlib.crc32(huge[12:29]).to_bytes(4, "big")
    (tmp_path / "2.png").write_bytes(huge)
    save(tmp_path / "3.png", grey(1, (20, 4100)))
    _good, bomb, wide = ImagesSource(tmp_path).pictures()
    assert isinstance(bomb, Skipped)
    assert "4096 pixels" in bomb.why
    assert isinstance(wide, Skipped)
    assert "4100x20" in wide.why


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceFailed, match="no picture"):
        ImagesSource(tmp_path)


def test_a_file_that_goes_away_while_the_others_play_is_skipped(tmp_path: Path) -> None:
    for value in (1, 2):
        save(tmp_path / f"{value}.png", grey(value))
    source = ImagesSource(tmp_path)
    (tmp_path / "1.png").unlink()
    gone, there = source.pictures()
    assert isinstance(gone, Skipped)
    assert isinstance(there, SourcePicture)


# -- several pictures in one file ---------------------------------------------------------------


def test_pages_and_frames_stand_between_the_files(tmp_path: Path) -> None:
    save(tmp_path / "1.tif", grey(1), grey(2), grey(3))
    save(tmp_path / "2.gif", grey(40), grey(50))
    save(tmp_path / "3.webp", colour(60), colour(70), lossless=True)
    save(tmp_path / "4.png", grey(80))
    source = ImagesSource(tmp_path)
    values = [int(image.reshape(-1)[0]) for image in images(source)]
    assert values == [1, 2, 3, 40, 50, 60, 70, 80]
    assert source.info.frame_count == 8
    assert "3 files with several pages, each shown as a picture" in source.info.remarks
    assert all(reading.at_s is None for reading in source.pictures())  # evenly, at the rate


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_an_animation_on_its_own_plays_at_its_own_times(suffix: str, tmp_path: Path) -> None:
    path = save(
        tmp_path / f"1.{suffix}", colour(1), colour(90), colour(200), duration=[100, 250, 0]
    )
    source = ImagesSource(path)
    assert [reading.at_s for reading in source.pictures()] == pytest.approx([0.0, 0.1, 0.35])
    assert source.info.fps == pytest.approx(10.0)
    evenly = ImagesSource(path, fps=5.0)
    assert [reading.at_s for reading in evenly.pictures()] == [None] * 3
    assert evenly.info.fps == 5.0


def test_frames_shorter_than_any_player_shows_them_last_a_tenth_of_a_second(tmp_path: Path) -> None:
    path = save(tmp_path / "1.gif", colour(1), colour(90), colour(200), duration=10)
    assert [reading.at_s for reading in ImagesSource(path).pictures()] == pytest.approx(
        [0.0, 0.1, 0.2]
    )


def test_one_file_is_a_source_of_its_own(tmp_path: Path) -> None:
    save(tmp_path / "2.png", grey(9))
    assert ImagesSource(save(tmp_path / "1.png", colour(1))).info.frame_count == 1
    assert ImagesSource(save(tmp_path / "1.tif", colour(1), colour(2))).info.frame_count == 2


def test_an_impossible_rate_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "1.png", grey(1))
    with pytest.raises(BadInput):
        ImagesSource(tmp_path, fps=0.0)


def test_opencv_and_this_agree_on_plain_pictures(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for suffix in ("png", "bmp", "tif", "ppm", "jpg", "jp2", "webp", "ras"):
        written = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f"1.{suffix}"), written)
        (shown,) = images(ImagesSource(tmp_path / f"1.{suffix}"))
        read = cv2.imread(str(tmp_path / f"1.{suffix}"))
        assert np.abs(shown.astype(int) - read[..., ::-1]).max() <= 2, suffix
