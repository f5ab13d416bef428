"""A line counts as hidden by its last pixel, and what is hidden in vain is counted as such."""

from __future__ import annotations

import numpy as np
import pytest
from rich.console import Console

from lab.bench.lettering import CAP_HEIGHTS, FONTS, INKS, inscribe
from lab.bench.textsearch import search_tables, seconds_a_look, try_out
from shared.frame import Image, Rect

DARK = np.full((240, 320), 20, np.uint8)
GROUNDS = {"dark": DARK}


def hide_all(image: Image) -> tuple[Rect, ...]:
    return (Rect(0, 0, image.shape[1], image.shape[0]),)


def hide_none(_: Image) -> tuple[Rect, ...]:
    return ()


@pytest.mark.parametrize("font", FONTS)
@pytest.mark.parametrize("cap_height", CAP_HEIGHTS)
def test_letters_are_about_as_high_as_asked_for(font: str, cap_height: int) -> None:
    height = FONTS[font]("HEH", cap_height).shape[0]
    assert abs(height - cap_height) <= max(3, cap_height // 8)


@pytest.mark.parametrize("ink", INKS)
def test_ink_is_where_the_picture_changed(ink: str) -> None:
    drawn, [line] = inscribe(DARK, [("mono", 16, ink)], seed=1)
    rect = line.rect
    part = drawn[rect.y : rect.y + rect.height, rect.x : rect.x + rect.width].astype(int)
    paper = np.array(INKS[ink].strip or (20, 20, 20))
    assert (np.abs(part - paper).max(axis=2)[line.ink] > 12).all()
    assert line.hidden_by([rect])


def test_one_bare_pixel_is_enough_to_be_missed() -> None:
    _, [line] = inscribe(DARK, [("bold", 16, "white")], seed=2)
    rect = line.rect
    assert not line.hidden_by([Rect(rect.x + 1, rect.y, rect.width, rect.height)])
    assert line.hidden_by(
        [
            Rect(rect.x, rect.y, 9, rect.height),
            Rect(rect.x + 9, rect.y, rect.width, rect.height),
        ]
    )


def test_a_line_that_nobody_could_read_is_not_drawn() -> None:
    bright = np.full((240, 320), 250, np.uint8)
    assert inscribe(bright, [("mono", 16, "white")], seed=1)[1] == []


def test_the_same_seed_draws_the_same() -> None:
    one, other = (inscribe(DARK, [("serif", 12, "half")] * 3, seed=4)[0] for _ in range(2))
    assert np.array_equal(one, other)


def test_a_search_that_hides_all_misses_nothing_but_hides_in_vain() -> None:
    findings = try_out(hide_all, GROUNDS, quick=True)
    assert findings.recall == 1
    assert findings.in_vain == {"dark": (1, 1.0)}
    assert min(findings.beside) > 0.1


def test_a_search_that_hides_nothing_misses_all_and_every_line_is_listed() -> None:
    findings = try_out(hide_none, GROUNDS, quick=True)
    assert findings.recall == 0 and set(findings.beside) == {0.0}
    console = Console(record=True, width=200)
    for table in search_tables(findings):
        console.print(table)
    text = console.export_text()
    assert "missed" in text and "alone" in text and "capitals, px: 8" in text


def test_time_is_measured_quiet_and_busy() -> None:
    for busy in (False, True):
        clock, processor = seconds_a_look(hide_none, DARK, busy=busy)
        assert clock >= 0 and processor >= 0
