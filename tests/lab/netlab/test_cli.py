from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lab.netlab import PROFILES
from lab.netlab import cli as commands
from lab.netlab.check import OwnCost, ProfileCheck, StepRate
from lab.netlab.cli import netlab_app
from lab.netlab.profiles import Profile
from lab.netlab.program import Job, Outcome
from lab.netlab.run import RunResult, TcpFlow
from shared.errors import BadInput, OutputFailed


def counts() -> dict[str, Any]:
    return {
        "offered_packets": 12,
        "offered_bytes": 3_400_000,
        "lost": 5,
        "queue_dropped": 6,
        "outage_dropped": 7,
        "max_queue_ms": 1.5,
        "max_queue_bytes": 4321,
    }


class Runs:
    """Stands for the network: keeps what it was asked to run, and gives a result."""

    def __init__(self, status: int = 0) -> None:
        self.asked: list[tuple[Profile, list[Job], dict[str, Any]]] = []
        self._status = status

    def __call__(self, profile: Profile, jobs: list[Job], **options: Any) -> RunResult:
        self.asked.append((profile, jobs, options))
        program = Outcome("left", 1, ["true"], self._status, 1.0, 0.5, 20.0, "last words")
        link = {"forward": counts(), "backward": counts()}
        return RunResult({}, 1, 0, 1.0, False, [program], [], link, {})


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    runs = Runs()
    monkeypatch.setattr(commands, "run_jobs", runs)
    return runs


def invoke(*arguments: str) -> Any:
    result = CliRunner().invoke(netlab_app, list(arguments), standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.return_value


def test_profiles_are_listed(capfd: pytest.CaptureFixture[str]) -> None:
    result = CliRunner().invoke(netlab_app, ["profiles"])
    assert result.exit_code == 0
    assert all(name in result.stdout + capfd.readouterr().out for name in PROFILES)


def test_run_makes_a_job_of_each_command_and_pair(runs: Runs, tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    status = invoke(
        "run", "bad", "--left", "a", "--left", "b", "--right", "c", "--pairs", "2",
        "--tcp", "2", "--tcp-after", "3", "--tcp-seconds", "4", "--tcp-congestion", "reno",
        "--signaling", "--begin-on", "live", "--seed", "9", "--limit", "50", "--json", str(out),
    )  # fmt: skip
    ((profile, jobs, options),) = runs.asked
    assert status == 0 and profile is PROFILES["bad"]
    assert jobs == [
        Job(end, command, pair)
        for pair in (1, 2)
        for end, command in (("left", "a"), ("left", "b"), ("right", "c"))
    ]
    assert options == {
        "seed": 9,
        "limit_s": 50.0,
        "signaling": True,
        "begin_on": "live",
        "tcp": [TcpFlow(3.0, 4.0, "reno")] * 2,
    }
    assert json.loads(out.read_text())["programs"][0]["cpu_s"] == 0.5


def test_run_ends_with_status_1_where_a_program_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "run_jobs", Runs(status=2))
    assert invoke("run", "lan", "--left", "a") == 1


def test_run_with_nothing_to_run_is_refused(runs: Runs) -> None:
    with pytest.raises(BadInput, match="nothing to run"):
        invoke("run", "lan")


def test_run_looks_at_its_output_before_it_begins(runs: Runs, tmp_path: Path) -> None:
    with pytest.raises(OutputFailed, match="No such file or directory"):
        invoke("run", "lan", "--left", "a", "--json", str(tmp_path / "none" / "x.json"))
    assert runs.asked == []


def test_check_puts_configured_beside_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spread = (1.0, 2.0, 3.0, 4.0)
    monkeypatch.setattr(commands, "check_machine", lambda: None)
    monkeypatch.setattr(commands, "measure_own_cost", lambda: OwnCost(spread, 3e4, 20.0, True))
    asked = []

    def check(profile: Profile, *, seed: int, echoes: int) -> ProfileCheck:
        asked.append((profile.name, seed, echoes))
        rates = [StepRate(8.0, 7.9), StepRate(0.0, 0.0), StepRate(None, 150.0)]
        return ProfileCheck(
            profile.name,
            (40, 40),
            spread,
            echoes,
            0.02,
            0.018,
            0.01,
            0,
            rates,
            100,
            99.0,
            0.05,
            1.0,
        )

    monkeypatch.setattr(commands, "check_profile", check)
    out = tmp_path / "check.json"
    invoke("check", "uplink", "outage", "--seed", "4", "--echoes", "50", "--json", str(out))
    assert asked == [("uplink", 4, 50), ("outage", 4, 50)]
    written = json.loads(out.read_text())
    assert written["own"]["packets_per_s"] == 3e4
    assert [profile["profile"] for profile in written["profiles"]] == ["uplink", "outage"]
