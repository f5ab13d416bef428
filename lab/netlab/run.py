"""Run programs at both ends of an impaired network, and put what happened into one result.

Programs are command lines.  In them `{left}` and `{right}` stand for the ends' addresses (of the
program's own pair), `{signaling}` for the URL of the signaling server at the left end, `{folder}`
for a folder that all share, `{pair}` for the pair's number, and `{python}` for this interpreter.
The pairing code goes from sender to receiver through a file in the folder (`--code-file`); logs
written there as `*.jsonl` become part of the result.

The folder is removed at the end, and so are namespaces and devices; what a run that was killed
could not remove, the next one does.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from types import FrameType
from typing import Any

import signaling
from lab.netlab import bulk
from lab.netlab.bulk import FIRST_PORT, Goodput
from lab.netlab.network import ImpairedNetwork
from lab.netlab.profiles import Profile
from lab.netlab.program import Job, NetlabProgram, Outcome, environment
from shared.errors import VeilscopeError

__all__ = ["RunResult", "TcpFlow", "TcpOutcome", "run_jobs"]

_FOLDER = "veilscope-netlab-"
_POLL_S = 0.02
_SIGNALING_PORT = 8765
_START_S = 60.0  # for a program to say that it is ready, on a busy machine


@dataclass(frozen=True, slots=True)
class TcpFlow:
    """A TCP flow from left to right beside the programs."""

    after_s: float = 0.0  # after the beginning
    seconds: float = 10.0
    congestion: str = "cubic"


@dataclass(frozen=True, slots=True)
class TcpOutcome:
    """What a TCP flow got; nothing where its time never came."""

    flow: TcpFlow
    goodput: Goodput | None


@dataclass(frozen=True, slots=True)
class RunResult:
    """One run: what was asked, what the programs did, and what the link saw."""

    profile: dict[str, Any]
    seed: int
    began_ns: int  # of `time.monotonic_ns`: second 0 of the schedule and the series
    seconds: float  # from then to the end of the last program
    timed_out: bool  # programs were ended at the limit
    programs: list[Outcome]
    tcp: list[TcpOutcome]
    link: dict[str, Any]  # see `LinkCounters`
    series: dict[str, Any]  # see `LinkSeries`
    logs: dict[str, list[Any]] = field(default_factory=dict)  # by file name, line by line

    @property
    def succeeded(self) -> bool:
        """Whether every program ended by itself, with status 0."""
        return not self.timed_out and all(program.status == 0 for program in self.programs)


def run_jobs(
    profile: Profile | str,
    jobs: Sequence[Job],
    *,
    seed: int = 1,
    limit_s: float = 300.0,
    signaling: bool = False,
    begin_on: str | None = None,
    tcp: Sequence[TcpFlow] = (),
) -> RunResult:
    """Run `jobs` over `profile` until all have ended, at most `limit_s` seconds.

    `signaling`: start a signaling server at the left end first.  `begin_on`: the schedule begins
    when one of the programs has printed this text, and not as soon as all are started.

    It ends when all programs have, and all TCP flows.

    Raises `DeviceUnavailable` where there can be no impaired network here, `BadInput` for a
    command line that can't be used, `VeilscopeError` where the server or a TCP flow fails.
    """
    _remove_leftover_folders()
    pairs = max((job.pair for job in jobs), default=1)
    with (
        _ended_by_sigterm(),
        TemporaryDirectory(prefix=f"{_FOLDER}{os.getpid()}-") as name,
        ImpairedNetwork(profile, seed=seed, pairs=pairs) as net,
    ):
        folder = Path(name)
        url = _start_signaling(net, folder) if signaling else ""
        flows = [_Flow(net, flow, number) for number, flow in enumerate(tcp)]
        running = [NetlabProgram(net, job, folder, url, number) for number, job in enumerate(jobs)]
        began_ns = net.begin() if begin_on is None else 0
        limit_at = time.monotonic() + limit_s
        timed_out = False
        while True:
            alive = [program for program in running if not program.ended()]
            pending = [flow for flow in flows if not flow.ended()]
            if not alive and not (pending and began_ns):
                break
            if begin_on is not None and not began_ns:
                texts = (program.output() for program in running)
                began_ns = net.begin() if any(begin_on in text for text in texts) else 0
            if began_ns:
                for flow in flows:
                    flow.start_if_due((time.monotonic_ns() - began_ns) / 1e9)
            if time.monotonic() >= limit_at:
                timed_out = True
                break
            time.sleep(_POLL_S)
        seconds = (time.monotonic_ns() - began_ns) / 1e9 if began_ns else 0.0
        counters, series = net.counters(), net.series()
        return RunResult(
            profile=asdict(net.profile),
            seed=seed,
            began_ns=began_ns,
            seconds=seconds,
            timed_out=timed_out,
            programs=[program.outcome() for program in running],
            tcp=[flow.outcome() for flow in flows],
            link=asdict(counters),
            series=asdict(series),
            logs={path.name: _read_log(path) for path in sorted(folder.glob("*.jsonl"))},
        )


def _remove_leftover_folders() -> None:
    """Those of runs that were killed: a pairing code may lie in them."""
    for folder in Path(gettempdir()).glob(f"{_FOLDER}*"):
        owner = folder.name.removeprefix(_FOLDER).split("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that everything is cleared up."""

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:  # not the main thread, which is then the one to be ended
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _start_signaling(net: ImpairedNetwork, folder: Path) -> str:
    """Start the server; it ends with the network.  Returns its URL."""
    output = folder / "signaling.out"
    port = str(_SIGNALING_PORT)
    with output.open("wb") as file:
        server = net.left.popen(
            [sys.executable, "-P", "-m", signaling.__name__, "--host", "0.0.0.0", "--port", port],  # noqa: S104
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment(),
        )
    limit_at = time.monotonic() + _START_S
    while "signaling listening on" not in output.read_text(errors="replace"):
        if server.poll() is not None or time.monotonic() > limit_at:
            raise VeilscopeError("the signaling server of the impaired network did not start")
        time.sleep(_POLL_S)
    return f"ws://{net.left.address}:{port}"


class _Flow:
    """A TCP flow: its receiver is there from the start, its sender comes when due."""

    def __init__(self, net: ImpairedNetwork, flow: TcpFlow, number: int) -> None:
        self._net, self._flow = net, flow
        self._port = ["--port", str(FIRST_PORT + number)]
        self._receiver = net.right.popen(
            [*self._bulk("receive"), net.right.address, *self._port],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._receiver.stdout is not None  # noqa: S101 -- made with a pipe
        if not self._receiver.stdout.readline():
            raise VeilscopeError("a TCP flow beside the programs did not start")
        self._sender: subprocess.Popen[Any] | None = None

    @staticmethod
    def _bulk(role: str) -> list[str]:
        return [sys.executable, "-I", bulk.__file__, role]

    def start_if_due(self, seconds: float) -> None:
        if self._sender is None and seconds >= self._flow.after_s:
            self._sender = self._net.left.popen(
                [
                    *self._bulk("send"),
                    self._net.right.address,
                    *self._port,
                    "--seconds",
                    str(self._flow.seconds),
                    "--congestion",
                    self._flow.congestion,
                ]
            )

    def ended(self) -> bool:
        return self._receiver.poll() is not None

    def outcome(self) -> TcpOutcome:
        """What it got; ends it where it has not."""
        if self._receiver.poll() is None:
            self._receiver.kill()
        output, _ = self._receiver.communicate()
        return TcpOutcome(self._flow, Goodput(**json.loads(output)) if output.strip() else None)


def _read_log(path: Path) -> list[Any]:
    lines = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            lines.append({"unreadable": line[:200]})
    return lines
