"""The laboratory's commands; `veilscope keystream …` is this sub-app."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lab.evaluate import layer_avalanche
from lab.modelcard import EVALUATIONS, compare, model_card
from lab.recipes import RECIPES, find_recipe
from lab.train import Check, train
from shared.errors import OutputFailed
from shared.keystream.network import (
    DEFAULT_FAMILY,
    build_network,
    load_network,
    save_network,
)
from shared.keystream.selftest import known_answer

__all__ = ["keystream_app"]

_STEPS = 400

keystream_app = typer.Typer(
    help="Train keystream networks and look at them.", no_args_is_help=True, add_completion=False
)


@keystream_app.command("train")
def train_command(
    out: Annotated[Path, typer.Option(help="Folder for the network and its model card.")],
    family: Annotated[str, typer.Option(help=f"One of: {', '.join(RECIPES)}.")] = DEFAULT_FAMILY,
    seed: Annotated[int, typer.Option(min=0, help="Decides every random choice.")] = 1,
    steps: Annotated[
        int, typer.Option(min=1, help="At most; stops early at no progress.")
    ] = _STEPS,
) -> None:
    """Train a network against its adversaries; write FAMILY.safetensors and FAMILY.md."""
    recipe = find_recipe(family)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputFailed(f"can't make the folder {out}: {error.strerror}") from error
    torch.set_num_threads(1)  # the order of sums, and so the weights, must not hang on the machine
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        training = progress.add_task("training", total=steps)

        def show(step: int, check: Check) -> None:
            losses = ", ".join(f"{k}: {v:.4f}" for k, v in check.validation.items())
            progress.update(training, completed=step, description=f"training, loss {losses}")

        weights = train(recipe, seed=seed, steps=steps, on_step=show)
        progress.update(training, total=weights.checks[-1].step)
        network = build_network(family, weights.tensors)
        evaluating = progress.add_task("evaluating", total=EVALUATIONS * len(network.layers))
        rows = compare(recipe, weights, on_evaluation=lambda: progress.advance(evaluating))
    command = f"veilscope keystream train --family {family} --seed {seed} --out DIR"
    if steps != _STEPS:
        command += f" --steps {steps}"
    try:
        path = out / f"{family}.safetensors"
        save_network(path, family, weights.tensors, known_answer=known_answer(network))
        card = out / f"{family}.md"
        card.write_text(model_card(recipe, weights, rows, command), encoding="utf-8")
    except OSError as error:
        raise OutputFailed(f"can't write to {out}: {error.strerror}") from error
    typer.echo(f"{path}\n{card}\ndigest {network.digest.hex()}")


@keystream_app.command("info")
def info_command(
    network: Annotated[
        str, typer.Argument(help="A shipped family or a network file.")
    ] = DEFAULT_FAMILY,
) -> None:
    """Say what a keystream network is: family, shape, digest, weights."""
    loaded = load_network(network)
    typer.echo(
        f"family    {loaded.family}\nlanes     {loaded.lanes}\ndigest    {loaded.digest.hex()}"
    )
    for number, layer in enumerate(loaded.layers, start=1):
        added = "" if layer.add_from is None else f", adds activation {layer.add_from}"
        typer.echo(
            f"layer {number}   {layer.lanes_in} to {layer.lanes_out} lanes{added}; "
            f"{len(np.unique(layer.weight))} weight values, "
            f"mean size {np.abs(layer.weight).mean():.1f}"
        )
    typer.echo(f"avalanche {layer_avalanche(loaded):.4f} a layer on its own (0 is perfect)")
