from __future__ import annotations

import json

import numpy as np
import pytest

from lab.curves import as_json, draw, write_curves
from lab.recipe import find_recipe
from lab.train import Check, TrainedWeights


def trained(family: str, *checks: Check) -> TrainedWeights:
    tensors = find_recipe(family).initial(np.random.default_rng(1))
    return TrainedWeights(family, 3, tensors, tensors, checks, checks[1], stopped_early=True)


@pytest.fixture
def plain() -> TrainedWeights:
    return trained("bp", *(Check(25 * i, {1: 0.5 - i / 10, 2: 0.25 - i / 20}) for i in range(3)))


@pytest.fixture
def adversarial() -> TrainedWeights:
    told = ({}, {1: 0.25, 2: 0.69}, {2: 0.7})  # a window may have had no turn
    return trained("gan", *(Check(25 * i, {1: 0.5 - i / 10}, told[i]) for i in range(3)))


def test_every_check_is_kept(adversarial) -> None:
    kept = json.loads(json.dumps(as_json(adversarial)))
    assert (kept["family"], kept["seed"], kept["gpu"]) == ("gan", 3, None)
    assert (kept["best_step"], kept["stopped_early"]) == (25, True)
    assert [check["step"] for check in kept["checks"]] == [0, 25, 50]
    assert [check["validation"]["1"] for check in kept["checks"]] == [0.5, 0.4, 0.3]
    assert kept["checks"][1]["discriminator"] == {"1": 0.25, "2": 0.69}


def test_a_curve_a_number_of_layers_is_drawn_and_the_step_whose_weights_were_taken(plain) -> None:
    (axes,) = draw(plain).axes
    curves = {line.get_label(): line for line in axes.get_lines()}
    assert list(curves) == ["1 layer", "2 layers", "weights taken"]
    assert curves["2 layers"].get_xdata().tolist() == [0, 25, 50]
    assert curves["2 layers"].get_ydata() == pytest.approx([0.25, 0.2, 0.15])
    assert list(curves["weights taken"].get_xdata()) == [25, 25]


def test_a_discriminators_losses_have_a_drawing_of_their_own(adversarial) -> None:
    told, _ = draw(adversarial).axes
    curves = {line.get_label(): line.get_xydata().tolist() for line in told.get_lines()}
    assert curves == {"1 layer": [[25, 0.25]], "2 layers": [[25, 0.69], [50, 0.7]]}


def test_the_same_run_gives_the_same_files(tmp_path, plain) -> None:
    folders = [tmp_path / "one", tmp_path / "other"]
    written = []
    for folder in folders:
        folder.mkdir()
        written.append(write_curves(plain, folder))
    assert [path.name for path in written[0]] == ["bp.curves.json", "bp.curves.svg"]
    for first, second in zip(*written, strict=True):
        assert first.read_bytes() == second.read_bytes()
    assert written[0][1].read_text().lstrip().startswith("<?xml")
