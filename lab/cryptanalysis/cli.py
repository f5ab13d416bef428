"""The command `veilscope keystream attack`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from lab.cryptanalysis.laboratory import AttackPlan, study
from lab.cryptanalysis.report import as_json, study_table
from lab.resultfile import ResultFile
from shared.keystream.network import DEFAULT_FAMILY, load_network
from shared.terminal import stderr, stdout

__all__ = ["attack_command"]


def attack_command(
    network: Annotated[
        str, typer.Argument(help="A shipped family or a network file.")
    ] = DEFAULT_FAMILY,
    depth: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Cut off after so many layers; may be repeated. Default: each."),
    ] = None,
    seconds_limit: Annotated[
        float, typer.Option(min=0, help="For each attempt of the SAT solver; 0 leaves it out.")
    ] = 20.0,
    seed: Annotated[int, typer.Option(min=0, help="Decides every random choice.")] = 1,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write what was found here.")
    ] = None,
) -> None:
    """Attack a network cut off after its first layers, and two controls beside it.

    What stands has withstood these attacks, which proves no security.
    """
    loaded = load_network(network)
    results = ResultFile(json_file)
    depths = tuple(sorted(set(depth))) if depth else tuple(range(1, len(loaded.layers) + 1))
    plan = AttackPlan(depths, seed=seed, seconds_limit=seconds_limit)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=stderr, transient=True) as progress:
        task = progress.add_task("attacking", total=None)
        studies = study(
            Path(network).name,
            loaded,
            plan,
            lambda text: progress.update(task, description=text),
        )
    for one in studies:
        stdout.print(study_table(one))
    results.write(as_json(studies, seed=seed, digest=loaded.digest))
