from __future__ import annotations

import json

import pytest
from rich.console import Console
from typer.testing import CliRunner

from lab import study as study_module
from lab.cli import keystream_app
from lab.evaluate import MEASURES, Measures
from lab.study import SHAPES, as_json, results_table, shapes_of, study
from shared.errors import BadInput
from shared.keystream.families import FAMILIES


@pytest.fixture
def quick_measures(monkeypatch):
    """Measures that tell the depth they were taken at, as the real ones take seconds each."""
    monkeypatch.setattr(
        study_module,
        "evaluate",
        lambda network, depth, *, seed: Measures(*[depth / 100] * len(MEASURES)),
    )


def test_every_shape_of_every_family_is_studied() -> None:
    assert {family: list(shapes) for family, shapes in SHAPES.items()} == {
        name: list(family.shapes) for name, family in FAMILIES.items()
    }


def test_a_draw_is_measured_before_and_after_training_at_every_depth(quick_measures) -> None:
    recipe = SHAPES["bp"]["128-64-128-128"]
    steps = []
    before, after = study("", recipe, seed=3, steps=2, on_step=lambda: steps.append(1))
    assert (before.trained, after.trained) == (False, True)
    assert [m.balance for m in after.measures] == [0.01, 0.02, 0.03]
    assert before.layer_avalanche > 0.3
    assert len(steps) == 2


@pytest.mark.parametrize(
    ("family", "shape", "macs"),
    [
        ("bp", "128-64-128-128", 256),
        ("cnn", "4 layers", 4 * 64),  # the kernels' places, not the dense matrices'
        ("resnet", "1 block of 64", 384),
        ("gan", "256 wide", 640),
    ],
)
def test_the_multiply_accumulates_of_all_layers_are_counted(
    quick_measures, family, shape, macs
) -> None:
    before, after = study(shape, SHAPES[family][shape], seed=1, steps=1)
    assert before.macs_per_byte == after.macs_per_byte == macs


def test_the_table_has_a_row_for_the_trained_and_one_for_the_untrained(quick_measures) -> None:
    recipe = SHAPES["bp"]["128-64-128"]
    results = [r for seed in (1, 2) for r in study("128-64-128", recipe, seed=seed, steps=1)]
    console = Console(width=200, record=True, file=None)
    with console.capture() as captured:
        console.print(results_table(results))
    assert "trained, 2" in captured.get()
    assert "untrained, 2" in captured.get()
    saved = json.loads(json.dumps(as_json(results, steps=1, sequences=0)))
    assert len(saved["results"]) == 4
    assert saved["steps"] == 1


def test_shapes_come_family_by_family() -> None:
    assert [recipe.family.name for _, recipe in shapes_of(["cnn", "gan"])] == [
        "cnn",
        "cnn",
        "gan",
        "gan",
    ]


def test_the_command_refuses_a_family_that_it_does_not_know() -> None:
    result = CliRunner().invoke(keystream_app, ["study", "--family", "bp,transformer"])
    assert isinstance(result.exception, BadInput)
    assert "transformer" in str(result.exception)


def test_the_command_writes_what_it_found(tmp_path, quick_measures, monkeypatch) -> None:
    shapes = {"bp": {"128-64-128": SHAPES["bp"]["128-64-128"]}}
    monkeypatch.setattr(study_module, "SHAPES", shapes)
    path = tmp_path / "study.json"
    arguments = ["study", "--family", "bp", "--seeds", "1", "--steps", "1", "--sequences", "1"]
    result = CliRunner().invoke(keystream_app, [*arguments, "--json", str(path)])
    assert result.exit_code == 0, result.output
    written = json.loads(path.read_text())["results"]
    assert [found["batteries"] for found in written] == [{"2": True}, {"2": True}]


def test_the_batteries_go_deeper_until_they_pass(quick_measures, monkeypatch) -> None:
    asked = []

    def passes(stream, sequences) -> bool:
        asked.append(sequences)
        return len(asked) % 2 == 0

    monkeypatch.setattr(study_module, "passes", passes)
    recipe = SHAPES["cnn"]["4 layers"]
    before, after = study("", recipe, seed=1, steps=1, sequences=5)
    assert before.batteries == after.batteries == {1: False, 2: True}
    assert before.least_depth == 2
    assert asked == [5] * 4


def test_one_layer_does_not_pass_the_batteries_and_two_do(quick_measures) -> None:
    before, _ = study("", SHAPES["bp"]["128-128-128"], seed=1, steps=1, sequences=8)
    assert before.batteries == {1: False, 2: True}


def test_no_sequences_mean_no_batteries(quick_measures) -> None:
    before, _ = study("", SHAPES["bp"]["128-64-128"], seed=1, steps=1)
    assert before.batteries == {}
    assert before.least_depth is None
