"""Burned-in letters are found and covered, tissue is left alone, and nothing is fetched for it."""

from __future__ import annotations

import importlib.util
import logging
import socket
import sys
import threading
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.bench.lettering import inscribe
from sender.masks.textfinder import (
    TextFinder,
    _cores,
    _enlarged,
    _grown,
    _in_picture,
    _lines,
    _spans,
    yield_to_others,
)
from sender.sources.phantom import PhantomSource
from shared.errors import BadInput
from shared.frame import MAX_SIDE, Image

SIZE = (400, 300)
LINES = (
    ("sans", 10, "white"),
    ("bold", 16, "yellow"),
    ("mono", 12, "grey"),
    ("bitmap", 12, "white"),
    ("serif", 24, "half"),
    ("strokes", 12, "dark"),
)

sides = st.integers(16, MAX_SIDE)
edges = st.integers(-300, 5000)


@pytest.fixture(scope="module")
def finder() -> TextFinder:
    return TextFinder()


def phantom(kind: str) -> Image:
    return PhantomSource(kind, size=SIZE).picture(0)


@pytest.mark.parametrize("kind", ["ultrasound", "endoscopy"])
def test_every_pixel_of_every_letter_is_covered(finder: TextFinder, kind: str) -> None:
    picture, lines = inscribe(phantom(kind), LINES, seed=3)
    rects = finder.find(picture)
    assert len(lines) >= 4
    assert [line.text for line in lines if not line.hidden_by(rects)] == []


def test_a_single_faint_line_is_found_and_little_else_hidden(finder: TextFinder) -> None:
    picture, [line] = inscribe(phantom("ultrasound"), [("sans", 10, "grey")], seed=5)
    rects = finder.find(picture)
    assert line.hidden_by(rects)
    assert sum(rect.width * rect.height for rect in rects) < 0.1 * picture[:, :, 0].size


def test_letters_in_a_grey_picture_are_found_too(finder: TextFinder) -> None:
    picture, [line] = inscribe(phantom("ultrasound"), [("mono", 16, "white")], seed=6)
    assert line.hidden_by(finder.find(np.ascontiguousarray(picture[:, :, 1])))


@pytest.mark.parametrize("kind", ["ultrasound", "endoscopy"])
def test_nothing_is_found_where_no_letters_are(finder: TextFinder, kind: str) -> None:
    assert finder.find(phantom(kind)) == ()


def test_a_picture_within_a_black_frame_is_no_letter(finder: TextFinder) -> None:
    framed = cv2.copyMakeBorder(
        phantom("endoscopy"), 20, 20, 60, 60, borderType=cv2.BORDER_CONSTANT
    )
    assert finder.find(np.asarray(framed, np.uint8)) == ()


def test_the_same_picture_gives_the_same_rectangles(finder: TextFinder) -> None:
    picture, _ = inscribe(phantom("endoscopy"), LINES[:2], seed=9)
    assert finder.find(picture) == finder.find(picture.copy())


def test_where_even_the_sample_is_not_seen_all_is_covered(
    finder: TextFinder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sees_nothing(outputs: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        return [np.zeros_like(inputs["x"][:, :1])]

    monkeypatch.setattr(finder, "_session", SimpleNamespace(run=sees_nothing))
    [rect] = finder.find(np.zeros((60, 80), np.uint8))
    assert (rect.x, rect.y, rect.width, rect.height) == (0, 0, 80, 60)


def test_what_is_no_picture_is_refused(finder: TextFinder) -> None:
    with pytest.raises(BadInput):
        finder.find(np.zeros((40, 40, 4), np.uint8))


def test_nothing_is_fetched_and_nothing_said(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def connect(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked for")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, connect)
    monkeypatch.delitem(sys.modules, "rapidocr", raising=False)
    TextFinder().find(np.zeros((60, 80), np.uint8))
    assert "rapidocr" not in sys.modules
    assert not logging.getLogger("RapidOCR").handlers
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("absent", ["rapidocr", "onnxruntime"])
def test_a_missing_package_is_told_with_what_brings_it(
    monkeypatch: pytest.MonkeyPatch, absent: str
) -> None:
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(BadInput) as told:
        TextFinder()
    assert told.value.hint == "pip install 'veilscope[text]'"


@pytest.mark.parametrize("content", [None, b"another network"])
def test_a_network_other_than_the_measured_one_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "models").mkdir()
        (tmp_path / "models" / "PP-OCRv6_det_small.onnx").write_bytes(content)
    place = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: place)
    with pytest.raises(BadInput, match="another network") as told:
        TextFinder()
    assert str(tmp_path) not in str(told.value)


def test_yielding_to_others_never_fails() -> None:
    failed: list[BaseException] = []

    def yielding() -> None:
        try:
            yield_to_others()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=yielding)
    thread.start()
    thread.join()
    assert failed == []


# -- around the network ---------------------------------------------------------------------------


@given(side=st.integers(1, 4 * MAX_SIDE))
def test_tiles_cover_a_side_overlap_and_are_bounded(side: int) -> None:
    spans = _spans(side)
    assert spans[0][0] == 0 and spans[-1][1] == side
    assert all(0 < last - first <= 1152 for first, last in spans)
    assert all(one[1] - other[0] >= 128 for one, other in pairwise(spans))


@given(
    left=edges,
    top=edges,
    width=st.integers(1, 3000),
    height=st.integers(1, 3000),
    factor=st.sampled_from((1.0, 1.5, 1.533, 3.0)),
    picture=st.tuples(sides, sides),
)
def test_rectangles_lie_in_the_picture_and_cover_what_was_found(
    left: int, top: int, width: int, height: int, factor: float, picture: tuple[int, int]
) -> None:
    rect = _in_picture((left, top, left + width, top + height), (factor, factor), *picture)
    first, last = (left - 32) / factor, (left + width - 32) / factor
    upper, lower = (top - 32) / factor, (top + height - 32) / factor
    if rect is None:
        assert last <= 2 or lower <= 2 or first >= picture[0] - 3 or upper >= picture[1] - 3
        return
    assert rect.clipped(*picture) == rect
    assert rect.x <= max(0, first - 2) and rect.x + rect.width >= min(picture[0], last + 2)
    assert rect.y <= max(0, upper - 2) and rect.y + rect.height >= min(picture[1], lower + 2)


@given(width=st.integers(3, 900), height=st.integers(3, 900))
def test_a_core_grows_on_all_sides_and_most_along_the_line(width: int, height: int) -> None:
    left, top, right, bottom = _grown((0, 0, width, height))
    assert -left == right - width > 0 and -top == bottom - height > 0
    assert (-left >= -top) == (width >= height)


def test_words_of_a_line_become_one_and_lines_stay_apart() -> None:
    probability = np.zeros((200, 400), np.float32)
    for left, right in ((20, 80), (110, 200)):  # two words
        probability[40:50, left:right] = 0.9
    probability[90:100, 20:80] = 0.9  # the next line
    probability[150, 20:300] = 0.9  # thinner than any core
    probability[170:180, 20:300] = 0.25  # not sure enough
    assert sorted(_lines(probability)) == [(20, 40, 200, 50), (20, 90, 80, 100)]
    assert len(_cores(probability)) == 3


@given(height=sides, width=sides)
def test_no_picture_becomes_too_large(height: int, width: int) -> None:
    small = np.broadcast_to(np.uint8(0), (height, width))
    if height * width > 200_000:  # the arithmetic is that of smaller ones
        return
    enlarged = _enlarged(np.ascontiguousarray(small))
    assert enlarged.shape[0] <= 3.1 * height + 65 and enlarged.shape[1] <= 3.1 * width + 65
