from __future__ import annotations

import dataclasses
import json
import sys

import pytest
import torch
from typer.testing import CliRunner

from lab import traincommand
from lab.cli import keystream_app
from lab.evaluate import MEASURES
from lab.modelcard import Comparison
from lab.train import train
from shared.errors import BadInput, DeviceUnavailable, OutputFailed
from shared.keystream.backend import open_backend
from shared.keystream.network import load_network


@pytest.fixture
def quick_comparison(monkeypatch):
    rows = tuple(Comparison(d, name, 0.0, (0.0, 0.0)) for d in (1, 2, 3) for name in MEASURES)
    monkeypatch.setattr(traincommand, "compare", lambda *args, **kwargs: rows)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_train_writes_a_network_that_opens_and_its_card(tmp_path, quick_comparison) -> None:
    out = tmp_path / "new" / "folder"
    arguments = ["train", "--family", "bp", "--seed", "3", "--steps", "2", "--out", str(out)]
    result = CliRunner().invoke(keystream_app, arguments)
    assert result.exit_code == 0, result.output
    network = load_network(str(out / "bp.safetensors"))
    open_backend(network, "cpu")
    assert network.digest.hex() in result.output
    card = (out / "bp.md").read_text()
    assert network.digest.hex() in card
    assert "veilscope keystream train --family bp --seed 3 --out DIR --steps 2" in card
    curves = json.loads((out / "bp.curves.json").read_text())
    assert [check["step"] for check in curves["checks"]] == [0]
    for name in ("bp.safetensors", "bp.md", "bp.curves.json", "bp.curves.svg"):
        assert (out / name).exists()
        assert str(out / name) in result.output


@pytest.mark.parametrize(
    ("asked", "present", "used"),
    [("cuda", True, "cuda"), ("auto", True, "cuda"), ("auto", False, "cpu"), ("cpu", True, "cpu")],
)
def test_training_takes_the_device_and_the_card_names_any_but_the_cpu(
    tmp_path, quick_comparison, monkeypatch, asked, present, used
) -> None:
    devices = []

    def on_cpu_after_all(recipe, *, device, **options):
        devices.append(device)
        gpu = "NVIDIA H100" if device == "cuda" else None
        return dataclasses.replace(train(recipe, **options), gpu=gpu)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: present)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(traincommand, "train", on_cpu_after_all)
    arguments = ["train", "--steps", "1", "--device", asked, "--out", str(tmp_path)]
    result = CliRunner().invoke(keystream_app, arguments)
    assert result.exit_code == 0, result.output
    assert devices == [used]
    card = (tmp_path / "bp.md").read_text()
    assert ("--device cuda" in card) == (used == "cuda")
    assert ("on NVIDIA H100" in card) == (used == "cuda")
    assert ("The same seed gives the same digest" in card) == (used == "cpu")


def test_training_on_a_gpu_that_is_not_there_says_so(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    arguments = ["train", "--out", str(tmp_path), "--device"]
    missing = CliRunner().invoke(keystream_app, [*arguments, "cuda"])
    assert isinstance(missing.exception, DeviceUnavailable)
    unknown = CliRunner().invoke(keystream_app, [*arguments, "tpu"])
    assert isinstance(unknown.exception, BadInput)
    assert not list(tmp_path.iterdir())


def test_info_names_the_digest_of_the_shipped_network() -> None:
    result = CliRunner().invoke(keystream_app, ["info"])
    assert result.exit_code == 0, result.output
    assert load_network("bp").digest.hex() in result.output


def test_errors_are_those_of_the_front_door(tmp_path) -> None:
    unknown = CliRunner().invoke(keystream_app, ["info", "no-such-network"])
    assert isinstance(unknown.exception, BadInput)
    (tmp_path / "file").write_text("in the way")
    blocked = CliRunner().invoke(keystream_app, ["train", "--out", str(tmp_path / "file" / "x")])
    assert isinstance(blocked.exception, OutputFailed)
    family = CliRunner().invoke(
        keystream_app, ["train", "--family", "perceptron", "--out", str(tmp_path)]
    )
    assert isinstance(family.exception, BadInput)


@pytest.mark.parametrize("option", ["--network", "--family"])
def test_export_writes_a_file_that_holds_the_networks_digest(tmp_path, option) -> None:
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "bp.onnx"
    result = CliRunner().invoke(keystream_app, ["export", option, "bp", "--out", str(path)])
    assert result.exit_code == 0
    digest = load_network("bp").digest.hex()
    assert digest in result.output
    properties = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert properties == {"family": "bp", "digest": digest}


def test_export_without_onnx_says_what_to_install(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "shared.keystream.onnx_graph", raising=False)
    result = CliRunner().invoke(keystream_app, ["export", "--out", str(tmp_path / "bp.onnx")])
    assert isinstance(result.exception, DeviceUnavailable)
