"""Whether a stream yields: beside its own twin, and beside TCP, on one bottleneck."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from lab.bench.rivals.place import Impaired, Wire
from lab.bench.rivals.rival import Case, Run
from lab.bench.rivals.veilscope import Session, record_of
from lab.bench.stream import FpsOption, SizeOption, SourceOption, open_clip, told_source
from lab.bench.stream_figures import figures_of, quality_of
from lab.bench.stream_plots import draw_fairness
from lab.bench.stream_results import StreamResult, as_json, results_tables
from lab.netlab import ImpairedNetwork, bulk, load_profile
from lab.resultfile import ResultFile
from shared.errors import BadInput, VeilscopeError
from shared.telemetry.reader import read_log

__all__ = ["jain", "main", "shares"]

_LATER_S = 5.0  # the other one starts when the first has settled
_READY_S = 30.0


def jain(rates: list[float]) -> float | None:
    """Jain's index of fairness: 1 where all get the same, 1/n where one gets all.

    Jain, Chiu and Hawe, "A quantitative measure of fairness and discrimination for resource
    allocation in shared computer systems", DEC-TR-301, 1984.  None where nobody gets anything.
    """
    squares = sum(rate * rate for rate in rates)
    return sum(rates) ** 2 / (len(rates) * squares) if squares else None


def shares(rates: dict[str, list[float]], since_s: float, until_s: float) -> dict[str, float]:
    """The mean of each one's rate over the seconds in which both are there."""
    return {
        name: statistics.fmean(inside) if (inside := each[round(since_s) : int(until_s)]) else 0.0
        for name, each in rates.items()
    }


def main(
    beside: Annotated[
        Literal["twin", "tcp"], typer.Option(help="Another Veilscope stream, or a TCP flow.")
    ] = "twin",
    profile: Annotated[
        str, typer.Option(help="The network: one with a bottleneck, named or a TOML file.")
    ] = "uplink",
    source: SourceOption = "phantom:ultrasound",
    size: SizeOption = None,
    fps: FpsOption = None,
    seconds: Annotated[float, typer.Option(min=15, help="How long in all.")] = 60.0,
    codec: Annotated[str, typer.Option(help="Veilscope's codec.")] = "auto",
    quality: Annotated[int, typer.Option(min=1, max=100, help="Quality of JPEGs.")] = 90,
    option: Annotated[
        list[str] | None, typer.Option(help="A further option of veilscope send; repeatable.")
    ] = None,
    congestion: Annotated[str, typer.Option(help="TCP's congestion control.")] = "cubic",
    seed: Annotated[int, typer.Option(min=0, help="Of the network's random choices.")] = 1,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write figures and series here.")
    ] = None,
    plots: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Draw the rates there, as SVG.")
    ] = None,
) -> None:
    """Put two streams, or a stream and TCP, on one bottleneck; needs root.

    A TCP flow starts 5 s after the stream and ends 5 s before it; twins start together.
    """
    results_file = ResultFile(json_file)
    network = load_profile(profile)
    with TemporaryDirectory(prefix="veilscope-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        clip, rate = open_clip(source, size, fps, seconds, folder)
        net = stack.enter_context(ImpairedNetwork(network, seed=seed, pairs=2))
        streams = ["first", "second"] if beside == "twin" else ["stream"]
        sessions = {}
        for pair, title in enumerate(streams):
            own = folder / title
            own.mkdir()
            options = tuple(option or ())
            case = Case(clip, rate, seconds, own, codec=codec, quality=quality, options=options)
            place = Impaired(net, pair)
            sessions[title] = (place, stack.enter_context(Session(case, place)))
        first_at = {title: s.wait_for_picture() for title, (_, s) in sessions.items()}
        main_place = sessions[streams[0]][0]
        main_place.begin()
        began_ns = time.monotonic_ns()
        flow = _TcpFlow(net, congestion) if beside == "tcp" else None
        _pass(began_ns, _LATER_S)
        if flow is not None:
            flow.start(seconds - 2 * _LATER_S)
        _pass(began_ns, seconds)
        ended_ns = time.monotonic_ns()
        wire = main_place.end()
        if flow is not None:
            flow.end()
        results = []
        for title, (_, session) in sessions.items():
            session.end()
            logs = read_log(session.receiver_log), read_log(session.sender_log)
            record = record_of(*logs, first_at_ns=first_at[title])
            run = Run(record, began_ns, ended_ns)
            quality_found = quality_of(run, {}, clip.count, warmup_s=_LATER_S)
            figures = figures_of(run, quality_found, warmup_s=_LATER_S)
            results.append(StreamResult(title, 1, figures, run, {}))
    rates = _named(wire, {title: place for title, (place, _) in sessions.items()})
    share = shares(rates, _LATER_S + 1, seconds - _LATER_S)
    case_said: dict[str, Any] = {
        "beside": beside,
        "profile": network.name,
        "rate_mbit": network.forward.steps[0].impairment.rate_mbit,
        "source": told_source(source),
        "fps": rate,
        "seconds": seconds,
        "codec": codec,
        "options": list(option or ()),
        "seed": seed,
    }
    console = Console()
    console.print(results_tables(results, f"{beside} on {network.name}, {seconds:g} s")[0])
    for title, value in share.items():
        console.print(f"{title}: {value:.2f} Mbit/s while both are there", highlight=False)
    index = jain(list(share.values()))
    console.print("Jain's index: " + ("-" if index is None else f"{index:.3f}"), highlight=False)
    found = {**as_json(results, case_said), "rates": rates, "shares": share, "jain": index}
    results_file.write(found)
    if plots is not None:
        for path in draw_fairness(found, plots):
            typer.echo(path)


def _pass(began_ns: int, until_s: float) -> None:
    time.sleep(max(0.0, until_s - (time.monotonic_ns() - began_ns) / 1e9))


def _named(wire: Wire, places: dict[str, Impaired]) -> dict[str, list[float]]:
    """The rates of the flows that are someone's, by name."""
    names = {
        f"udp {place.left.address} > {place.right.address}": title
        for title, place in places.items()
    }
    rates = {title: wire.flows[flow] for flow, title in names.items() if flow in wire.flows}
    first = next(iter(places.values()))
    tcp = f"tcp {first.left.address} > {first.right.address}"
    if len(places) == 1 and tcp in wire.flows:
        rates["tcp"] = wire.flows[tcp]
    if len(rates) < 2:
        raise VeilscopeError("one of the two streams sent nothing")
    return rates


class _TcpFlow:
    """A flow of the kernel's TCP from left to right, by `lab.netlab.bulk`."""

    def __init__(self, net: ImpairedNetwork, congestion: str) -> None:
        self._net = net
        self._congestion = congestion
        self._receiver: subprocess.Popen[bytes] = net.right.popen(
            [sys.executable, "-P", "-m", bulk.__name__, "receive", net.right.address],
            stdout=subprocess.PIPE,
        )
        assert self._receiver.stdout is not None  # noqa: S101 -- made with a pipe
        if not self._receiver.stdout.readline():
            raise BadInput("the TCP flow's receiver did not start")
        self._sender: subprocess.Popen[bytes] | None = None

    def start(self, seconds: float) -> None:
        self._sender = self._net.left.popen(
            [
                sys.executable, "-P", "-m", bulk.__name__, "send", self._net.right.address,
                "--seconds", str(seconds), "--congestion", self._congestion,
            ]
        )  # fmt: skip

    def end(self) -> None:
        if self._sender is not None:
            self._sender.wait(_READY_S)
        self._receiver.kill()
        self._receiver.communicate()
