from __future__ import annotations

import hashlib
import json
import platform

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from lab.bench import keystream, memory, onpath, seal
from lab.bench.keystream_results import PictureResult
from lab.bench.machine import describe_machine
from lab.bench.memory import NotMeasured, measure_memory
from lab.bench.timing import Spread, take_turns
from shared.errors import DeviceUnavailable, VeilscopeError

PEAKS = {"before": 2**20, "opened": 2**22, "running": 2**23, "pads": 2**20}


class ShakeBackend:
    """A stand-in that is quick to open; what is measured does not matter here."""

    name = "shake"
    block_nbytes = 128

    def keyed(self, keystream_key: bytes) -> ShakeBackend:
        return self

    def generate(self, counter: int, nbytes: int, first_block: int = 0):
        drawn = hashlib.shake_256(counter.to_bytes(8)).digest(first_block * 128 + nbytes)
        return np.frombuffer(drawn, np.uint8)[first_block * 128 :].copy()


def opened(network: object, device: str) -> ShakeBackend:
    if device == "cuda":
        raise DeviceUnavailable("no CUDA device here")
    return ShakeBackend()


@pytest.fixture
def small(monkeypatch) -> None:
    pictures = (PictureResult("tiny", 1024), PictureResult("small", 4096))
    monkeypatch.setattr(keystream, "_PICTURES", pictures)
    monkeypatch.setattr(keystream, "_SIZES", (1024, 4096))
    monkeypatch.setattr(keystream, "_ON_PATH_NBYTES", 4096)
    monkeypatch.setattr(keystream, "_PAUSE_S", 0.0)
    monkeypatch.setattr(keystream, "DEVICES", ("auto", "cpu", "cuda", "other"))
    monkeypatch.setattr(keystream, "load_network", lambda name: name)
    monkeypatch.setattr(keystream, "open_backend", opened)
    monkeypatch.setattr(keystream, "measure_memory", lambda *_: PEAKS)


def run(command, *arguments: str):
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, arguments)


def test_every_backend_that_opens_is_measured_and_the_others_are_named(small, tmp_path) -> None:
    out = tmp_path / "speeds.json"
    result = run(keystream.main, "--rounds", "1", "--json", str(out))
    assert result.exit_code == 0, result.output
    found = json.loads(out.read_text())
    names = ["bp on cpu", "bp on other", "AES-256-CTR", "ChaCha20"]
    assert [row["name"] for row in found["making"]] == 2 * names
    assert {row["nbytes"] for row in found["making"]} == {1024, 4096}
    assert found["not_measured"] == {"bp on cuda": "no CUDA device here"}
    assert "bp on cuda: no CUDA device here" in result.output
    assert set(found["nominal_cycles_a_byte"]) == set(names)
    assert found["nominal_cycles_a_byte"]["bp on other"] is None  # not a processor's clock
    assert len(found["frame_budget"]) == 2 * len(names)
    what = {row["what"] for row in found["on_path"] if row["name"] == "bp on cpu"}
    assert {onpath.AES_GCM, onpath.SEAL_AHEAD, onpath.OPEN_AHEAD, onpath.REFILLING} <= what
    assert all(row["count"] == 4 for row in found["on_path"])
    assert set(found["memory_bytes"]) == {"bp on cpu", "bp on other"}
    ctr = next(row for row in found["making"] if row["name"] == "AES-256-CTR")
    assert ctr["of_aes_256_ctr"] == 1 and ctr["mb_per_s"] > 0


def test_all_families_are_measured_in_one_run(small, tmp_path) -> None:
    out = tmp_path / "speeds.json"
    result = run(
        keystream.main, "--all", "--device", "cpu", "--rounds", "1", "--threads", "2",
        "--json", str(out),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    names = {row["name"] for row in json.loads(out.read_text())["making"]}
    assert {"bp on cpu", "cnn on cpu", "resnet on cpu", "gan on cpu"} < names


def test_a_device_that_was_asked_for_by_name_must_be_there(small) -> None:
    assert isinstance(run(keystream.main, "--device", "cuda").exception, VeilscopeError)


def test_what_auto_takes_is_measured_under_its_own_device(small, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(keystream, "device_of", lambda backend: "cpu")
    monkeypatch.setattr(keystream, "measure_memory", lambda *case: asked.append(case) or PEAKS)
    result = run(keystream.main, "--device", "auto", "--rounds", "1")
    assert result.exit_code == 0, result.output
    assert "bp on cpu" in result.output and "bp on auto" not in result.output
    assert [case[:2] for case in asked] == [("bp", "cpu")]


def test_memory_that_can_not_be_measured_costs_no_other_figure(
    small, monkeypatch, tmp_path
) -> None:
    def fail(network: str, device: str, nbytes: int) -> dict[str, int]:
        raise NotMeasured(f"no memory for {device}")

    monkeypatch.setattr(keystream, "measure_memory", fail)
    out = tmp_path / "speeds.json"
    result = run(keystream.main, "--device", "cpu", "--rounds", "1", "--json", str(out))
    assert result.exit_code == 0, result.output
    assert "not measured: memory of bp on cpu: no memory for cpu" in result.output
    found = json.loads(out.read_text())
    assert found["memory_bytes"] == {} and len(found["making"]) == 6
    assert found["not_measured"] == {"memory of bp on cpu": "no memory for cpu"}


def test_the_tables_fit_a_terminal_of_100_columns(small) -> None:
    result = run(keystream.main, "--rounds", "1")
    assert max(map(len, result.output.splitlines())) <= 100


def test_sealing_is_measured_at_every_size(monkeypatch) -> None:
    monkeypatch.setattr(seal, "_SIZES", (1024, 4096))
    monkeypatch.setattr(seal, "_PAUSE_S", 0.0)
    monkeypatch.setattr(seal, "open_backend", opened)
    result = run(seal.main, "--frames", "2", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "median" in result.output and "95 %" in result.output


def test_a_spread_is_the_median_and_the_nearest_rank() -> None:
    assert Spread.of([5.0]) == Spread(1, 5.0, 5.0)
    assert Spread.of([float(i) for i in range(100, 0, -1)]) == Spread(100, 50.5, 95.0)
    assert Spread.of([float(i) for i in range(1, 22)]).p95_s == 20.0


def test_the_ways_take_turns_after_a_round_that_does_not_count() -> None:
    order: list[str] = []
    ways = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    spreads = take_turns(ways, 2)
    assert order == ["a", "b"] * 3
    assert {name: spread.count for name, spread in spreads.items()} == {"a": 2, "b": 2}


def test_the_machine_is_described_without_its_name() -> None:
    described = describe_machine()
    assert described["processor"] and described["cryptography"]
    assert platform.node() not in json.dumps(described).split('"')


@pytest.mark.skipif(platform.system() != "Linux", reason="peaks are read from /proc")
def test_memory_is_measured_in_a_process_of_its_own() -> None:
    peaks = measure_memory("bp", "cpu", 100_000)
    assert 0 < peaks["before"] < peaks["opened"] <= peaks["running"]
    assert peaks["pads"] >= 4 * 100_000


@pytest.mark.skipif(platform.system() != "Linux", reason="peaks are read from /proc")
def test_a_process_that_fails_or_hangs_says_why_memory_is_not_measured(monkeypatch) -> None:
    with pytest.raises(NotMeasured, match=r"ended with status 1: .*no-such-network"):
        measure_memory("no-such-network", "cpu", 1000)
    monkeypatch.setattr(memory, "_TIME_LIMIT_S", 0.01)
    with pytest.raises(NotMeasured, match=r"longer than 0\.01 s"):
        measure_memory("bp", "cpu", 1000)
