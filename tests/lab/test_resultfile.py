from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from lab.bench.cli import bench_app
from lab.cli import keystream_app
from lab.resultfile import ResultFile
from shared.errors import OutputFailed


def test_results_take_the_place_of_older_ones_only_when_there_are_some(tmp_path) -> None:
    path = tmp_path / "results.json"
    results = ResultFile(path)
    assert not path.exists()
    results.write({"runs": [1, 2, 3]})
    again = ResultFile(path)
    assert json.loads(path.read_text()) == {"runs": [1, 2, 3]}
    again.write([])
    assert json.loads(path.read_text()) == []


def test_without_a_path_nothing_is_written() -> None:
    ResultFile(None).write({})


def test_a_place_that_goes_away_is_told(tmp_path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    results = ResultFile(folder / "results.json")
    folder.rmdir()
    with pytest.raises(OutputFailed, match=r"results\.json: No such file"):
        results.write({})


@pytest.mark.parametrize("place", ["no/folder/results.json", ""], ids=["no folder", "a folder"])
@pytest.mark.parametrize(
    ("app", "command"),
    [
        (keystream_app, "attack"),
        (keystream_app, "study"),
        (keystream_app, "distinguish"),
        (bench_app, "keystream"),
        (bench_app, "codecs"),
    ],
)
def test_a_place_that_can_not_be_written_is_told_before_the_run(
    monkeypatch, tmp_path, app, command, place
) -> None:
    def begun(*args: object, **options: object) -> None:
        raise AssertionError("the run began")

    for name in (
        "lab.cryptanalysis.cli.study",
        "lab.cli.study",
        "lab.distinguishers.cli.judge",
        "lab.bench.keystream.open_backend",
        "lab.bench.codecs.measure",
    ):
        monkeypatch.setattr(name, begun)
    result = CliRunner().invoke(app, [command, "--json", str(tmp_path / place)])
    assert isinstance(result.exception, OutputFailed)
