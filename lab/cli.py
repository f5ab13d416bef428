"""The laboratory's commands; `veilscope keystream …` is this sub-app."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from lab.choices import refuse_unknown
from lab.cryptanalysis.cli import attack_command
from lab.distinguishers.cli import distinguish_command
from lab.evaluate import layer_avalanche
from lab.output import writing
from lab.progress import progress_bars
from lab.randomness.battery import MIN_BITS
from lab.randomness.controls import CONTROLS
from lab.randomness.dieharder import find_dieharder
from lab.randomness.dump import dump
from lab.randomness.laboratory import (
    TEST_KEY,
    Candidate,
    RandomnessResult,
    examine,
    open_network_stream,
    workers,
)
from lab.randomness.report import as_json, dieharder_json, dieharder_table, results_table
from lab.randomness.streams import MODES
from lab.resultfile import ResultFile
from lab.study import SHAPES, StudyResult, shapes_of, study
from lab.study import as_json as study_as_json
from lab.study import results_table as study_table
from lab.train import DEFAULT_STEPS
from lab.traincommand import train_command
from shared.errors import BadInput, DeviceUnavailable
from shared.keystream.backend import DEVICES
from shared.keystream.material import KEY_BYTES
from shared.keystream.network import DEFAULT_FAMILY, load_network
from shared.terminal import stdout

__all__ = ["keystream_app"]

_KEY_HELP = "A test key, 64 hex digits; never a session's. Default: the bytes 0 to 31."
_MODE_HELP = f"How keys, frames and blocks follow each other: {', '.join(MODES)}."
_BACKEND_HELP = f"One of: {', '.join(DEVICES)}, reference."
_LAYERS_HELP = "Cut it off after so many, to see what depth a battery needs."

keystream_app = typer.Typer(
    help="Train keystream networks, look at them, and test their bytes.",
    no_args_is_help=True,
    add_completion=False,
)


keystream_app.command("train")(train_command)


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


@keystream_app.command("test")
def sp800_22_command(
    network: Annotated[
        str, typer.Argument(help="A shipped family or a network file.")
    ] = DEFAULT_FAMILY,
    sequences: Annotated[
        int, typer.Option(min=1, help="How many; the standard's verdicts want 55, better 1,000.")
    ] = 100,
    bits: Annotated[int, typer.Option(min=MIN_BITS, help="Bits a sequence.")] = MIN_BITS,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = os.cpu_count() or 1,
    mode: Annotated[str, typer.Option(help=_MODE_HELP)] = "stream",
    key: Annotated[str | None, typer.Option(help=_KEY_HELP)] = None,
    backend: Annotated[str, typer.Option(help=_BACKEND_HELP)] = "cpu",
    layers: Annotated[int | None, typer.Option(min=1, help=_LAYERS_HELP)] = None,
    controls: Annotated[
        str, typer.Option(help=f"Beside it: all, none, or some of {','.join(CONTROLS)}.")
    ] = "all",
    dieharder: Annotated[
        str,
        typer.Option(
            help="Also run dieharder, which must be installed: all, none, or some of its tests' "
            "numbers, as 0,102. All of them take tens of minutes."
        ),
    ] = "none",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the verdicts here.")
    ] = None,
) -> int:
    """Run all tests of NIST SP 800-22 rev 1a on a network's bytes, and on controls.

    Ends with status 1 if the network or AES fails. To pass proves no security.
    """
    file = ResultFile(json_file)
    tested = Candidate(network, mode=mode, key=_test_key(key), backend=backend, layers=layers)
    # What is wrong with the options comes to light here, not in a process.
    stream = open_network_stream(network, tested.key, mode, backend, layers)
    outside = find_dieharder(dieharder)
    candidates = [tested, *(Candidate(name, control=True) for name in _controls(controls))]
    results: list[RandomnessResult] = []
    with progress_bars() as progress, workers(jobs) as pool:
        for candidate in candidates:
            task = progress.add_task(candidate.title, total=sequences)
            results.append(
                examine(
                    candidate,
                    sequences=sequences,
                    bits=bits,
                    pool=pool,
                    on_sequences=partial(progress.advance, task),
                )
            )
    stdout.print(results_table(results))
    found = as_json(results, bits=bits)
    failed = any(result.failed for result in results if result.candidate.expected_good)
    if outside:
        file.write(found)  # what there is shall outlast an interrupted dieharder
        with progress_bars() as progress:
            task = progress.add_task(f"dieharder, {tested.title}", total=None)
            verdicts = outside.run(stream, on_verdict=lambda _: progress.advance(task))
        stdout.print(dieharder_table(tested.title, outside.version, verdicts))
        found["dieharder"] = dieharder_json(tested.title, outside.version, verdicts)
        failed = failed or any(verdict.failed for verdict in verdicts)
    file.write(found)
    return int(failed)


@keystream_app.command("dump")
def dump_command(
    network: Annotated[
        str, typer.Option("--network", "--family", help="A shipped family or a network file.")
    ] = DEFAULT_FAMILY,
    key: Annotated[str | None, typer.Option(help=_KEY_HELP)] = None,
    nbytes: Annotated[int, typer.Option("--bytes", min=0, help="How many; 0: without end.")] = 0,
    backend: Annotated[str, typer.Option(help=_BACKEND_HELP)] = "auto",
    mode: Annotated[str, typer.Option(help=_MODE_HELP)] = "stream",
    layers: Annotated[int | None, typer.Option(min=1, help=_LAYERS_HELP)] = None,
) -> None:
    """Write a network's raw bytes to standard output, for batteries of others.

    For example: veilscope keystream dump | RNG_test stdin8.

    The key is a test key: what is dumped must never be a session's keystream.
    """
    stream = open_network_stream(network, _test_key(key), mode, backend, layers)
    if sys.stdout.isatty():
        raise BadInput(
            "raw bytes would only disturb this terminal",
            hint="send them to a program or a file: veilscope keystream dump | …",
        )
    with writing("the keystream"):
        dump(stream, sys.stdout.fileno(), nbytes)


@keystream_app.command("study")
def study_command(
    families: Annotated[
        str, typer.Option("--family", help=f"Some of {','.join(SHAPES)}.")
    ] = DEFAULT_FAMILY,
    seeds: Annotated[int, typer.Option(min=1, help="Draws of each shape: seeds 1, 2, …")] = 5,
    steps: Annotated[int, typer.Option(min=1, help="Training steps, at most.")] = DEFAULT_STEPS,
    sequences: Annotated[
        int,
        typer.Option(
            min=0,
            help="Of a million bits, for the tests of SP 800-22 after one layer, two, and so on, "
            "until they pass; 0: none.",
        ),
    ] = 20,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write every result here, after each draw.")
    ] = None,
) -> None:
    """Compare depths and widths, trained and untrained; takes minutes a draw."""
    names = families.split(",")
    refuse_unknown("family to study:", names, SHAPES)
    file = ResultFile(json_file)
    torch.set_num_threads(1)
    results: list[StudyResult] = []
    with progress_bars() as progress:
        for title, recipe in shapes_of(names):
            task = progress.add_task(f"{recipe.family.name} {title}", total=seeds * steps)
            advance = partial(progress.advance, task)
            for seed in range(1, seeds + 1):
                results += study(
                    title, recipe, seed=seed, steps=steps, sequences=sequences, on_step=advance
                )
                progress.update(task, completed=seed * steps)
                file.write(study_as_json(results, steps=steps, sequences=sequences))
    stdout.print(study_table(results))


keystream_app.command("attack")(attack_command)
keystream_app.command("distinguish")(distinguish_command)


@keystream_app.command("export")
def export_command(
    out: Annotated[Path, typer.Option(help="The ONNX file to write.")],
    network: Annotated[
        str, typer.Option("--network", "--family", help="A shipped family or a network file.")
    ] = DEFAULT_FAMILY,
) -> None:
    """Write a network as an ONNX file, for other languages and for browsers."""
    try:
        from shared.keystream.onnx_graph import build_model
    except ImportError as error:
        raise DeviceUnavailable(
            "the package onnx is not installed", hint="pip install 'veilscope[onnx]'"
        ) from error
    loaded = load_network(network)
    with writing(out):
        out.write_bytes(build_model(loaded).SerializeToString())
    typer.echo(f"{out}\ndigest {loaded.digest.hex()}")


def _test_key(text: str | None) -> bytes:
    if text is None:
        return TEST_KEY
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise BadInput(f"a test key has {2 * KEY_BYTES} hex digits")
    return key


def _controls(text: str) -> list[str]:
    names = {"all": list(CONTROLS), "none": []}.get(text, text.split(","))
    refuse_unknown("control", names, CONTROLS)
    return names
