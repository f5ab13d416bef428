from __future__ import annotations

import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from lab.cryptanalysis import laboratory
from lab.cryptanalysis.cli import attack_command
from lab.cryptanalysis.laboratory import AttackPlan, study
from lab.cryptanalysis.report import as_json, study_table
from lab.cryptanalysis.target import draw_layers
from shared.errors import BadInput
from shared.keystream.network import KeystreamNetwork

CHEAP = ("linear algebra over Z/256", "key recovery")


@pytest.fixture
def network() -> KeystreamNetwork:
    return KeystreamNetwork("test", draw_layers([32, 16, 32], np.random.default_rng(2)))


@pytest.fixture
def cheap(monkeypatch) -> None:
    monkeypatch.setattr(laboratory, "ATTACKS", {name: laboratory.ATTACKS[name] for name in CHEAP})


def test_the_control_falls_and_one_layer_s_key_is_recovered(cheap, network):
    steps: list[str] = []
    plan = AttackPlan((1, 2), seconds_limit=0)
    whole, untrained, affine = study("tested", network, plan, steps.append)
    assert (whole.control, untrained.control, affine.control) == (False, True, True)
    for depth in (1, 2):
        assert affine.at("linear algebra over Z/256", depth).falls
        assert not whole.at("linear algebra over Z/256", depth).falls
        assert whole.at("key recovery", depth).falls == (depth == 1)
        assert untrained.at("key recovery", depth).falls == (depth == 1)
    assert len(steps) >= 12


def test_a_seed_decides_everything(cheap, network):
    plan = AttackPlan((1, 2), seed=3, seconds_limit=0)
    assert study("a", network, plan, print) == study("a", network, plan, print)


@pytest.mark.parametrize("depths", [(), (0,), (3,)])
def test_depths_that_a_network_does_not_have_are_refused(network, depths):
    with pytest.raises(BadInput):
        study("a", network, AttackPlan(depths), print)


def test_the_table_and_the_json_hold_every_outcome(cheap, network):
    studies = study("tested", network, AttackPlan((1, 2), seconds_limit=0), lambda _: None)
    table = study_table(studies[0])
    assert len(table.columns) == 3 and table.row_count == len(CHEAP) + 3
    found = json.loads(json.dumps(as_json(studies, seed=1, digest=network.digest)))
    assert found["networks"][2]["outcomes"][0]["falls"] is True


def test_the_command_prints_a_table_a_network_and_writes_json(
    cheap, network, monkeypatch, tmp_path
):
    monkeypatch.setattr("lab.cryptanalysis.cli.load_network", lambda name: network)
    app, out = typer.Typer(), tmp_path / "found.json"
    app.command()(attack_command)
    result = CliRunner().invoke(
        app, ["tested", "--depth", "1", "--seconds-limit", "0", "--json", str(out)]
    )
    assert result.exit_code == 0, result.output
    assert {one["title"] for one in json.loads(out.read_text())["networks"]} == {
        "tested",
        "random weights",
        "tested, no fold",
    }
