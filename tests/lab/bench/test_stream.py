from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from lab.bench import stream
from lab.bench.footage import Footage
from lab.bench.rivals.place import Place
from lab.bench.rivals.records import Offered, Shown, StreamRecord
from lab.bench.rivals.rival import Case, Run
from lab.netlab import Impairment, ImpairmentStep, Profile, Schedule
from shared.errors import BadInput, VeilscopeError
from shared.frame import Image

SECOND = 1_000_000_000


@dataclass(frozen=True)
class Staged:
    """A rival that shows every picture after 40 ms, or fails."""

    name: str
    missing: str | None = None
    fails: bool = False

    def stream(self, case: Case, place: Place) -> Run:
        if self.fails:
            raise VeilscopeError("it broke")
        assert case.folder.is_dir()
        offered = [
            Offered(i, round(i * SECOND / case.fps)) for i in range(int(case.seconds * case.fps))
        ]
        shown = [Shown(o.index, o.captured_at_ns, o.captured_at_ns + 40_000_000) for o in offered]
        return Run(StreamRecord(offered, shown), 0, round(case.seconds * SECOND))


def footage(spec: str, size: tuple[int, int] | None, fps: float | None) -> Footage:
    def pictures() -> Iterator[Image]:
        while True:
            yield np.zeros((size or (320, 240))[::-1], np.uint8)

    assert spec == "phantom:ultrasound"
    return fps or 20.0, pictures()


@pytest.fixture
def run(monkeypatch):
    rivals = [
        Staged("one"),
        Staged("two"),
        Staged("absent", missing="it is not here"),
        Staged("broken", fails=True),
    ]
    monkeypatch.setattr(stream, "open_footage", footage)
    monkeypatch.setattr(stream, "RIVALS", {rival.name: rival for rival in rivals})
    app = typer.Typer()
    app.command()(stream.main)

    def invoke(*arguments: str):
        return CliRunner().invoke(app, list(arguments))

    return invoke


def test_rivals_take_turns_and_each_is_a_row_of_table_and_json(run, tmp_path) -> None:
    out = tmp_path / "found.json"
    result = run(
        "--rivals", "one,two", "--rounds", "2", "--seconds", "4", "--size", "640x480",
        "--json", str(out), "--plots", str(tmp_path / "plots"),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = json.loads(out.read_text())
    order = [(one["name"], one["round"]) for one in found["results"]]
    assert order == [("one", 1), ("two", 1), ("one", 2), ("two", 2)]
    assert found["case"]["size"] == [640, 480]
    assert found["case"]["fps"] == 20.0
    assert found["results"][0]["figures"]["latency_p50_ms"] == 40.0
    assert found["results"][0]["figures"]["offered"] == 40  # after the warm-up
    assert len(list((tmp_path / "plots").glob("*.svg"))) == 3
    assert "one" in result.output


def test_a_rival_that_is_missing_or_fails_is_told_and_the_others_go_on(run, tmp_path) -> None:
    out = tmp_path / "found.json"
    result = run("--rivals", "absent,broken,one", "--seconds", "4", "--json", str(out))
    assert result.exit_code == 0, result.output
    assert "without absent: it is not here" in result.output
    assert "broken: it broke" in result.output
    assert [one["name"] for one in json.loads(out.read_text())["results"]] == ["one"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rivals", "nobody"], "no rival"),
        (["--seconds", "2", "--warmup", "2"], "nothing to evaluate"),
        (["--rivals", "one", "--size", "large"], "not a size"),
        (["--rivals", "one", "--profile", "no-such-profile"], "no profile"),
    ],
)
def test_options_that_make_no_sense_are_refused(run, arguments, message) -> None:
    error = run(*arguments).exception
    assert isinstance(error, BadInput)
    assert message in str(error)


def test_the_ends_of_outages_are_found_in_a_profile() -> None:
    good, gone = Impairment(), Impairment(outage=True)
    schedule = Schedule(
        (
            ImpairmentStep(0, good),
            ImpairmentStep(10, gone),
            ImpairmentStep(13, good),
            ImpairmentStep(20, good),
        )
    )
    assert stream.outage_ends(Profile("x", "", schedule, schedule)) == [13]
    assert stream.outage_ends(None) == []


def test_the_name_of_a_file_is_not_told() -> None:
    assert stream.told_source("phantom:endoscopy") == "phantom:endoscopy"
    assert stream.told_source("/data/Jane_Doe.dcm") == "a clip"
