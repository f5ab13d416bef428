"""The three pictures side by side show the files as they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

from receiver.sinks.files import encode_png
from receiver.sinks.viewer import sealed_picture
from sender.sources import SourceInfo, SourcePicture
from sender.sources.geometry import Geometry
from shared.errors import BadInput, OutputFailed
from shared.frame import Image, Rect
from tests.doubles import picture
from veilscope.comparison import CAPTION_HEIGHT, GAP, PANEL_WIDTH, compare

MASK = Rect(0, 0, 20, 9)
WHITE = 255


class Pictures:
    """A source of five noisy pictures, white where its mask is."""

    def __init__(self, *, height: int, width: int, channels: int) -> None:
        self.info = SourceInfo("test", width, height, channels, 30.0, 5, False)

    def picture(self, index: int) -> Image:
        info = self.info
        image = picture(index, height=info.height, width=info.width, channels=info.channels)
        image[: MASK.height, : MASK.width] = WHITE
        return image

    @property
    def first(self) -> SourcePicture:
        return next(self.pictures())

    def pictures(self) -> Iterator[SourcePicture]:
        for index in range(5):
            geometry = Geometry(self.info.width, self.info.height)
            yield SourcePicture(self.picture(index), geometry, masks=(MASK,))

    def close(self) -> None:
        return


def masked(image: Image) -> Image:
    image[: MASK.height, : MASK.width] = 0
    return image


def save(folder: Path, source: Pictures, *indices: int) -> dict[int, bytes]:
    """What a receiver saves: the masked picture, and sealed bytes that are noise."""
    sealed = {}
    for index in indices:
        sealed[index] = np.random.default_rng(100 + index).bytes(5000 + index)
        (folder / f"frame-{index:06d}.png").write_bytes(encode_png(masked(source.picture(index))))
        (folder / f"frame-{index:06d}.sealed").write_bytes(sealed[index])
    return sealed


def read(path: Path) -> Image:
    with PilImage.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize("channels", [1, 3], ids=["grey", "RGB"])
@pytest.mark.parametrize(("height", "width"), [(41, 57), (120, 33)], ids=["wide", "tall"])
def test_the_middle_saved_frame_is_shown_three_times(
    tmp_path: Path, height: int, width: int, channels: int
) -> None:
    frames, out = tmp_path / "frames", tmp_path / "out"
    frames.mkdir()
    out.mkdir()
    source = Pictures(height=height, width=width, channels=channels)
    sealed = save(frames, source, 1, 3, 4)
    pictures = compare(source, frames, out)

    assert [picture.path for picture in pictures] == [
        out / "original.png",
        out / "as-sent.png",
        frames / "frame-000003.png",
    ]
    original, as_sent, decrypted = (read(picture.path) for picture in pictures)
    assert np.array_equal(original, masked(source.picture(3)))
    assert np.array_equal(decrypted, original)
    assert as_sent.shape == (height, width)
    raw = sealed_picture(sealed[3], width, height)
    assert set(np.unique(as_sent)) <= set(np.unique(raw)), "a sealed byte was smoothed"

    captions = [picture.caption for picture in pictures]
    assert captions[0].startswith("original")
    assert captions[1] == "as sent over the network: 5,003 bytes"
    assert captions[2] == "decrypted"

    side_by_side = read(out / "comparison.png")
    panel_height = round(PANEL_WIDTH * height / width)
    assert side_by_side.shape == (
        2 * GAP + panel_height + CAPTION_HEIGHT,
        GAP + 3 * (PANEL_WIDTH + GAP),
        3,
    )
    panels = [
        side_by_side[GAP : GAP + panel_height, left : left + PANEL_WIDTH]
        for left in (GAP + (PANEL_WIDTH + GAP) * place for place in range(3))
    ]
    assert np.array_equal(panels[0], panels[2])
    assert not np.array_equal(panels[0], panels[1])
    corner = panels[0][: panel_height * MASK.height // height, : PANEL_WIDTH * MASK.width // width]
    assert (corner == 0).all(), "what was masked is in the picture"


def test_the_captions_are_drawn_under_every_panel(tmp_path: Path) -> None:
    source = Pictures(height=41, width=57, channels=1)
    save(tmp_path, source, 0)
    compare(source, tmp_path, tmp_path)
    side_by_side = read(tmp_path / "comparison.png")
    under = side_by_side[GAP + round(PANEL_WIDTH * 41 / 57) :]
    for place in range(3):
        left = GAP + (PANEL_WIDTH + GAP) * place
        assert len(np.unique(under[:, left : left + PANEL_WIDTH])) > 3, f"nothing under {place}"


def test_without_saved_frames_there_is_nothing_to_compare(tmp_path: Path) -> None:
    source = Pictures(height=41, width=57, channels=1)
    with pytest.raises(BadInput, match="no frames are saved"):
        compare(source, tmp_path, tmp_path)
    (tmp_path / "frame-000000.png").write_bytes(encode_png(source.picture(0)))
    with pytest.raises(BadInput, match="no frames are saved"):
        compare(source, tmp_path, tmp_path)


def test_a_folder_that_can_t_be_written_to_is_said(tmp_path: Path) -> None:
    source = Pictures(height=41, width=57, channels=1)
    save(tmp_path, source, 0)
    with pytest.raises(OutputFailed, match="can't be saved"):
        compare(source, tmp_path, tmp_path / "missing")


def test_a_saved_frame_without_its_picture_is_bad_input(tmp_path: Path) -> None:
    source = Pictures(height=41, width=57, channels=1)
    save(tmp_path, source, 0)
    (tmp_path / "frame-000000.png").unlink()
    with pytest.raises(BadInput, match="no frames are saved"):
        compare(source, tmp_path, tmp_path)


def test_a_saved_index_beyond_the_source_is_bad_input(tmp_path: Path) -> None:
    source = Pictures(height=41, width=57, channels=1)
    save(tmp_path, source, 7)
    with pytest.raises(BadInput, match="no picture 7"):
        compare(source, tmp_path, tmp_path)
