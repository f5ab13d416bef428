"""The process that carries packets between two TUN devices: `python -m lab.netlab.pump`.

A thin shell around two `Line`s, in a process of its own so that it shares no interpreter lock with
the programs that are measured.  Everything it waits for, it waits for in one `select`, whose
timeout is in microseconds; the kernel's timer slack is turned off, and where allowed the process
runs at real-time priority, since a packet's delay must not depend on what the measured programs do
with the processors.  It never spins.

It talks with its parent in JSON lines: a configuration in, then commands (`begin`, `counters`,
`series`), one answer line each.  When its standard input ends, so does it, and it removes the two
namespaces with all that runs in them: a runner that is killed leaves nothing behind.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import select
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import numpy as np

from lab.netlab import namespace
from lab.netlab.impairment import Schedule
from lab.netlab.line import SAMPLE_NS, Line
from lab.netlab.tun import MTU

__all__ = ["Pump", "main"]

_BATCH = 32  # packets read from one device before due ones are handed over
_EARLY_NS = 50_000  # wake so long before a packet is due: about what waking up takes
_PR_SET_TIMERSLACK = 29  # linux/prctl.h
_now = time.monotonic_ns


class Pump:
    """Carries packets until its input ends."""

    def __init__(self, devices: tuple[int, int], lines: tuple[Line, Line]) -> None:
        left, right = devices
        forward, backward = lines
        self._lines = {"forward": forward, "backward": backward}
        self._routes = {left: forward, right: backward}  # where packets come from
        self._exits = ((forward, right), (backward, left))
        self._count_from_zero()
        self._commands = b""

    def _count_from_zero(self) -> None:
        self._unwritten = 0
        self._cpu_before_s = time.process_time()

    def run(self) -> None:
        """Read, decide, wait, write; until standard input ends."""
        command = sys.stdin.fileno()
        os.set_blocking(command, False)
        watched = [*self._routes, command]
        routes, read = self._routes, os.read
        wake_ns = 0
        while True:
            timeout = max(wake_ns - _now(), 0) / 1e9
            readable, _, _ = select.select(watched, (), (), timeout)
            for descriptor in readable:
                if descriptor == command:
                    if not self._obey(command):
                        return
                    continue
                take = routes[descriptor].take
                with suppress(BlockingIOError):
                    for _ in range(_BATCH):
                        take(read(descriptor, MTU), _now())
            wake_ns = self._hand_over()

    def _hand_over(self) -> int:
        """Write what is due; returns when to look again."""
        wake_ns = _now() + SAMPLE_NS
        for line, descriptor in self._exits:
            for packet in line.due(_now(), early_ns=_EARLY_NS):
                try:
                    os.write(descriptor, packet)
                except OSError:  # the device is down, or the kernel short of memory
                    self._unwritten += 1
            next_ns = line.next_ns
            if next_ns is not None:
                wake_ns = min(wake_ns, next_ns - _EARLY_NS)
            wake_ns = min(wake_ns, line.sample(_now()))
        return wake_ns

    def _obey(self, descriptor: int) -> bool:
        data = os.read(descriptor, 4096)
        *commands, self._commands = (self._commands + data).split(b"\n")
        for command in commands:
            _answer(self._act(command.decode()))
        return bool(data)

    def _act(self, command: str) -> dict[str, Any]:
        if command == "begin":
            now_ns = _now()
            for line in self._lines.values():
                line.begin(now_ns)
            self._count_from_zero()
            return {"began_ns": now_ns}
        if command == "series":
            return {
                name: [asdict(sample) for sample in line.series()]
                for name, line in self._lines.items()
            }
        counters: dict[str, Any] = {
            name: asdict(line.counters()) for name, line in self._lines.items()
        }
        return {
            **counters,
            "unwritten": self._unwritten,
            "cpu_s": time.process_time() - self._cpu_before_s,
        }


def _answer(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _take_priority() -> bool:
    """No timer slack, and real-time priority where allowed: whether it was."""
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except OSError:
        return False
    return True


def main() -> None:
    """Read the configuration, and carry packets."""
    configuration = b""
    while not configuration.endswith(b"\n"):  # past Python's buffer, which `select` can't see
        data = os.read(sys.stdin.fileno(), 4096)
        if not data:
            return
        configuration += data
    settings = json.loads(configuration)
    left, right = settings["devices"]
    seeds = np.random.SeedSequence(settings["seed"]).spawn(2)
    forward, backward = (
        Line(Schedule.from_json(settings[name]), seed=seed, now_ns=_now())
        for name, seed in zip(("forward", "backward"), seeds, strict=True)
    )
    pump = Pump((left, right), (forward, backward))
    gc.collect()
    gc.freeze()
    gc.disable()  # a pass over the heap would hold packets up; nothing here makes cycles
    _answer({"ready": True, "real_time": _take_priority()})
    try:
        pump.run()
    finally:  # also where the parent was killed, and could not clear up
        for name in settings["namespaces"]:
            namespace.remove(name)


if __name__ == "__main__":
    main()
