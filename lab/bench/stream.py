"""A live stream between real processes on this machine: its latency, and which stage takes it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from shared.errors import VeilscopeError
from shared.telemetry.reader import SessionLog, read_log
from shared.telemetry.records import FrameLine, ShownStages, SummaryLine

__all__ = ["main"]

_LOOPBACK = "127.0.0.1"
_CASES = (("phantom:ultrasound", "640x480", "jpeg"), ("phantom:ultrasound", "640x480", "lossless"))
_START_S = 60.0  # for three processes to start on a busy machine


def main(
    seconds: Annotated[float, typer.Option(min=2, help="How long each stream runs.")] = 10.0,
    fps: Annotated[int, typer.Option(min=1, max=120, help="Frames a second.")] = 30,
) -> None:
    """Stream phantoms over the loopback address; latency is capture to shown, window off."""
    table = Table(
        "source",
        "codec",
        "shown",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "± clock",
        "PSNR dB",
        "median stages, ms",
    )
    for source, size, codec in _CASES:
        log = _stream(source, size, codec, seconds, fps)
        table.add_row(f"{source} {size}", codec, *_figures(log))
    Console().print(table)


def _stream(source: str, size: str, codec: str, seconds: float, fps: int) -> SessionLog:
    with TemporaryDirectory(prefix="veilscope-bench-") as folder:
        code, log = Path(folder) / "code", Path(folder) / "receiver.jsonl"
        server = _start("signaling", "--host", _LOOPBACK, "--port", "0", "--quiet")
        programs = [server]
        try:
            assert server.stdout is not None  # noqa: S101 -- made with a pipe
            url = server.stdout.readline().split()[-1]
            both = ("--signaling", url, "--address", _LOOPBACK, "--code-file", str(code))
            frames = str(round(seconds * fps))
            sender = _start(
                "sender", *both, "--source", source, "--size", size, "--fps", str(fps),
                "--codec", codec, "--frames", frames,
            )  # fmt: skip
            programs.append(sender)
            receiver = _start("receiver", *both, "--display", "none", "--log", str(log))
            programs.append(receiver)
            if receiver.wait(_START_S + seconds) != 0 or sender.wait(_START_S) != 0:
                raise VeilscopeError("a program of the benchmark's stream failed")
        finally:
            for program in programs:
                program.kill()
                program.wait()
        return read_log(log)


def _start(module: str, *arguments: str) -> subprocess.Popen[str]:
    piped = subprocess.PIPE if module == "signaling" else subprocess.DEVNULL
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module, *arguments], stdout=piped, text=True
    )


def _figures(log: SessionLog) -> list[str]:
    summary = log.summary
    assert isinstance(summary, SummaryLine)  # noqa: S101 -- a receiver's log
    total = summary.frames_shown + sum(summary.frames_dropped.values())
    latency, psnr = summary.latency_ms, summary.psnr_db.mean
    bounds = [line.latency_bound_ms for line in log.frames if isinstance(line, FrameLine)]
    return [
        f"{summary.frames_shown} of {total}",
        *(_number(value) for value in (latency.p50, latency.p95, latency.p99)),
        _number(max((bound for bound in bounds if bound is not None), default=None)),
        "lossless" if psnr is None else f"{psnr:.1f}",
        _stages([line.stages_ms for line in log.frames if isinstance(line, FrameLine)]),
    ]


def _stages(stages: list[ShownStages]) -> str:
    """The median of each stage that takes 0.05 ms or more."""
    parts = []
    for name in ShownStages.model_fields:
        times = sorted(t for s in stages if (t := getattr(s, name)) is not None)
        middle = times[len(times) // 2] if times else 0.0
        if middle >= 0.05:
            parts.append(f"{name} {middle:.1f}")
    return ", ".join(parts)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
