"""Processor time and memory of running programs, seen from outside, the same way for all.

Read from /proc, so on Linux alone; elsewhere nothing is measured and nothing fails.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

__all__ = ["Meter", "Usage", "cpu_seconds"]

PERIOD_S = 0.25
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Usage:
    """At a moment: processor seconds since the program's start, and bytes resident in memory.

    Both over the program and all that it has started and that still runs.
    """

    at_ns: int
    cpu_s: float
    rss_bytes: int


class Meter:
    """Follows programs in a thread of its own, by name, until it is left."""

    def __init__(self, programs: Mapping[str, int], *, period_s: float = PERIOD_S) -> None:
        self._programs = dict(programs)
        self._period_s = period_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="usage", daemon=True)
        self.series: dict[str, list[Usage]] = {name: [] for name in programs}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _follow(self) -> None:
        while True:
            for name, pid in self._programs.items():
                if (usage := _usage(pid)) is not None:
                    self.series[name].append(usage)
            if self._over.wait(self._period_s):
                return


def cpu_seconds(series: list[Usage], began_ns: int, ended_ns: int) -> float | None:
    """Processor seconds spent between two moments, to the nearest samples; None where unknown."""
    if len(series) < 2:
        return None
    first = min(series, key=lambda usage: abs(usage.at_ns - began_ns))
    last = min(series, key=lambda usage: abs(usage.at_ns - ended_ns))
    if last.at_ns <= first.at_ns:
        return None
    spent = last.cpu_s - first.cpu_s
    return spent * (ended_ns - began_ns) / (last.at_ns - first.at_ns)


def _usage(pid: int) -> Usage | None:
    ticks, pages, found = 0, 0, False
    for one in _family(pid):
        with suppress(OSError, ValueError, IndexError):
            # After the name, which may hold anything: proc_pid_stat(5), fields 14, 15 and 24.
            fields = (_PROC / str(one) / "stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
            pages += int(fields[21])
            found = True
    if not found or pages == 0:  # nobody there, or the last moments of a program
        return None
    return Usage(
        time.monotonic_ns(),
        ticks / os.sysconf("SC_CLK_TCK"),
        pages * os.sysconf("SC_PAGE_SIZE"),
    )


def _family(pid: int) -> Iterator[int]:
    yield pid
    with suppress(OSError):
        for task in (_PROC / str(pid) / "task").iterdir():
            with suppress(OSError):
                for child in (task / "children").read_text().split():
                    yield from _family(int(child))
