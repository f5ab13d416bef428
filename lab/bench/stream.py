"""Live streams side by side: Veilscope and its rivals, same pictures, machine and network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console

from lab.bench.footage import open_footage
from lab.bench.rivals.chromium import BROWSERS
from lab.bench.rivals.clip import Clip, read_clip, write_clip
from lab.bench.rivals.pair import Pair
from lab.bench.rivals.place import Impaired, Loopback, Place
from lab.bench.rivals.rival import Case, Rival, Run
from lab.bench.rivals.veilscope import Veilscope
from lab.bench.stream_figures import (
    clock_error,
    figures_of,
    quality_of,
    recovery_ms,
    steadiness,
    wanted_pictures,
)
from lab.bench.stream_plots import draw_stream
from lab.bench.stream_results import StreamResult, as_json, results_tables
from lab.choices import refuse_unknown
from lab.netlab import ImpairedNetwork, Profile, load_profile
from lab.resultfile import ResultFile
from shared.errors import BadInput, VeilscopeError
from shared.options import parse_size

__all__ = [
    "RIVALS",
    "FpsOption",
    "SizeOption",
    "SourceOption",
    "main",
    "open_clip",
    "outage_ends",
    "told_source",
]

LOOPBACK = "loopback"
_AIORTC_VIDEO = "lab.bench.rivals.aiortc_video"
_WRTC = "lab.bench.rivals.wrtc_engine"
RIVALS: dict[str, Rival] = {
    rival.name: rival
    for rival in (
        Veilscope(),
        Veilscope("veilscope-log", strips=False),
        Pair("aiortc-vp8", _AIORTC_VIDEO, "VP8"),
        Pair("aiortc-h264", _AIORTC_VIDEO, "H264"),
        Pair("datachannel", "lab.bench.rivals.aiortc_channel"),
        Pair("wrtc-vp8", _WRTC, "VP8", package="webrtc"),
        Pair("wrtc-vp9", _WRTC, "VP9", package="webrtc"),
        Pair("wrtc-channel", _WRTC, "channel", package="webrtc"),
        Pair("chromium", "lab.bench.rivals.chromium", "VP8", executables=BROWSERS),
    )
}
_DEFAULT_RIVALS = "veilscope,aiortc-vp8,aiortc-h264,datachannel"


SourceOption = Annotated[str, typer.Option(help="What to show, as for veilscope send.")]
SizeOption = Annotated[
    str | None, typer.Option(metavar="WIDTHxHEIGHT", help="Size of a phantom's picture.")
]
FpsOption = Annotated[
    float | None, typer.Option(min=1, max=120, help="By default the source's own rate.")
]


def main(
    profile: Annotated[
        str,
        typer.Option(
            help="The network between the two ends: lan, clinic, uplink, 4g, bad, outage or a TOML "
            "file (these need root), or loopback: none at all."
        ),
    ] = LOOPBACK,
    source: SourceOption = "phantom:ultrasound",
    size: SizeOption = None,
    fps: FpsOption = None,
    seconds: Annotated[
        float, typer.Option(min=1, help="How long each stream runs, warm-up included.")
    ] = 10.0,
    warmup: Annotated[
        float, typer.Option(min=0, help="Seconds at the beginning that are not evaluated.")
    ] = 2.0,
    rivals: Annotated[
        str, typer.Option(help=f"Whom to measure, of: {', '.join(RIVALS)}.")
    ] = _DEFAULT_RIVALS,
    rounds: Annotated[
        int, typer.Option(min=1, help="Everybody in turn, so many times; one row each.")
    ] = 1,
    codec: Annotated[str, typer.Option(help="Veilscope's codec.")] = "auto",
    quality: Annotated[
        int, typer.Option(min=1, max=100, help="Quality of JPEGs, Veilscope's and the rivals'.")
    ] = 90,
    option: Annotated[
        list[str] | None,
        typer.Option(help="A further option of veilscope send, such as --min-psnr=38; repeatable."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the network's random choices.")] = 1,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write figures and series here.")
    ] = None,
    plots: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Draw the series there, as SVG.")
    ] = None,
) -> None:
    """Stream a source with Veilscope and with its rivals, one after the other.

    Latency is from capture to the picture's being handed over, read from a strip in the picture
    itself; the window is off.
    """
    results_file = ResultFile(json_file)
    if warmup >= seconds:
        raise BadInput("the warm-up leaves nothing to evaluate", hint="give more --seconds")
    chosen = _chosen(rivals)
    network = None if profile == LOOPBACK else load_profile(profile)
    with TemporaryDirectory(prefix="veilscope-bench-") as folder:
        clip, rate = open_clip(source, size, fps, seconds, Path(folder))
        case = Case(
            clip,
            rate,
            seconds,
            Path(folder),
            codec=codec,
            quality=quality,
            options=tuple(option or ()),
            sample_every=_sample_every(rate, seconds),
        )
        console = Console(stderr=True)
        results = []
        for number in range(1, rounds + 1):
            for rival in chosen:
                with console.status(f"{rival.name}, round {number} of {rounds}"):
                    own = Path(folder) / f"{rival.name}-{number}"
                    own.mkdir()
                    run = _stream(rival, replace(case, folder=own), network, seed + number - 1)
                if run is not None:
                    results.append(_result(rival.name, number, run, clip, warmup, network))
    title = (
        f"{told_source(source)} {clip.width}x{clip.height}, {rate:g} fps, {seconds:g} s, {profile}"
    )
    Console().print(*results_tables(results, title))
    said = {
        "profile": profile if network is None else network.name,
        "source": told_source(source),
        "size": [clip.width, clip.height],
        "channels": clip.channels,
        "fps": rate,
        "seconds": seconds,
        "warmup_s": warmup,
        "seed": seed,
        "codec": codec,
        "quality": quality,
        "options": list(case.options),
    }
    found = as_json(results, said)
    results_file.write(found)
    if plots is not None:
        for path in draw_stream(json.loads(json.dumps(found)), plots):
            typer.echo(path)


def open_clip(
    source: str,
    size: str | None,
    fps: float | None,
    seconds: float,
    folder: Path,
) -> tuple[Clip, float]:
    """The clip that all will send, written to `folder`, and its rate in frames a second."""
    rate, pictures = open_footage(source, parse_size(size), fps)
    clip = write_clip(folder / "clip.nut", pictures, limit=max(1, round(seconds * rate)))
    return clip, rate


def told_source(source: str) -> str:
    """What may be told of a source: names of files often are names of patients."""
    return source if source == "demo" or source.startswith("phantom:") else "a clip"


def _chosen(names: str) -> list[Rival]:
    asked = names.split(",")
    refuse_unknown("rival", asked, RIVALS)
    chosen = []
    for name in asked:
        rival = RIVALS[name]
        if rival.missing is None:
            chosen.append(rival)
        else:
            typer.echo(f"without {name}: {rival.missing}", err=True)
    return chosen


def _sample_every(fps: float, seconds: float) -> int:
    """So that a sample of at most 60 pictures is spread over the whole stream."""
    return max(1, round(fps * seconds / 50))


def _stream(rival: Rival, case: Case, network: Profile | None, seed: int) -> Run | None:
    """One stream of one rival; a failure is told, and the others go on."""
    try:
        with _place(network, seed) as place:
            return rival.stream(case, place)
    except VeilscopeError as error:
        typer.echo(f"{rival.name}: {error}", err=True)
        return None


@contextmanager
def _place(network: Profile | None, seed: int) -> Iterator[Place]:
    if network is None:
        yield Loopback()
        return
    with ImpairedNetwork(network, seed=seed) as up:
        yield Impaired(up)


def _result(
    name: str, number: int, run: Run, clip: Clip, warmup: float, network: Profile | None
) -> StreamResult:
    wanted = wanted_pictures(run.record.pictures, clip.count)
    references = {i: image for i, image in enumerate(read_clip(clip.path)) if i in wanted}
    quality = quality_of(run, references, clip.count, warmup_s=warmup)
    extra = {**steadiness(run, warmup_s=warmup), **clock_error(run.record)}
    for at_s in outage_ends(network):
        extra[f"recovery_from_{at_s:g}_s_ms"] = recovery_ms(
            run.record, run.began_ns + round(at_s * 1e9)
        )
    return StreamResult(name, number, figures_of(run, quality, warmup_s=warmup), run, extra)


def outage_ends(network: Profile | None) -> list[float]:
    """The seconds at which outages of the forward direction end."""
    steps = () if network is None else network.forward.steps
    return [
        after.at_s
        for before, after in pairwise(steps)
        if before.impairment.outage and not after.impairment.outage
    ]
