"""The link measured with itself: does it do what a profile says, and what does it add of its own?

For each profile: UDP echoes for round trip and loss, then a flood above the bottleneck's rate for
rate and queue, through the steps of the schedule, shortened.  The measuring programs share the
processors with the link, so that the round trip holds their waking up as well; the link's own
lateness stands in a column of its own.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lab.netlab import echo
from lab.netlab.impairment import Impairment, ImpairmentStep, Schedule
from lab.netlab.line import SAMPLE_NS
from lab.netlab.namespace import Namespace
from lab.netlab.network import ImpairedNetwork, LinkCounters
from lab.netlab.profiles import Profile

__all__ = ["OwnCost", "ProfileCheck", "StepRate", "check_profile", "measure_own_cost"]

_STEP_S = 2.0  # each step of a shortened schedule
_SETTLE_S = 0.8  # of it, before the rate is measured: the queue of the step before drains
_PROBE_BYTES = 200
_FLOOD_BYTES = 1200
_EXCESS = 1.3  # times the largest rate
_MAX_FLOOD_MBIT = 150.0  # what a flooding program of ours sends without taking the link's processor


@dataclass(frozen=True, slots=True)
class StepRate:
    """Rate in one step, in Mbit/s of IP packets behind the bottleneck and before loss."""

    configured_mbit: float | None  # None: more than the flood can exceed; 0: outage
    measured_mbit: float


@dataclass(frozen=True, slots=True)
class ProfileCheck:
    """A profile as configured and as measured."""

    profile: str
    rtt_range_ms: tuple[float, float]  # configured: least and greatest, with the probe's sending
    rtt_ms: tuple[float, float, float, float]  # measured: least, p50, p95, p99
    echoes: int
    loss: float  # configured, there and back
    loss_measured: float
    loss_tolerance: float  # three standard deviations of so many packets, bursts taken into account
    reordered: int
    rates: list[StepRate]
    queue_ms: float | None  # configured: what a packet that gets in may wait, in the slowest step
    queue_measured_ms: float
    late_mean_ms: float  # the link's own, beyond what the model decided
    late_max_ms: float


@dataclass(frozen=True, slots=True)
class OwnCost:
    """The link with nothing configured."""

    rtt_ms: tuple[float, float, float, float]  # least, p50, p95, p99
    packets_per_s: float  # small packets, one way
    cpu_us_per_packet: float
    real_time: bool


def check_profile(profile: Profile, *, seed: int = 1, echoes: int = 1000) -> ProfileCheck:
    """Measure one profile; takes about 6 s and 2 s more for each step.

    Raises `DeviceUnavailable` where there can be no impaired network here.
    """
    first = (profile.forward.steps[0].impairment, profile.backward.steps[0].impairment)
    short = _shortened(profile.forward)
    with ImpairedNetwork(replace(profile, forward=short), seed=seed) as net:
        probe = _echo(net, echoes)  # at the figures of second 0, as the schedule has not begun
        counters = net.counters()
        rates, flooded = _flood_steps(net, short)
    waits = [_longest_wait(step.impairment) for step in short.steps]
    ways = counters.forward, counters.backward
    return ProfileCheck(
        profile=profile.name,
        rtt_range_ms=(
            sum(way.delay_ms - way.jitter_ms + _sending_ms(way) for way in first),
            sum(way.delay_ms + way.jitter_ms + way.reorder_ms + _sending_ms(way) for way in first),
        ),
        rtt_ms=_quantiles(probe["rtt_ms"]),
        echoes=echoes,
        loss=1 - math.prod(1 - way.mean_loss for way in first),
        loss_measured=1 - probe["returned"] / probe["sent"],
        loss_tolerance=3 * math.sqrt(sum(_loss_variance(way) for way in first) / echoes),
        reordered=probe["reordered"],
        rates=rates,
        queue_ms=max((wait for wait in waits if wait is not None), default=None),
        queue_measured_ms=flooded.forward.max_queue_ms,
        late_mean_ms=float(np.mean([way.late_mean_ms for way in ways])),
        late_max_ms=max(way.late_max_ms for way in ways),
    )


def measure_own_cost(*, seconds: float = 2.0, mbit: float = 100.0) -> OwnCost:
    """Round trip and packet rate of the link with nothing configured.

    The flood offers packets of 200 bytes at `mbit`; what arrives depends on how much of the
    processors the flooding and counting programs leave to the link.
    """
    nothing = Schedule.constant(Impairment())
    with ImpairedNetwork(Profile("nothing", "", nothing, nothing)) as net:
        probe = _echo(net, 500)
        arrived = _flood(net, mbit=mbit, size=200, seconds=seconds)
        counters = net.counters()
    return OwnCost(
        rtt_ms=_quantiles(probe["rtt_ms"]),
        packets_per_s=arrived["packets"] / max(arrived["seconds"], 1e-9),
        cpu_us_per_packet=1e6 * counters.cpu_s / max(counters.forward.delivered_packets, 1),
        real_time=counters.real_time,
    )


def _shortened(schedule: Schedule) -> Schedule:
    """The same steps, each for `_STEP_S`."""
    return Schedule(
        tuple(ImpairmentStep(n * _STEP_S, step.impairment) for n, step in enumerate(schedule.steps))
    )


def _loss_variance(impairment: Impairment) -> float:
    """Variance of a packet's loss, times the length over which bursts make packets alike."""
    alike = 2 * impairment.burst_packets - 1 if impairment.burst_loss else 1
    return impairment.mean_loss * (1 - impairment.mean_loss) * alike


def _sending_ms(impairment: Impairment) -> float:
    """How long the bottleneck takes for a probe."""
    return 0.0 if impairment.rate_mbit is None else _PROBE_BYTES * 8 / impairment.rate_mbit / 1e3


def _longest_wait(impairment: Impairment) -> float | None:
    if impairment.rate_mbit is None:
        return None
    if impairment.queue_ms is not None:
        return impairment.queue_ms
    assert impairment.queue_bytes is not None  # noqa: S101 -- one of the two is there
    return impairment.queue_bytes * 8 / impairment.rate_mbit / 1e3


def _flood_steps(net: ImpairedNetwork, schedule: Schedule) -> tuple[list[StepRate], LinkCounters]:
    """The rate of each step under a flood, from the link's own series before loss behind it."""
    impairments = [step.impairment for step in schedule.steps]
    fastest = max(step.rate_mbit or math.inf for step in impairments)
    mbit = min(_EXCESS * fastest, _MAX_FLOOD_MBIT)
    _flood(net, mbit=mbit, size=_FLOOD_BYTES, seconds=_STEP_S * len(impairments))
    series, counters = net.series().forward, net.counters()
    rates = []
    for number, impairment in enumerate(impairments):
        begins, ends = number * _STEP_S + _SETTLE_S, (number + 1) * _STEP_S
        samples = [sample for sample in series if begins < sample.at_s <= ends]
        nbytes = sum(each.delivered_bytes + each.lost * _FLOOD_BYTES for each in samples)
        measured = nbytes * 8 / (SAMPLE_NS / 1e9 * len(samples)) / 1e6
        configured = impairment.rate_mbit
        if impairment.outage:
            configured = 0.0
        elif configured is not None and configured > _MAX_FLOOD_MBIT:
            configured = None
        rates.append(StepRate(configured, measured))
    return rates, counters


def _echo(net: ImpairedNetwork, count: int) -> dict[str, Any]:
    server = _start(net.right, "serve", net.right.address)
    try:
        options = ("--count", str(count), "--size", str(_PROBE_BYTES))
        return _result(_start(net.left, "probe", net.right.address, *options))
    finally:
        _end(server)


def _flood(net: ImpairedNetwork, *, mbit: float, size: int, seconds: float) -> dict[str, Any]:
    """Send for `seconds`, and begin the schedule with it; returns what arrived."""
    patience = str(_STEP_S + 1)  # longer than an outage
    counter = _start(net.right, "count", net.right.address, "--patience", patience)
    try:
        options = {"--mbit": mbit, "--size": size, "--seconds": seconds}
        words = [str(word) for option in options.items() for word in option]
        flood = _start(net.left, "flood", net.right.address, *words)
        net.begin()
        _result(flood)
        return _result(counter)
    finally:
        _end(counter)


def _start(end: Namespace, role: str, *arguments: str) -> subprocess.Popen[str]:
    process = end.popen(
        [sys.executable, "-I", echo.__file__, role, *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None  # noqa: S101 -- made with a pipe
    if role != "probe":
        process.stdout.readline()  # it is ready
    return process


def _result(process: subprocess.Popen[str]) -> dict[str, Any]:
    output, _ = process.communicate(timeout=120)
    result: dict[str, Any] = json.loads(output)
    return result


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def _quantiles(values: Iterable[float]) -> tuple[float, float, float, float]:
    found = list(values) or [math.nan]
    least, p50, p95, p99 = np.percentile(found, [0, 50, 95, 99])
    return float(least), float(p50), float(p95), float(p99)
