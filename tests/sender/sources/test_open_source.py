"""One text names any source; what can't be opened is told apart from what makes no sense."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom.examples import get_path

from sender.sources import KINDS, open_source
from shared.errors import BadInput, SourceFailed


@pytest.mark.parametrize(
    "spec", ["phantom:kidney", "phantom", "telepathy:3", "webcam", "", "dicom:", "camera:front"]
)
def test_an_unknown_kind_is_refused_with_a_hint(spec: str) -> None:
    with pytest.raises(BadInput) as caught:
        open_source(spec)
    assert caught.value.hint
    assert "\n" not in str(caught.value)


def test_the_hint_lists_every_kind() -> None:
    with pytest.raises(BadInput) as caught:
        open_source("telepathy:3")
    assert all(kind in caught.value.hint for kind in KINDS)


@pytest.mark.parametrize("prefix", ["", "dicom:", "video:", "images:"])
def test_a_missing_file_fails_in_one_line_that_does_not_name_it(
    prefix: str, tmp_path: Path
) -> None:
    with pytest.raises(SourceFailed) as caught:
        open_source(f"{prefix}{tmp_path}/DOE_JANE.dcm")
    text = str(caught.value) + caught.value.hint
    assert "DOE" not in text
    assert "\n" not in text
    assert caught.value.hint


@pytest.mark.parametrize("content", [b"", b"only words here\n", bytes(range(256)) * 40])
@pytest.mark.parametrize("name", ["DOE_JANE.mp4", "DOE_JANE.dcm", "DOE_JANE.txt"])
def test_a_file_that_is_no_picture_fails_in_one_line(
    content: bytes, name: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SourceFailed) as caught:
        open_source(str(path))
    assert "DOE" not in str(caught.value) + caught.value.hint


def test_dicom_is_known_by_its_preamble_whatever_its_name(tmp_path: Path) -> None:
    unnamed = tmp_path / "IM000001"
    unnamed.write_bytes(Path(get_path("rgb_color")).read_bytes())
    assert open_source(str(unnamed)).info.kind == "dicom"


def test_a_folder_is_a_folder_of_pictures(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((20, 20), np.uint8))
    assert open_source(str(tmp_path)).info.kind == "images"


@pytest.mark.parametrize("prefix", ["", "images:"])
@pytest.mark.parametrize("name", ["still.png", "still.jp2", "still.webp", "still.tif"])
def test_one_picture_is_a_source_as_a_folder_of_them_is(
    prefix: str, name: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    cv2.imwrite(str(path), np.zeros((48, 64, 3), np.uint8))
    info = open_source(f"{prefix}{path}").info
    assert (info.kind, info.width, info.height, info.frame_count) == ("images", 64, 48, 1)


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "is empty"), (b"some words\n", "no picture of a kind")]
)
def test_a_file_named_like_a_picture_is_refused_as_one(
    content: bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / "DOE.png").write_bytes(content)
    with pytest.raises(SourceFailed, match=said) as caught:
        open_source(str(tmp_path / "DOE.png"))
    assert "video" not in str(caught.value)
    assert "DOE" not in str(caught.value)


def test_any_other_file_is_tried_as_video(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (64, 48))
    for _frame in range(3):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    info = open_source(str(path)).info
    assert (info.kind, info.width, info.height) == ("video", 64, 48)


def test_the_rate_can_be_given_for_every_file(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((20, 20), np.uint8))
    for spec in (str(tmp_path), str(tmp_path / "1.png"), str(get_path("rgb_color")), "demo"):
        assert open_source(spec, fps=12.5).info.fps == 12.5


def test_without_a_rate_pictures_play_at_thirty(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((20, 20), np.uint8))
    assert open_source(str(tmp_path)).info.fps == 30.0


@pytest.mark.parametrize("fps", [0.0, -3.0, 1e9, float("nan")])
@pytest.mark.parametrize("spec", ["demo", "phantom:ultrasound"])
def test_an_impossible_rate_is_refused(spec: str, fps: float) -> None:
    with pytest.raises(BadInput):
        open_source(spec, fps=fps)


def test_a_size_is_refused_where_the_source_has_its_own() -> None:
    with pytest.raises(BadInput, match="size of its own"):
        open_source("demo", size=(640, 480))


def test_automatic_masking_is_refused_for_what_declares_no_regions(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        open_source("phantom:ultrasound", mask_auto=True)
    assert "--mask" in caught.value.hint
