"""`veilscope bench text` tries the sender's search and writes what it found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.bench import text
from shared.frame import Image, Rect


class HidesAll:
    def find(self, image: Image) -> tuple[Rect, ...]:
        return (Rect(0, 0, image.shape[1], image.shape[0]),)


@pytest.mark.parametrize("source", [None, ["phantom:endoscopy"]])
def test_the_figures_are_written_without_the_pictures(
    source: list[str] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "TextFinder", HidesAll)
    text.text_command(source=source, quick=True, json_file=tmp_path / "figures.json")
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["recall"] == 1.0
    assert {line["hidden"] for line in figures["lines"]} == {True}
    assert len(figures["boxes_and_share_without_text"]) == (3 if source is None else 1)
