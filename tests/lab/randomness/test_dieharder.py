from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import astuple

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from lab import cli
from lab.cli import keystream_app
from lab.randomness.dieharder import Dieharder, DieharderVerdict, find_dieharder
from lab.randomness.laboratory import RandomnessResult, open_network_stream
from lab.randomness.report import dieharder_table
from lab.randomness.verdict import judge
from shared.errors import BadInput, VeilscopeError

# It tells what it was given: the options, its process and the first bytes of the stream.
FAKE = """\
import os, sys
options = sys.argv[1:]
if options == ["-V"]:
    print("9.9")
elif options == ["-l"]:
    print("Installed tests:\\n  -d 0  \\t  Birthdays\\t Good\\n  -d 102  \\t  Serial\\t Good")
else:
    assert options[:2] == ["-g", "200"] and "-c" in options
    which = options[2] if options[2] == "-a" else options[2] + options[3]
    print("# a remark, of, no, meaning, here, 1")
    for verdict in ("PASSED", "WEAK", VERDICT):
        first = sys.stdin.buffer.read(4).hex()
        line = f"   told {which} {first},{os.getpid():4},   100,  100,0.12345678,  {verdict}  "
        print(line, flush=True)
    ENDING
"""


class Counting:
    """Segments of 2,048 bytes: the 32-bit numbers from 0 on."""

    segment_bytes = 2_048

    def segment(self, index: int, spare: np.ndarray | None = None) -> np.ndarray:
        return np.arange(index * 512, (index + 1) * 512).astype(">u4").view(np.uint8)


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Put a dieharder of our own where the real one would be found."""

    def install(verdict: str = "FAILED", ending: str = "") -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        script = folder / "dieharder"
        body = FAKE.replace("VERDICT", repr(verdict)).replace("ENDING", ending)
        script.write_text(f"#!{sys.executable}\n{body}")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))

    return install


def found(tests: str) -> Dieharder:
    program = find_dieharder(tests)
    assert program is not None
    return program


def ended(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


def test_all_tests_are_one_run_on_one_continuous_stream(fake) -> None:
    fake()
    heard: list[DieharderVerdict] = []
    verdicts = found("all").run(Counting(), on_verdict=heard.append)
    assert tuple(heard) == verdicts
    assert [v.test for v in verdicts] == [f"told -a 0000000{i}" for i in range(3)]
    assert [v.assessment for v in verdicts] == ["PASSED", "WEAK", "FAILED"]
    assert [v.failed for v in verdicts] == [False, False, True]
    assert astuple(verdicts[0])[2:5] == (100, 100, 0.12345678)
    assert found("all").version == "9.9"


def test_tests_named_by_number_each_begin_with_the_stream_anew(fake) -> None:
    fake()
    verdicts = found("102,0").run(Counting())
    assert [v.test for v in verdicts[::3]] == ["told -d102 00000000", "told -d0 00000000"]


@pytest.mark.parametrize("tests", ["all", "0"])
def test_where_it_is_not_installed_one_line_says_what_to_install(
    tests, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInput, match="not installed") as raised:
        find_dieharder(tests)
    assert "apt-get install dieharder" in raised.value.hint
    outcome = CliRunner().invoke(keystream_app, ["test", "--dieharder", tests])
    assert isinstance(outcome.exception, BadInput)
    assert find_dieharder("none") is None


@pytest.mark.parametrize("tests", ["1", "0,1", "", "some", "0,", "-d"])
def test_a_test_that_it_does_not_have_is_refused_before_it_can_crash_on_it(fake, tests) -> None:
    fake()
    with pytest.raises(BadInput, match="no test") as raised:
        find_dieharder(tests)
    assert "0,102" in raised.value.hint


def test_an_end_with_another_status_is_an_error_with_its_last_words(fake) -> None:
    fake(ending="print('out of paper'); sys.exit(3)")
    with pytest.raises(VeilscopeError, match="status 3 after 3 verdicts: out of paper"):
        found("all").run(Counting())


def test_an_end_without_a_verdict_is_an_error(fake, tmp_path) -> None:
    fake()
    (tmp_path / "bin" / "dieharder").write_text("#!/bin/sh\ncase $1 in -V) echo 9;; esac\n")
    with pytest.raises(VeilscopeError, match="status 0 after 0 verdicts: it said nothing"):
        found("all").run(Counting())


def test_a_stream_that_fails_ends_the_program_too(fake) -> None:
    fake(ending="sys.stdin.buffer.read()")  # would wait for ever

    class Failing(Counting):
        def segment(self, index: int, spare: np.ndarray | None = None) -> np.ndarray:
            if index > 8:
                raise ArithmeticError("a wrong block")
            return super().segment(index, spare)

    heard: list[DieharderVerdict] = []
    with pytest.raises(ArithmeticError, match="a wrong block"):
        found("all").run(Failing(), on_verdict=heard.append)
    assert all(ended(verdict.ntuple) for verdict in heard)


def test_an_interrupt_ends_the_program_and_the_stream(fake) -> None:
    fake(ending="sys.stdin.buffer.read()")
    heard: list[DieharderVerdict] = []

    def interrupt(verdict: DieharderVerdict) -> None:
        heard.append(verdict)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        found("all").run(Counting(), on_verdict=interrupt)
    assert len(heard) == 1 and ended(heard[0].ntuple)


def test_the_table_has_its_verdicts_and_their_counts() -> None:
    verdicts = [
        DieharderVerdict("sts_serial", 16, 100_000, 100, 0.0041, "WEAK"),
        DieharderVerdict("sts_runs", 2, 100_000, 100, 0.5, "PASSED"),
    ]
    console = Console(width=120)
    with console.capture() as capture:
        console.print(dieharder_table("bp, keys", "9.9", verdicts))
    text = capture.get()
    assert "dieharder 9.9: bp, keys" in text and "1 PASSED, 1 WEAK, 0 FAILED" in text
    (row,) = [line for line in text.splitlines() if "sts_serial" in line]
    assert all(word in row for word in ("16", "100,000", "100", "0.00410000", "WEAK"))


@pytest.mark.parametrize(
    ("verdict", "status", "mode"),
    [("PASSED", 0, "stream"), ("WEAK", 0, "stream"), ("FAILED", 1, "keys")],
)
def test_the_command_shows_and_writes_it_and_fails_where_it_does(
    fake, monkeypatch, tmp_path, verdict, status, mode
) -> None:
    fake(verdict)
    p_values = np.full((2, 188), 0.5)
    monkeypatch.setattr(
        cli,
        "examine",
        lambda candidate, **_: RandomnessResult(candidate, p_values, judge(p_values), 0.5),
    )
    path = tmp_path / "verdicts.json"
    options = ["--controls", "none", "--jobs", "1", "--dieharder", "0", "--json", str(path)]
    outcome = CliRunner().invoke(
        keystream_app, ["test", "bp", "--mode", mode, *options], standalone_mode=False
    )
    assert outcome.return_value == status, outcome.output
    assert "2.11 serial" in outcome.output and f"dieharder 9.9: bp, {mode}" in outcome.output
    written = json.loads(path.read_text())
    assert len(written["generators"]) == 1
    said = written["dieharder"]
    assert said["title"] == f"bp, {mode}" and said["version"] == "9.9"
    stream = open_network_stream("bp", bytes(range(32)), mode, "cpu")
    assert said["verdicts"][0]["test"] == f"told -d0 {stream.segment(0)[:4].tobytes().hex()}"
    assert [v["assessment"] for v in said["verdicts"]] == ["PASSED", "WEAK", verdict]


@pytest.mark.skipif(shutil.which("dieharder") is None, reason="dieharder is not installed")
def test_the_installed_program_is_understood() -> None:
    stream = open_network_stream("bp", bytes(range(32)), "stream", "cpu")
    (verdict,) = found("0").run(stream)
    assert verdict.test == "diehard_birthdays" and verdict.t_samples == 100
    assert not verdict.failed
