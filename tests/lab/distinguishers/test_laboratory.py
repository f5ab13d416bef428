from __future__ import annotations

import json

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from lab.cli import keystream_app
from lab.distinguishers import cli, laboratory
from lab.distinguishers.advantage import Advantage, bits_of
from lab.distinguishers.laboratory import DISTINGUISHERS, Finding, Subject, judge, subjects
from lab.distinguishers.oracle import NetworkOracle, RandomOracle
from lab.distinguishers.report import advantages_table, as_json
from lab.recipe import Recipe, find_recipe
from shared.errors import BadInput
from shared.keystream.families import find_family
from shared.keystream.network import build_network, load_network

CHANCE = RandomOracle(128, 128, 64)


def test_an_advantage_has_the_standard_error_of_its_mean() -> None:
    found = Advantage.over(np.array([0.1, 0.3, 0.2, 0.2]))
    assert found.mean == pytest.approx(0.2)
    assert found.standard_error == pytest.approx(np.sqrt(0.02 / 3) / 2)
    assert found.wins
    assert not Advantage(0.02, 0.01).wins
    assert not Advantage(-0.9, 0.01).wins
    assert Advantage(1.0, 0.0).wins


def test_bits_are_signs_highest_first() -> None:
    assert bits_of(np.array([[1, 128]], np.uint8)).tolist() == [[1] * 7 + [-1, -1] + [1] * 7]


def test_there_are_recurrent_and_convolutional_predictors_and_every_kind_of_difference() -> None:
    assert list(DISTINGUISHERS) == [
        "next byte, GRU",
        "next byte, convolution",
        "differences, material",
        "differences, counter",
        "differences, key",
    ]


@pytest.mark.parametrize("family", ["bp", "cnn", "resnet", "gan"])
def test_a_network_is_judged_beside_its_own_beginning_and_two_controls(family) -> None:
    network = load_network(family)
    depth = len(network.layers)
    found = subjects(network, (1, depth), seed=1)
    assert [(subject.title, subject.depth) for subject in found] == [
        (family, 1),
        ("untrained", 1),
        (family, depth),
        ("untrained", depth),
        ("no fold", depth),
        ("random bytes", None),
    ]
    trained, untrained = found[2].oracle.target, found[3].oracle.target
    initial = build_network(family, find_recipe(family).initial(np.random.default_rng(1)))
    for mine, beginning, layer, first in zip(
        trained.layers, untrained.layers, network.layers, initial.layers, strict=True
    ):
        assert (mine.weight == layer.weight).all()
        assert (beginning.weight == first.weight).all()
    assert not found[4].oracle.target.folded
    assert isinstance(found[5].oracle, RandomOracle)
    assert found[5].oracle.lanes_out == network.lanes


def test_a_shape_that_is_not_the_recipes_has_an_untrained_control_as_well() -> None:
    odd = build_network("bp", Recipe.of(find_family("bp"), (72,)).initial(np.random.default_rng(3)))
    _, untrained, *_ = subjects(odd, (2,), seed=1)
    shapes = [layer.weight.shape for layer in untrained.oracle.target.layers]
    assert shapes == [layer.weight.shape for layer in odd.layers]
    assert (untrained.oracle.target.layers[0].weight != odd.layers[0].weight).any()


def test_a_depth_that_the_network_does_not_have_is_bad_input() -> None:
    with pytest.raises(BadInput, match="3 layers, not 4"):
        subjects(load_network("bp"), (4,), seed=1)


def test_every_distinguisher_has_its_turn_with_the_same_seed(monkeypatch) -> None:
    asked = []

    def run(oracle, *, seed):
        asked.append((oracle, seed))
        return Advantage(0.0, 0.01)

    monkeypatch.setattr(laboratory, "DISTINGUISHERS", {"one": run, "two": run})
    done = []
    found = judge(Subject("x", 1, CHANCE), seed=7, on_distinguisher=lambda: done.append(1))
    assert [finding.distinguisher for finding in found] == ["one", "two"]
    assert asked == [(CHANCE, 7)] * 2
    assert len(done) == 2


def quick(subject: Subject, *, seed: int, on_distinguisher=lambda: None) -> tuple[Finding, ...]:
    mean = 0.5 if isinstance(subject.oracle, NetworkOracle) and subject.depth == 1 else 0.001
    return tuple(Finding(subject, name, Advantage(mean, 0.01, "1 bit")) for name in DISTINGUISHERS)


def test_the_table_has_a_row_a_distinguisher_and_subject() -> None:
    judged = subjects(load_network("bp"), (1, 3), seed=1)
    findings = [finding for subject in judged for finding in quick(subject, seed=1)]
    console = Console(width=80, force_terminal=True, color_system="standard")
    with console.capture() as captured:
        console.print(advantages_table(findings))
    text = captured.get()
    for word in (*DISTINGUISHERS, "bp, 1 layer", "untrained, 3 layers", "random bytes"):
        assert word in text
    assert text.count("\x1b[1;31m0.5000 ± 0.0100") == 2 * len(DISTINGUISHERS)
    assert text.count("0.0010 ± 0.0100") == 4 * len(DISTINGUISHERS)
    saved = json.loads(json.dumps(as_json(findings, seed=1, digest=bytes(32))))
    assert len(saved["findings"]) == 6 * len(DISTINGUISHERS)
    assert saved["findings"][0] == {
        "subject": "bp",
        "layers": 1,
        "distinguisher": "next byte, GRU",
        "advantage": 0.5,
        "standard_error": 0.01,
        "wins": True,
        "detail": "1 bit",
    }


@pytest.mark.parametrize(
    ("arguments", "depths"), [([], (1, 2, 3)), (["--depth", "2", "--depth", "2"], (2,))]
)
def test_the_command_shows_and_writes_what_it_found(
    tmp_path, monkeypatch, arguments, depths
) -> None:
    monkeypatch.setattr(cli, "judge", quick)
    path = tmp_path / "found.json"
    result = CliRunner().invoke(
        keystream_app, ["distinguish", "bp", *arguments, "--json", str(path)]
    )
    assert result.exit_code == 0, result.output
    saved = json.loads(path.read_text())
    assert saved["digest"] == load_network("bp").digest.hex()
    judged = {f["layers"] for f in saved["findings"] if f["subject"] == "untrained"}
    assert judged == set(depths)
