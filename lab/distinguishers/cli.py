"""The command `veilscope keystream distinguish`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from lab.distinguishers.laboratory import DISTINGUISHERS, Finding, judge, subjects
from lab.distinguishers.report import advantages_table, as_json
from lab.progress import progress_bars
from lab.resultfile import ResultFile
from shared.keystream.network import DEFAULT_FAMILY, load_network
from shared.terminal import stdout

__all__ = ["distinguish_command"]


def distinguish_command(
    network: Annotated[
        str, typer.Argument(help="A shipped family or a network file.")
    ] = DEFAULT_FAMILY,
    depth: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Cut off after so many layers; may be repeated. Default: each."),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Decides the untrained weights and every choice.")
    ] = 1,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write what was found here.")
    ] = None,
) -> None:
    """Train next-byte predictors and difference distinguishers on a network and on controls.

    None of them took part in the network's training. A few minutes. That they see nothing proves
    no security.
    """
    loaded = load_network(network)
    file = ResultFile(json_file)
    depths = sorted(set(depth or range(1, len(loaded.layers) + 1)))
    judged = subjects(loaded, depths, seed=seed)
    torch.set_num_threads(1)
    findings: list[Finding] = []
    with progress_bars() as progress:
        task = progress.add_task("distinguishing", total=len(judged) * len(DISTINGUISHERS))
        for subject in judged:
            findings += judge(subject, seed=seed, on_distinguisher=lambda: progress.advance(task))
    stdout.print(advantages_table(findings))
    file.write(as_json(findings, seed=seed, digest=loaded.digest))
