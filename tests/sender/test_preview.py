"""The preview: hatched exactly where it is hidden, and the picture itself elsewhere."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from sender.masks.rectangles import hidden_pixels
from sender.preparation import MaskWishes
from sender.preview import hatched, sheet
from sender.sources import Reading, Skipped, SourceInfo, SourcePicture
from sender.sources.geometry import Geometry
from shared.control import Notice
from shared.errors import BadInput, OutputFailed, SourceFailed
from shared.frame import Image, Rect
from tests.doubles import picture
from veilscope.cli import app

rects = st.builds(
    Rect, st.integers(0, 56), st.integers(0, 40), st.integers(1, 60), st.integers(1, 60)
)


class Pictures:
    """A source of the given pictures."""

    def __init__(
        self, *pictures: SourcePicture, burned_in: str | None = None, live: bool = False
    ) -> None:
        self._pictures = pictures
        self.first = pictures[0]
        width, height = self.first.geometry.shown_size
        self.info = SourceInfo(
            "double", width, height, 1, 25.0, len(pictures), live, ("a remark",), burned_in
        )
        self.closed = False

    def pictures(self) -> Iterator[SourcePicture]:
        yield from self._pictures

    def close(self) -> None:
        self.closed = True


def plain(index: int, *, channels: int = 1, masks: tuple[Rect, ...] = ()) -> SourcePicture:
    return SourcePicture(picture(index, channels=channels), Geometry(57, 41), masks=masks)


def run(path: Path, *options: str, spec: str = "double") -> Result:
    return CliRunner().invoke(app, ["preview", spec, "-o", str(path), *options])


def opens(monkeypatch: pytest.MonkeyPatch, source: Pictures) -> Pictures:
    monkeypatch.setattr("sender.preparation.open_source", lambda *_, **__: source)
    monkeypatch.setattr("sender.preparation._open_finder", _no_finder)
    return source


def _no_finder() -> object:
    raise BadInput("the extra is not installed")


def read(path: Path) -> Image:
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR)[:, :, ::-1], np.uint8)


def rgb(image: Image) -> Image:
    return image if image.ndim == 3 else np.repeat(image[:, :, np.newaxis], 3, axis=2)


@settings(deadline=None)
@given(masks=st.lists(rects, max_size=4), channels=st.sampled_from([1, 3]), data=st.data())
def test_under_the_hatching_there_is_nothing_of_the_picture(
    masks: list[Rect], channels: int, data: st.DataObject
) -> None:
    one, other = (picture(data.draw(st.integers(0, 99)), channels=channels) for _ in range(2))
    hidden = hidden_pixels(masks, 57, 41)
    first, second = hatched(one, masks), hatched(other, masks)
    assert np.array_equal(first[hidden], second[hidden])
    assert np.array_equal(first[~hidden], rgb(one)[~hidden])


@settings(deadline=None)
@given(mask=rects)
def test_what_is_hidden_can_be_told_from_a_black_picture(mask: Rect) -> None:
    drawn = hatched(np.zeros((41, 57), np.uint8), [mask])
    hidden = hidden_pixels([mask], 57, 41)
    assert np.all(drawn[hidden].any(axis=1))
    if min(mask.width, 57 - mask.x) >= 12 or min(mask.height, 41 - mask.y) >= 12:
        assert len(np.unique(drawn[hidden], axis=0)) == 2  # stripes and what is between them


def test_a_sheet_holds_every_picture_in_full() -> None:
    pictures = [rgb(picture(index)) for index in range(3)]
    drawn = sheet(pictures)
    assert drawn.shape == (82, 114, 3)
    assert np.array_equal(drawn[:41, :57], pictures[0])
    assert np.array_equal(drawn[:41, 57:], pictures[1])
    assert np.array_equal(drawn[41:, :57], pictures[2])


def test_a_sheet_that_would_be_too_large_is_refused() -> None:
    with pytest.raises(BadInput, match="too large"):
        sheet([np.zeros((4096, 4096, 3), np.uint8)] * 9)


def test_the_preview_is_what_the_first_frame_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared, drawn = Rect(0, 0, 57, 10), Rect(20, 20, 8, 8)
    source = opens(monkeypatch, Pictures(plain(1, masks=(declared,)), plain(2, masks=(declared,))))
    path = tmp_path / "p.png"
    result = run(path, "--mask", "20,20,8,8")
    assert result.exit_code == 0, result.output
    hidden = hidden_pixels([declared, drawn], 57, 41)
    shown = read(path)
    assert np.array_equal(shown[~hidden], rgb(picture(1))[~hidden])
    assert np.array_equal(shown, hatched(picture(1), [declared, drawn]))
    assert result.output.splitlines()[:3] == [
        "source: double, 57x41 grey, 25/s, 2 pictures",
        "a remark",
        f"{round(100 * (~hidden).mean())} % of the picture stays visible",
    ]
    assert source.closed


def test_the_preview_is_for_its_owner_and_holds_pixels_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens(monkeypatch, Pictures(plain(1, channels=3)))
    path = tmp_path / "p.png"
    assert run(path).exit_code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    content, at, kinds = path.read_bytes(), 8, set()
    while at < len(content):
        kinds.add(content[at + 4 : at + 8])
        at += 12 + int.from_bytes(content[at : at + 4], "big")
    assert kinds == {b"IHDR", b"IDAT", b"IEND"}


def test_a_picture_that_is_there_is_not_overwritten_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens(monkeypatch, Pictures(plain(1)))
    path = tmp_path / "p.png"
    path.write_bytes(b"mine")
    result = run(path)
    assert isinstance(result.exception, OutputFailed)
    assert "--overwrite" in result.exception.hint
    assert path.read_bytes() == b"mine"
    assert run(path, "--overwrite").exit_code == 0
    assert np.array_equal(read(path), rgb(picture(1)))


def test_a_link_is_not_written_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opens(monkeypatch, Pictures(plain(1)))
    path, target = tmp_path / "p.png", tmp_path / "elsewhere.png"
    path.symlink_to(target)
    assert isinstance(run(path).exception, OutputFailed)
    assert run(path, "--overwrite").exit_code == 0
    assert not target.exists()
    assert not path.is_symlink()


@pytest.mark.parametrize(("name", "error"), [("p.jpg", BadInput), ("nowhere/p.png", OutputFailed)])
def test_a_file_that_can_t_be_written_is_told(
    name: str, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens(monkeypatch, Pictures(plain(1)))
    assert isinstance(run(tmp_path / name).exception, error)


def test_a_source_that_can_t_be_opened_leaves_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    result = run(path, spec=str(tmp_path / "DOE_JANE.dcm"))
    assert isinstance(result.exception, SourceFailed)
    assert "DOE" not in str(result.exception) + result.exception.hint
    assert not path.exists()


def test_a_preview_is_never_refused_and_says_that_send_would_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens(monkeypatch, Pictures(plain(1), burned_in="text is burned in"))
    result = run(tmp_path / "p.png")
    assert result.exit_code == 0
    assert "send would ask for leave: text is burned in" in result.output
    result = run(tmp_path / "q.png", "--burned-in-ok")
    assert "would ask" not in result.output
    result = run(tmp_path / "r.png", "--mask", "0,0,20,20")
    assert "leave" not in result.output


def test_pictures_that_are_masked_otherwise_than_the_first_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    larger = SourcePicture(picture(3, width=80, height=60), Geometry(80, 60))
    opens(monkeypatch, Pictures(plain(1), plain(2), larger))
    path = tmp_path / "p.png"
    result = run(path, "--mask", "0,0,57,10", "--frames", "3")
    assert "picture 3 is masked otherwise: 0 % of its 80x60 stays visible" in result.output
    assert "picture 2" not in result.output
    drawn = read(path)
    assert drawn.shape == (120, 160, 3)
    assert np.array_equal(drawn[60:120, :80], hatched(larger.image, [Rect(0, 0, 80, 60)]))


class Letters:
    """A finder that sees a line in the pictures after the first, or fails on the third."""

    def __init__(self, pictures: Pictures, *, fails: bool = False) -> None:
        self._images = [each.image for each in pictures.pictures()]
        self._fails = fails
        self.looks: list[int] = []
        self.settle = lambda: None

    def find(self, image: Image) -> tuple[Rect, ...]:
        number = next(n for n, one in enumerate(self._images) if np.array_equal(one, image))
        self.looks.append(number)
        if self._fails and number == 2:
            raise RuntimeError("DOE JANE")
        return (LINE,) if number else ()


LINE = Rect(4, 4, 30, 8)


@pytest.mark.parametrize(("frames", "looks"), [(1, [0]), (2, [0, 1]), (4, [0, 1, 2, 3])])
def test_letters_are_looked_for_in_each_picture_that_is_drawn_and_in_no_other(
    frames: int, looks: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = opens(monkeypatch, Pictures(*(plain(index) for index in range(4))))
    finder = Letters(source)
    monkeypatch.setattr("sender.preparation._open_finder", lambda: finder)
    path = tmp_path / "p.png"
    result = run(path, "--mask-text", "--frames", str(frames))
    assert result.exit_code == 0, result.output
    assert finder.looks == looks
    drawn = [hatched(picture(n), [LINE] if n else []) for n in range(frames)]
    assert np.array_equal(read(path), sheet(drawn))
    assert "looked for in the pictures drawn here only" in result.output
    assert "as they come" not in result.output


def test_a_drawn_picture_in_which_letters_can_t_be_looked_for_is_hidden_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = opens(monkeypatch, Pictures(*(plain(index) for index in range(4))))
    finder = Letters(source, fails=True)
    monkeypatch.setattr("sender.preparation._open_finder", lambda: finder)
    path = tmp_path / "p.png"
    result = run(path, "--mask-text", "--frames", "4")
    assert result.exit_code == 0, result.output
    assert "DOE" not in result.output
    masks = [[], [LINE], [Rect(0, 0, 57, 41)], [LINE]]
    drawn = [hatched(picture(n), each) for n, each in enumerate(masks)]
    assert np.array_equal(read(path), sheet(drawn))


class Troubled(Pictures):
    """Gives a gap and a notice, one picture, and fails."""

    def pictures(self) -> Iterator[Reading]:  # type: ignore[override]
        yield Skipped("picture 0 is damaged")
        yield Notice(kind="source_back", text="the device came back")
        yield self._pictures[1]
        raise SourceFailed("the rest can't be read")


def test_what_a_source_tells_is_told_and_its_end_is_no_end_of_the_preview(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens(monkeypatch, Troubled(plain(1), plain(2)))
    path = tmp_path / "p.png"
    result = run(path)
    assert result.exit_code == 0, result.output
    for line in (
        "picture 0 is damaged",
        "the device came back",
        "after picture 1: the rest can't be read",
    ):
        assert line in result.output
    assert np.array_equal(read(path), rgb(picture(2)))


def test_of_a_live_source_the_picture_that_was_read_already_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens(monkeypatch, Troubled(plain(1), plain(2), live=True))
    path = tmp_path / "p.png"
    assert run(path).exit_code == 0
    assert np.array_equal(read(path), rgb(picture(1)))


def test_the_source_may_be_named_as_a_sender_names_it(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    options = ["--source", "phantom:endoscopy", "--size", "64x48", "--mask", "0,0,64,12"]
    result = CliRunner().invoke(app, ["preview", *options, "-o", str(path)])
    assert result.exit_code == 0, result.output
    assert "75 % of the picture stays visible" in result.output
    assert read(path).shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ([], {}),
        (["--mask-text"], {"masks": MaskWishes(text=True)}),
        (["--mask-auto"], {"masks": MaskWishes(auto=True)}),
        (
            ["--mask", "1,2,3,4", "--mask", "5,6,7,8"],
            {"masks": MaskWishes(("1,2,3,4", "5,6,7,8"))},
        ),
        (["--fps", "12.5"], {"fps": 12.5}),
        (["--size", "64x48"], {"size": "64x48"}),
    ],
)
def test_what_is_to_be_shown_and_hidden_is_asked_of_the_preparation(
    options: list[str], asked: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, Any]] = []

    def prepare(spec: str, **wanted: Any) -> None:
        told.append({"spec": spec, **wanted})
        raise BadInput("far enough")

    monkeypatch.setattr("sender.preview.prepare", prepare)
    assert isinstance(run(tmp_path / "p.png", *options).exception, BadInput)
    plain_wishes = {"spec": "double", "size": None, "fps": None, "masks": MaskWishes()}
    assert told == [plain_wishes | {"preview": True} | asked]
