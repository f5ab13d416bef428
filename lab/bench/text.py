"""The command `veilscope bench text`: how much text the sender's search for letters finds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from lab.bench.machine import describe_machine
from lab.bench.textsearch import looks, search_tables, seconds_a_look, try_out
from lab.progress import progress_bars
from lab.resultfile import ResultFile
from sender.masks.textfinder import TextFinder
from sender.sources import open_source
from shared.frame import Image
from shared.terminal import stdout

__all__ = ["text_command"]

_SIZES = ((640, 480), (1024, 768), (1920, 1080))


def text_command(
    source: Annotated[
        list[str] | None,
        typer.Option(
            help="Draw text onto the first picture of this, which must hold none, instead of onto "
            "phantoms and the demo; as for veilscope send; repeatable."
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A few lines and no times.")] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the figures here.")
    ] = None,
) -> None:
    """Draw text onto pictures and see how much of it --mask-text would hide, and how fast.

    Every font in every size and ink, alone in a picture and among others; takes some minutes.
    """
    file = ResultFile(json_file)
    find = TextFinder().find
    grounds = dict(_given_grounds(source) if source else _own_grounds(quick))
    with progress_bars() as progress:
        total = len(grounds) + sum(1 for _ in looks(grounds, quick=quick))
        task = progress.add_task("looking for text", total=total)
        findings = try_out(find, grounds, quick=quick, on_look=lambda: progress.advance(task))
    for table in search_tables(findings):
        stdout.print(table)
    times: dict[str, tuple[float, float, float]] = {}
    if not quick:
        table = Table(
            "picture", "s a look", "of the processor", "with all cores busy", title="one thread"
        )
        for width, height in _SIZES:
            picture = _first("phantom:ultrasound", (width, height))
            clock, processor = seconds_a_look(find, picture, busy=False)
            busy, _ = seconds_a_look(find, picture, busy=True)
            times[f"{width}x{height}"] = (clock, processor, busy)
            table.add_row(f"{width}x{height}", f"{clock:.2f}", f"{processor:.2f}", f"{busy:.2f}")
        stdout.print(table)
    file.write(
        {
            "machine": describe_machine(),
            "recall": findings.recall,
            "lines": [
                {
                    "picture": one.ground,
                    "text": one.line.text,
                    "font": one.line.font,
                    "capitals_px": one.line.cap_height,
                    "ink": one.line.ink_name,
                    "place": asdict(one.line.rect),
                    "alone": one.alone,
                    "jpeg": one.lossy,
                    "hidden": one.hidden,
                }
                for one in findings.tried
            ],
            "boxes_and_share_without_text": findings.in_vain,
            "share_beside_text": findings.beside,
            "seconds_a_look_clock_processor_and_busy": times,
        }
    )


def _given_grounds(specs: list[str]) -> Iterator[tuple[str, Image]]:
    for ordinal, spec in enumerate(specs, start=1):  # a file's name may be a patient's
        picture = _first(spec)
        yield f"source {ordinal}, {picture.shape[1]}x{picture.shape[0]}", picture


def _own_grounds(quick: bool) -> Iterator[tuple[str, Image]]:
    for size in _SIZES[:1] if quick else _SIZES[:2]:
        for kind in ("ultrasound", "endoscopy"):
            yield f"{kind} phantom {size[0]}x{size[1]}", _first(f"phantom:{kind}", size)
    yield "echocardiogram 320x240", _first("demo")


def _first(spec: str, size: tuple[int, int] | None = None) -> Image:
    """The first picture of a source, without what the source itself masks."""
    with closing(open_source(spec, size=size, fps=None)) as source:
        return source.first.masked
