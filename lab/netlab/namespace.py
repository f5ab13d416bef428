"""Network namespaces: separate network stacks on one machine, through the program `ip`.

Names carry the process id of the run that made them (`vslab-PID-…`), so that the next run finds
what a killed one left behind, ends the programs in it, and removes it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import DeviceUnavailable, VeilscopeError

__all__ = [
    "Namespace",
    "check_machine",
    "ip",
    "make",
    "remove",
    "remove_leftovers",
    "unique_name",
]

_PREFIX = "vslab-"
_MOUNTS = Path("/run/netns")  # where `ip` keeps what holds a namespace open
_ENTERING_S = 0.001  # between looks whether a program is inside yet: `ip` takes a few milliseconds


@dataclass(frozen=True, slots=True)
class Namespace:
    """One end of the impaired network.

    `addresses` are its IPv4 addresses, one for each pair of programs that share the network, so
    that their traffic can be told apart; most runs need the first only.
    """

    name: str
    addresses: tuple[str, ...]

    @property
    def address(self) -> str:
        """The first of its addresses."""
        return self.addresses[0]

    def command(self, arguments: Sequence[str | Path]) -> list[str]:
        """The command line that runs `arguments` inside.  The process keeps its id: `ip` is
        replaced by the program, so signals, exit status and `wait4` are the program's own."""
        return ["ip", "netns", "exec", self.name, *map(str, arguments)]

    def popen(self, arguments: Sequence[str | Path], **options: Any) -> subprocess.Popen[Any]:
        """Start a program inside; `options` are those of `subprocess.Popen`.

        Returns when it is inside (or has ended): `remove` finds only those who are.
        """
        process = subprocess.Popen(self.command(arguments), **options)
        while not (self._holds(process.pid) or _has_ended(process.pid)):
            time.sleep(_ENTERING_S)
        return process

    def _holds(self, process: int) -> bool:
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended just now
            return Path(f"/proc/{process}/ns/net").samefile(_MOUNTS / self.name)
        return False


def _has_ended(process: int) -> bool:
    """Whether a child has; its status is left for who waits for it."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def check_machine() -> None:
    """Raise `DeviceUnavailable` where this machine or user can't have an impaired network."""
    if shutil.which("ip") is None:
        raise DeviceUnavailable(
            "the impaired network needs the program `ip`",
            hint="install iproute2, for example: apt-get install iproute2",
        )
    if os.geteuid() != 0:
        raise DeviceUnavailable(
            "the impaired network needs root: it makes network namespaces and TUN devices",
            hint="run it with sudo, or as root in a container with NET_ADMIN and SYS_ADMIN",
        )


def ip(*arguments: str, namespace: str | None = None) -> str:
    """Run the program `ip`, perhaps for the interfaces of a namespace; returns what it prints.

    Raises `DeviceUnavailable` with its complaint where it fails.
    """
    inside = () if namespace is None else ("-n", namespace)
    result = subprocess.run(
        ["ip", *inside, *arguments],  # noqa: S607 -- wherever the system keeps it
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        complaint = " ".join(result.stderr.split())
        raise DeviceUnavailable(
            f"`ip {' '.join(arguments)}` failed: {complaint}",
            hint="network namespaces need root with CAP_SYS_ADMIN and CAP_NET_ADMIN",
        )
    return result.stdout


def make(end: Namespace) -> None:
    """Make the namespace, with its loopback interface up and IPv6 off (its chatter would count)."""
    ip("netns", "add", end.name)
    ip("link", "set", "lo", "up", namespace=end.name)
    turn_off = "for each in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 > $each; done"
    quiet = end.popen(["sh", "-c", turn_off], stderr=subprocess.DEVNULL)
    quiet.wait()  # whatever its status: a kernel without IPv6 has nothing to turn off


def remove(name: str) -> None:
    """End every program in a namespace, and remove it; nothing happens where there is none."""
    if not (_MOUNTS / name).exists():
        return
    with suppress(VeilscopeError):
        for process in ip("netns", "pids", name).split():
            with suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGKILL)
    with suppress(VeilscopeError):
        ip("netns", "delete", name)


def unique_name(number: int) -> str:
    """The common part of the names of one network's namespaces."""
    return f"{_PREFIX}{os.getpid()}-{number}"


def remove_leftovers() -> list[str]:
    """Remove the namespaces of runs that are no more; returns their names."""
    removed = []
    for line in ip("netns", "list").splitlines():
        name = line.split()[0] if line.strip() else ""
        if not name.startswith(_PREFIX):
            continue
        owner = name.removeprefix(_PREFIX).split("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            remove(name)
            removed.append(name)
    return removed
