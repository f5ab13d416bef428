"""A program at one end of an impaired network: its command line, how it ended, and what it took."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lab.netlab.namespace import Namespace
from lab.netlab.network import ImpairedNetwork
from shared.errors import BadInput

__all__ = ["Job", "Outcome", "NetlabProgram", "environment"]

_END_S = 5.0  # for a program to end well
_POLL_S = 0.02
_TAIL = 4000  # characters of a program's output that are kept


@dataclass(frozen=True, slots=True)
class Job:
    """A program at one end."""

    end: Literal["left", "right"]
    command: str | Sequence[str]
    pair: int = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended, and what it took."""

    end: str
    pair: int
    command: list[str]
    status: int  # exit status; negative: the signal that ended it
    seconds: float
    cpu_s: float  # user and system, of it and the children it waited for
    peak_rss_mib: float
    output: str  # the end of what it printed


def environment() -> dict[str, str]:
    """This one without what changes the programs' defaults or leads them to a proxy."""
    kept = {
        key: text
        for key, text in os.environ.items()
        if not key.startswith("VEILSCOPE_") and not key.lower().endswith("_proxy")
    }
    return {**kept, "PYTHONUNBUFFERED": "1"}


class NetlabProgram:
    """A program that was started."""

    def __init__(
        self, net: ImpairedNetwork, job: Job, folder: Path, signaling: str, number: int
    ) -> None:
        self._job = job
        index = job.pair - 1
        try:
            words = shlex.split(job.command) if isinstance(job.command, str) else job.command
        except ValueError as error:
            raise BadInput(f"a command line can't be split into words: {error}") from None
        places = {
            "left": net.left.addresses[index],
            "right": net.right.addresses[index],
            "signaling": signaling,
            "folder": str(folder),
            "pair": str(job.pair),
            "python": sys.executable,
        }
        self._command = [_filled_in(word, places) for word in words]
        if not self._command:
            raise BadInput("a command line is empty")
        if shutil.which(self._command[0]) is None:
            raise BadInput(f"there is no program {self._command[0]!r}", hint="give its path")
        self._output = folder / f"program-{number}.out"
        end: Namespace = net.left if job.end == "left" else net.right
        self._started = time.monotonic()
        with self._output.open("wb") as file:
            self._process = end.popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment(),
            )
        self._outcome: Outcome | None = None

    def output(self) -> str:
        """What it has printed so far."""
        return self._output.read_text(errors="replace")

    def ended(self) -> bool:
        """Whether it has ended; takes note of how."""
        return self._outcome is not None or self._reap(os.WNOHANG)

    def outcome(self) -> Outcome:
        """How it ended.  One that has not is asked to end well, so that its log is whole, and
        killed where it does not."""
        if not self.ended():
            self._process.terminate()
            limit_at = time.monotonic() + _END_S
            while not self.ended() and time.monotonic() < limit_at:
                time.sleep(_POLL_S)
        if not self.ended():
            self._process.kill()
            self._reap(0)
        assert self._outcome is not None  # noqa: S101 -- reaped
        return self._outcome

    def _reap(self, flags: int) -> bool:
        process, status, usage = os.wait4(self._process.pid, flags)
        if process == 0:
            return False
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._outcome = Outcome(
            end=self._job.end,
            pair=self._job.pair,
            command=self._command,
            status=self._process.returncode,
            seconds=time.monotonic() - self._started,
            cpu_s=usage.ru_utime + usage.ru_stime,
            peak_rss_mib=usage.ru_maxrss / 1024,  # the kernel counts KiB
            output=self.output()[-_TAIL:],
        )
        return True


def _filled_in(word: str, places: dict[str, str]) -> str:
    """`word` with each `{name}` replaced; other braces stay as they are."""

    def replace(place: re.Match[str]) -> str:
        try:
            return places[place[1]]
        except KeyError:
            known = ", ".join(f"{{{name}}}" for name in places)
            raise BadInput(
                f"a command line has {place[0]}, which stands for nothing",
                hint=f"known are {known}",
            ) from None

    return re.sub(r"\{([a-z]+)\}", replace, word)
