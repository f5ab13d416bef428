"""The commands of the impaired network: `veilscope netlab …` is this sub-app."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from lab.netlab.check import ProfileCheck, StepRate, check_profile, measure_own_cost
from lab.netlab.impairment import Impairment
from lab.netlab.namespace import check_machine
from lab.netlab.profiles import PROFILES, load_profile
from lab.netlab.program import Job
from lab.netlab.run import RunResult, TcpFlow, run_jobs
from lab.resultfile import ResultFile
from shared.errors import BadInput
from shared.terminal import stderr, stdout

__all__ = ["netlab_app"]

netlab_app = typer.Typer(
    help="Run programs over an impaired network on this machine. Needs root.",
    no_args_is_help=True,
    add_completion=False,
)

_PROFILE_HELP = f"One of {', '.join(PROFILES)}, or a TOML file with figures of one's own."
_JsonOption = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", dir_okay=False, help="Write the result.")
]


@netlab_app.command("profiles")
def profiles_command() -> None:
    """List the named profiles: what each direction does at the start."""
    table = Table("profile", "delay ms", "loss", "Mbit/s", "queue", "", box=None, padding=(0, 2))
    for profile in PROFILES.values():
        way = profile.forward.steps[0].impairment
        delay = f"{way.delay_ms:g}" + (f" ± {way.jitter_ms:g}" if way.jitter_ms else "")
        table.add_row(
            profile.name, delay, _loss(way), f"{way.rate_mbit:g}", _queue(way), profile.description
        )
    stdout.print(table)


@netlab_app.command("check")
def check_command(
    profiles: Annotated[
        list[str] | None, typer.Argument(help=f"{_PROFILE_HELP} None: all of the named.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides every random choice.")] = 1,
    echoes: Annotated[int, typer.Option(min=10, help="Echoes for round trip and loss.")] = 1000,
    json_file: _JsonOption = None,
) -> None:
    """Measure the link with itself: what is configured beside what is measured."""
    file = ResultFile(json_file)
    chosen = [load_profile(name) for name in profiles or PROFILES]
    check_machine()
    with stderr.status("the link on its own"):
        own = measure_own_cost()
    checks = []
    for profile in chosen:
        with stderr.status(f"profile {profile.name}"):
            checks.append(check_profile(profile, seed=seed, echoes=echoes))
    stdout.print(
        f"with nothing configured: round trip {_spread(own.rtt_ms)} ms (least / p50 / p95 / p99), "
        f"{own.packets_per_s:,.0f} packets/s carried, {own.cpu_us_per_packet:.0f} µs of processor "
        f"each, {'real-time priority' if own.real_time else 'ordinary priority'}",
        soft_wrap=True,
    )
    stdout.print(_check_table(checks))
    file.write({"own": asdict(own), "profiles": [asdict(check) for check in checks]})


@netlab_app.command("run")
def run_command(
    profile: Annotated[str, typer.Argument(help=_PROFILE_HELP)],
    left: Annotated[
        list[str] | None,
        typer.Option(metavar="COMMAND", help="A program at the left end (media goes right)."),
    ] = None,
    right: Annotated[
        list[str] | None, typer.Option(metavar="COMMAND", help="A program at the right end.")
    ] = None,
    pairs: Annotated[
        int, typer.Option(min=1, max=16, help="Run all of them so many times side by side.")
    ] = 1,
    tcp: Annotated[
        int, typer.Option(min=0, max=16, help="TCP flows beside them, left to right.")
    ] = 0,
    tcp_after: Annotated[float, typer.Option(min=0, help="When they start, seconds.")] = 0.0,
    tcp_seconds: Annotated[float, typer.Option(min=0.1, help="How long they last.")] = 10.0,
    tcp_congestion: Annotated[
        str, typer.Option(help="The kernel's congestion control: cubic, reno, bbr.")
    ] = "cubic",
    signaling: Annotated[
        bool, typer.Option("--signaling", help="Start a signaling server at the left end.")
    ] = False,
    begin_on: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Begin the schedule when a program prints this; else at once.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides every random choice.")] = 1,
    limit: Annotated[float, typer.Option(min=1, help="End everything after so long, s.")] = 300.0,
    json_file: _JsonOption = None,
) -> int:
    """Run programs at both ends; end with status 1 if one of them fails.

    In a command {left}, {right} are the ends' addresses, {signaling} is the server's URL, {folder}
    a folder that all share and whose *.jsonl become part of the result, {pair} the pair's number,
    {python} this Python. For example:

    veilscope netlab run uplink --signaling --begin-on "receiver: live"
    --left "{python} -m sender --signaling {signaling} --code-file {folder}/code --frames 300"
    --right "{python} -m receiver --signaling {signaling} --code-file {folder}/code --display none"
    """
    if not left and not right and not tcp:
        raise BadInput("there is nothing to run", hint="give --left, --right or --tcp")
    file = ResultFile(json_file)
    jobs = [
        job
        for pair in range(1, pairs + 1)
        for job in (
            *(Job("left", command, pair) for command in left or ()),
            *(Job("right", command, pair) for command in right or ()),
        )
    ]
    result = run_jobs(
        load_profile(profile),
        jobs,
        seed=seed,
        limit_s=limit,
        signaling=signaling,
        begin_on=begin_on,
        tcp=[TcpFlow(tcp_after, tcp_seconds, tcp_congestion)] * tcp,
    )
    _print_run(result)
    file.write(asdict(result))
    return int(not result.succeeded)


def _loss(way: Impairment) -> str:
    kinds = [(way.loss, ""), (way.burst_loss, f" in bursts of {way.burst_packets:g}")]
    return " + ".join(f"{share:.1%}{kind}" for share, kind in kinds if share) or "none"


def _queue(way: Impairment) -> str:
    return f"{way.queue_ms:g} ms" if way.queue_ms is not None else f"{way.queue_bytes:,} B"


def _spread(values: tuple[float, ...]) -> str:
    return " / ".join(f"{value:.2f}" for value in values)


def _check_table(checks: list[ProfileCheck]) -> Table:
    table = Table(
        "profile",
        "round trip ms",
        "measured: least / p50\n/ p95 / p99",
        "loss both ways,\nmeasured ± 3 sd",
        "Mbit/s by step,\nmeasured",
        "longest queue\nms, measured",
        "own lateness ms:\nmean, max",
    )
    for check in checks:
        least, most = check.rtt_range_ms
        queue = "-" if check.queue_ms is None else f"{check.queue_ms:.0f}"
        table.add_row(
            check.profile,
            f"{least:.2f}" if least == most else f"{least:.1f} to {most:.1f}",
            _spread(check.rtt_ms),
            f"{check.loss:.2%}, {check.loss_measured:.2%} ± {check.loss_tolerance:.2%}",
            "\n".join(_rate(rate) for rate in check.rates),
            f"{queue}, {check.queue_measured_ms:.1f}",
            f"{check.late_mean_ms:.3f}, {check.late_max_ms:.2f}",
        )
    return table


def _rate(rate: StepRate) -> str:
    if rate.configured_mbit is None:
        return f"above flood, {rate.measured_mbit:.0f}"
    return f"{rate.configured_mbit:g}, {rate.measured_mbit:.2f}"


def _print_run(result: RunResult) -> None:
    programs = Table("end", "pair", "program", "status", "s", "CPU s", "peak MiB")
    for program in result.programs:
        programs.add_row(
            program.end,
            str(program.pair),
            " ".join(program.command)[:60],
            str(program.status),
            f"{program.seconds:.1f}",
            f"{program.cpu_s:.2f}",
            f"{program.peak_rss_mib:.0f}",
        )
        if program.status != 0:
            stderr.print(program.output, markup=False)
    stdout.print(programs)
    link = Table("direction", "packets", "Mbyte", "lost", "queue full", "outage", "longest queue")
    for way in ("forward", "backward"):
        counts = result.link[way]
        link.add_row(
            way,
            f"{counts['offered_packets']:,}",
            f"{counts['offered_bytes'] / 1e6:.2f}",
            str(counts["lost"]),
            str(counts["queue_dropped"]),
            str(counts["outage_dropped"]),
            f"{counts['max_queue_ms']:.1f} ms, {counts['max_queue_bytes']:,} B",
        )
    stdout.print(link)
    for number, flow in enumerate(result.tcp, start=1):
        if flow.goodput is not None and flow.goodput.seconds:
            mbit = flow.goodput.nbytes * 8 / flow.goodput.seconds / 1e6
            stdout.print(f"TCP flow {number}: {mbit:.2f} Mbit/s")
    if result.timed_out:
        stderr.print("the limit was reached: programs were ended")
