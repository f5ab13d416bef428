"""The benchmark of sources: every format is read, by ourselves and by the others that can."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from lab.bench import conformance, sources
from lab.bench.cli import bench_app
from lab.bench.conformance import Conformance, as_markdown, examine
from lab.bench.footage import open_footage
from lab.bench.sourcefiles import WRITERS
from shared.errors import BadInput

PICTURES = [np.full((48, 64, 3), 40 * n, np.uint8) for n in range(4)]


def bench(*arguments: str) -> Result:
    return CliRunner().invoke(bench_app, ["sources", *arguments])


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_is_written_and_read_back(name: str, tmp_path: Path) -> None:
    path = WRITERS[name](tmp_path, PICTURES)
    for reader, reading in sources.readers_of(path).items():
        found = list(reading())
        assert len(found) == 4, reader
    shown = list(open_footage(str(path))[1])
    for picture, expected in zip(shown, PICTURES, strict=True):
        assert np.abs(picture.astype(int) - expected).max() <= 6


def test_the_figures_are_printed_and_written(tmp_path: Path) -> None:
    out = tmp_path / "sources.json"
    options = ["--frames", "2", "--size", "64x48", "--passes", "1", "--json", str(out)]
    result = bench(*options)
    assert result.exit_code == 0, result.output
    rows = json.loads(out.read_text())["ms"]
    assert list(rows) == list(WRITERS)
    assert all(row["Veilscope"] > 0 for row in rows.values())
    assert "DICOM, RLE" in result.output


def test_a_verdict_is_right_differs_or_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conformance, "_expected", lambda *_: (np.full((20, 20), 9, np.uint8), "x"))
    outcomes = []
    for grey in (9, 90):
        picture = np.full((20, 20), grey, np.uint8)
        verdicts = examine(lambda _path, picture=picture: iter([picture]), "MR_small.dcm")
        outcomes += [verdict.outcome for verdict in verdicts]
    assert outcomes == ["plays right (x)", "**differs from x by 81**"]

    def refused(_path: str) -> object:
        raise BadInput("because")

    (verdict,) = examine(refused, "MR_small.dcm")  # type: ignore[arg-type]
    assert verdict.outcome == "refused: because"


def test_some_of_pydicoms_files_play_right() -> None:
    def play(path: str) -> object:
        return open_footage(f"dicom:{path}")[1]

    for pattern in ("MR_small*.dcm", "SC_rgb_jpeg*.dcm", "examples_*.dcm"):
        for verdict in examine(play, pattern):  # type: ignore[arg-type]
            assert verdict.right or "not compared" in verdict.outcome, verdict


def test_the_table_is_markdown() -> None:
    text = as_markdown([Conformance("a.dcm", "RLE Lossless", "1 of 8x8", "plays right (x)", True)])
    assert text.splitlines()[2] == "| `a.dcm` | RLE Lossless | 1 of 8x8 | plays right (x) |"
    assert text.endswith("1 of 1 files play right.")
