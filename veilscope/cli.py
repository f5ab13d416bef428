"""The command `veilscope`: every program of the product under one name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from receiver.cli import receive
from sender.cameras import sources
from sender.cli import send
from sender.preview import preview
from shared.errors import BadInput
from shared.launch import launch
from shared.telemetry.report import write_report
from shared.terminal import DebugOption, stdout
from signaling.cli import signal
from veilscope.demo import demo

__all__ = ["app", "main"]

app = typer.Typer(
    name="veilscope",
    help="Live ultrasound and endoscopy to a remote expert, peer to peer and encrypted.\n\n"
    "Research software, not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
)
app.command("demo")(demo)
app.command("signal")(signal)
app.command("preview")(preview)
app.command("send")(send)
app.command("receive")(receive)
app.command("sources")(sources)


@app.command()
def report(
    log: Annotated[Path, typer.Argument(help="A log written with --log, of either end.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The HTML file to write.")
    ] = Path("report.html"),
    frames: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Saved frames (--save-frames), to show three of them in it."
        ),
    ] = None,
    debug: DebugOption = False,  # noqa: ARG001 -- acted on where it is parsed
) -> None:
    """Draw a session's log as one HTML page that opens anywhere."""
    if frames is not None and not any(frames.glob("frame-*.png")):
        raise BadInput(f"there are no saved frames in {frames}", hint="--save-frames makes them")
    write_report(log, output, frames_dir=frames)
    stdout.print(f"report: {output}", soft_wrap=True, markup=False)


# The laboratory is loaded when one of its commands is called, and not before.
_OWN = ("lab", "receiver", "sender", "shared", "signaling", "veilscope")
_PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command(context_settings=_PASSED_ON, add_help_option=False)
def keystream(context: typer.Context) -> object:
    """Train and inspect keystream networks."""
    with _needing("lab"):
        from lab.cli import keystream_app
    return _pass_on(keystream_app, context)


@app.command(context_settings=_PASSED_ON, add_help_option=False)
def bench(context: typer.Context) -> object:
    """Measure this machine: keystream, codecs, sources, a live stream beside its rivals."""
    with _needing("lab"):
        from lab.bench.cli import bench_app
    return _pass_on(bench_app, context)


@app.command(context_settings=_PASSED_ON, add_help_option=False)
def netlab(context: typer.Context) -> object:
    """Run programs across an impaired network of this machine's own (needs root)."""
    with _needing("lab"):
        from lab.netlab.cli import netlab_app
    return _pass_on(netlab_app, context)


@contextmanager
def _needing(extra: str) -> Iterator[None]:
    """Say what to install where a package that only the commands of `extra` need is not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in _OWN:
            raise
        raise BadInput(
            f"this command needs the package {package}, which is not installed",
            hint=f"pip install 'veilscope[{extra}]'",
        ) from error


def _pass_on(commands: typer.Typer, context: typer.Context) -> object:
    """Return what the command does: an int is the exit status."""
    command = typer.main.get_command(commands)
    status: object = command.main(
        context.args, prog_name=context.command_path, standalone_mode=False
    )
    return status


def main() -> None:
    """What the console script of an older editable installation calls, see `veilscope.__main__`."""
    launch(lambda: app)
