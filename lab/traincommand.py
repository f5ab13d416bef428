"""The command `veilscope keystream train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from lab.choices import refuse_unknown
from lab.curves import write_curves
from lab.modelcard import EVALUATIONS, compare, model_card
from lab.output import writing
from lab.progress import progress_bars
from lab.recipe import find_recipe
from lab.train import DEFAULT_STEPS, Check, train
from shared.errors import DeviceUnavailable
from shared.keystream.cuda_device import find_cuda
from shared.keystream.families import FAMILIES
from shared.keystream.network import DEFAULT_FAMILY, build_network, save_network
from shared.keystream.selftest import known_answer

__all__ = ["train_command"]

_DEVICES = ("auto", "cpu", "cuda")


def train_command(
    out: Annotated[Path, typer.Option(help="Folder for the network, its model card and curves.")],
    family: Annotated[str, typer.Option(help=f"One of: {', '.join(FAMILIES)}.")] = DEFAULT_FAMILY,
    seed: Annotated[int, typer.Option(min=0, help="Decides every random choice.")] = 1,
    steps: Annotated[
        int, typer.Option(min=1, help="At most; stops early at no progress.")
    ] = DEFAULT_STEPS,
    device: Annotated[
        str,
        typer.Option(
            help="cpu, cuda, or auto: cuda where there is one. Only on a cpu is a seed's network "
            "the same each time."
        ),
    ] = "cpu",
) -> None:
    """Train a network against its adversaries.

    Writes FAMILY.safetensors, FAMILY.md, FAMILY.curves.json and FAMILY.curves.svg.
    """
    recipe = find_recipe(family)
    trained_on = _training_device(device)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # the order of sums, and so the weights, must not hang on the machine
    with progress_bars() as progress:
        training = progress.add_task("training", total=steps)

        def show(step: int, check: Check) -> None:
            losses = ", ".join(f"{k}: {v:.4f}" for k, v in check.validation.items())
            progress.update(training, completed=step, description=f"training, loss {losses}")

        weights = train(recipe, seed=seed, steps=steps, device=trained_on, on_step=show)
        progress.update(training, total=weights.checks[-1].step)
        network = build_network(family, weights.tensors)
        evaluating = progress.add_task("evaluating", total=EVALUATIONS * len(network.layers))
        rows = compare(recipe, weights, on_evaluation=lambda: progress.advance(evaluating))
    command = f"veilscope keystream train --family {family} --seed {seed} --out DIR"
    if steps != DEFAULT_STEPS:
        command += f" --steps {steps}"
    if trained_on != "cpu":
        command += f" --device {trained_on}"
    path, card = out / f"{family}.safetensors", out / f"{family}.md"
    with writing(out):
        save_network(path, family, weights.tensors, known_answer=known_answer(network))
        card.write_text(model_card(recipe, weights, rows, command), encoding="utf-8")
        curves = write_curves(weights, out)
    typer.echo("\n".join(str(file) for file in (path, card, *curves)))
    typer.echo(f"digest {network.digest.hex()}")


def _training_device(name: str) -> str:
    refuse_unknown("device to train on:", [name], _DEVICES)
    if name == "cpu":
        return name
    try:
        return find_cuda().type
    except DeviceUnavailable:
        if name == "auto":
            return "cpu"
        raise
