"""What reading a source costs: milliseconds a picture by format, beside what others take for it.

The pictures are those that a sender would show, so that what is timed is reading, decoding and
turning into RGB.  What counts is processor time, of all threads together: it says what one core
can keep up with, and what else the machine does hardly shows.  Beside it: pydicom's own pipeline
for DICOM, Pillow for JPEG and PNG, FFmpeg for video (to RGB).
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import av
import numpy as np
import typer
from PIL import Image as Pillow
from pydicom import dcmread
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import JPEG2000TransferSyntaxes, JPEGBaseline8Bit
from rich.table import Column, Table

from lab.bench import conformance
from lab.bench.footage import open_footage
from lab.bench.machine import describe_machine
from lab.bench.sourcefiles import WRITERS
from lab.resultfile import ResultFile
from shared.frame import Image
from shared.options import parse_size
from shared.terminal import stdout

__all__ = ["main"]

_OTHERS = ("pydicom", "Pillow", "FFmpeg")


def main(
    frames: Annotated[int, typer.Option(min=1, help="Pictures in each file.")] = 30,
    size: Annotated[
        str, typer.Option(metavar="WIDTHxHEIGHT", help="Of each picture.")
    ] = "1024x768",
    passes: Annotated[int, typer.Option(min=1, help="The best of so many passes counts.")] = 3,
    table: Annotated[
        bool,
        typer.Option(
            "--conformance",
            help="Instead, print as Markdown what becomes of every file with pictures that comes "
            "with pydicom, compared with an independent decoder (dcmtk where it is installed).",
        ),
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures here.")
    ] = None,
) -> None:
    """Time reading pictures of every format; the files are written to a temporary folder."""
    if table:
        found = list(conformance.examine(lambda path: open_footage(f"dicom:{path}")[1]))
        typer.echo(conformance.as_markdown(found))
        return
    file = ResultFile(json_file)
    wanted = parse_size(size)
    images = list(islice(open_footage("phantom:endoscopy", wanted)[1], frames))
    rows: dict[str, dict[str, float]] = {}
    for name, write in WRITERS.items():
        with TemporaryDirectory(prefix="veilscope-bench-") as folder:
            path = write(Path(folder), images)
            rows[name] = {
                reader: best_ms(reading, passes) for reader, reading in readers_of(path).items()
            }
    stdout.print(
        _table(rows, f"one picture of {size}, ms of one core; the best of {passes} passes")
    )
    file.write(
        {
            "machine": describe_machine(),
            "size": size,
            "frames": frames,
            "ms": rows,
        }
    )


def readers_of(path: Path) -> dict[str, Callable[[], Iterable[object]]]:
    """Return what reads the pictures at `path`: ourselves and those of the others that can."""
    readers: dict[str, Callable[[], Iterable[object]]] = {
        "Veilscope": lambda: open_footage(str(path))[1]
    }
    if path.is_dir():
        readers["Pillow"] = lambda: map(_by_pillow, sorted(path.iterdir()))
    elif path.suffix != ".dcm":
        readers["FFmpeg"] = lambda: _by_ffmpeg(str(path))
    else:
        header = dcmread(path, stop_before_pixels=True)
        syntax = header.file_meta.TransferSyntaxUID
        if header.PhotometricInterpretation == "YBR_PARTIAL_420":
            data = dcmread(path).PixelData
            video = b"".join(generate_frames(data, number_of_frames=1))
            readers["FFmpeg"] = lambda: _by_ffmpeg(io.BytesIO(video))
        else:
            readers["pydicom"] = lambda: iter_pixels(path)
        if syntax == JPEGBaseline8Bit or syntax in JPEG2000TransferSyntaxes:
            readers["Pillow"] = lambda: map(_by_pillow, _frames(path))
    return readers


def best_ms(reading: Callable[[], Iterable[object]], passes: int) -> float:
    """Return the processor time a picture of the best pass, in milliseconds."""
    found = []
    for _ in range(passes):
        start = time.process_time()
        count = sum(1 for _ in reading())
        found.append((time.process_time() - start) * 1e3 / max(1, count))
    return min(found)


def _frames(path: Path) -> Iterator[io.BytesIO]:
    data = dcmread(path)
    count = int(data.NumberOfFrames)
    return (io.BytesIO(f) for f in generate_frames(data.PixelData, number_of_frames=count))


def _by_pillow(file: Path | io.BytesIO) -> Image:
    return np.asarray(Pillow.open(file).convert("RGB"))


def _by_ffmpeg(file: str | io.BytesIO) -> Iterator[object]:
    with av.open(file, "r") as container:
        container.streams.video[0].thread_count = 1
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def _table(rows: dict[str, dict[str, float]], title: str) -> Table:
    names = ("Veilscope", *_OTHERS)
    shown = Table(
        "format",
        *(Column(name, justify="right") for name in names),
        title=title,
        title_justify="left",
    )
    for name, row in rows.items():
        shown.add_row(name, *(f"{row[n]:.1f}" if n in row else "" for n in names))
    return shown
