"""The command `veilscope`: one name for every program, and no more loaded than is asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from shared.telemetry.log import JsonLinesLog
from shared.telemetry.records import KeystreamIdentity, SessionLine
from shared.terminal import run_command
from veilscope.cli import app

LOADED = "import json, sys, veilscope.cli; print(json.dumps(sorted(sys.modules)))"


def test_the_front_door_loads_neither_the_laboratory_nor_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert {"sender", "receiver", "signaling"} <= loaded, "the wrong thing was looked at"
    assert not loaded & {"lab", "torch", "matplotlib"}


@pytest.mark.parametrize(
    "command", ["demo", "signal", "preview", "send", "receive", "sources", "report"]
)
def test_every_program_explains_itself(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert f"{command} [OPTIONS]" in result.output


@pytest.mark.parametrize("command", ["keystream", "bench", "netlab"])
def test_the_laboratory_s_commands_are_passed_on(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert f"{command} [OPTIONS] COMMAND" in result.output


@pytest.mark.parametrize(
    ("place", "command"),
    [
        ("lab.cli.keystream_app", "keystream"),
        ("lab.bench.cli.bench_app", "bench"),
        ("lab.netlab.cli.netlab_app", "netlab"),
    ],
)
@pytest.mark.parametrize("status", [0, 1])
def test_the_status_of_a_passed_on_command_is_the_program_s(
    monkeypatch: pytest.MonkeyPatch, place: str, command: str, status: int
) -> None:
    commands = typer.Typer()

    @commands.command("check")
    def check() -> int:
        return status

    @commands.command("another")
    def another() -> None: ...

    monkeypatch.setattr(place, commands)
    monkeypatch.setattr(sys, "argv", ["veilscope", command, "check"])
    with pytest.raises(SystemExit) as ended:
        run_command(app)
    assert ended.value.code == status


def test_a_report_is_drawn_from_a_log(tmp_path: Path) -> None:
    log, page = tmp_path / "session.jsonl", tmp_path / "page.html"
    with JsonLinesLog(log) as lines:
        lines.write(
            SessionLine(
                role="receiver",
                session="7f3a91c2",
                version="0.1.0",
                codec=None,
                keystream=KeystreamIdentity(family="bp", digest="ab" * 32, backend="cpu"),
                suite="AES-256-GCM",
                source=None,
                width=None,
                height=None,
                started_at="2026-03-14T09:26:53+00:00",
            )
        )
    result = CliRunner().invoke(app, ["report", str(log), "--output", str(page)])
    assert result.exit_code == 0
    assert "7f3a91c2" in page.read_text()
