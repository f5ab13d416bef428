from __future__ import annotations

import json

import typer
from typer.testing import CliRunner

from lab.bench import keystream


def test_the_benchmark_measures_all_three_at_every_size(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(keystream, "_SIZES", (1024, 4096))
    app = typer.Typer()
    app.command()(keystream.main)
    out = tmp_path / "speeds.json"
    arguments = ["--device", "cpu", "--rounds", "2", "--json", str(out)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    speeds = json.loads(out.read_text())
    assert list(speeds) == ["learned keystream (bp)", "AES-256-CTR", "ChaCha20"]
    assert all(set(found) == {"1024", "4096"} for found in speeds.values())
    assert all(speed > 0 for found in speeds.values() for speed in found.values())
