"""The project's programs, each in a host of its own, with their output and exit status.

They are forked from a process that has imported what they need, since importing it costs several
times what a short session does; else they run as `python -m …` would run them.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path

from tests.networks.hosts import Host

__all__ = ["HeldUp", "Program", "running"]

ROOT = Path(__file__).parents[2]
CLONE_NEWNET = 0x40000000  # of setns(2), linux/sched.h

_forks = multiprocessing.get_context("forkserver")
_starting = threading.Lock()


@dataclass(frozen=True)
class HeldUp:
    """A program whose event loop is blocked again and again, as by a slow disk."""

    every_s: float
    for_s: float


class Program:
    """A program that was started; its output may be read while it runs."""

    def __init__(self, process: multiprocessing.Process, output: Path) -> None:
        self._process = process
        self._output = output

    @property
    def output(self) -> str:
        return self._output.read_text(errors="replace")

    @property
    def status(self) -> int | None:
        """What it ended with; None while it runs."""
        return self._process.exitcode

    def says(self, text: str, limit_s: float) -> bool:
        """Wait until it has printed `text`; whether it has, before its end and the limit."""
        limit_at = time.monotonic() + limit_s
        while text not in self.output:
            if self.status is not None or time.monotonic() > limit_at:
                return text in self.output
            time.sleep(0.02)
        return True

    def ended(self, limit_s: float) -> int | None:
        """Wait for its end; its status, or None if it still runs by then."""
        self._process.join(limit_s)
        return self.status

    def send(self, number: signal.Signals) -> None:
        assert self._process.pid is not None
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, number)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """It stands still, as in a laptop that sleeps."""
        self.send(signal.SIGSTOP)
        yield
        self.send(signal.SIGCONT)

    @contextmanager
    def slowed(self, share: float, period_s: float = 0.1) -> Iterator[None]:
        """It runs for this share of the time only, as under a container's CPU limit."""
        over = threading.Event()

        def ration() -> None:
            while not over.wait(period_s * share):
                with self.stopped():
                    time.sleep(period_s * (1 - share))

        rationing = threading.Thread(target=ration)
        rationing.start()
        try:
            yield
        finally:
            over.set()
            rationing.join()

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self._process.join()


@contextmanager
def running(
    host: Host,
    module: str,
    *arguments: str | Path,
    output: Path,
    environment: Mapping[str, str] | None = None,
    held_up: HeldUp | None = None,
) -> Iterator[Program]:
    """`python -m module arguments` inside `host`; what it prints goes to `output`.

    It is killed when the block ends.
    """
    output.touch()
    inherited = {name: value for name, value in os.environ.items() if not _is_ours(name)}
    process = _forks.Process(
        target=_run,
        args=(
            host.name,
            module,
            [str(argument) for argument in arguments],
            str(output),
            {**inherited, "COLUMNS": "200", **(environment or {})},
            held_up,
        ),
    )
    with _starting:
        _import_once()
        process.start()
    program = Program(process, output)  # type: ignore[arg-type]
    try:
        yield program
    finally:
        program.kill()


def _is_ours(name: str) -> bool:
    """Whether a variable of the environment would change what the programs do."""
    return name.startswith("VEILSCOPE_") or name.lower().endswith("_proxy") or name == "DISPLAY"


def _import_once() -> None:
    """Start the process that the programs are forked from, with this tree's modules imported."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)
    try:
        _forks.set_forkserver_preload(
            ["sender.cli", "receiver.cli", "signaling.cli", "shared.keystream.torch_cpu"]
        )
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _run(
    namespace: str,
    module: str,
    arguments: Sequence[str],
    output: str,
    environment: Mapping[str, str],
    held_up: HeldUp | None,
) -> None:
    """Become the program; runs in the forked process."""
    _enter(namespace)
    written = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for standard in (1, 2):
        os.dup2(written, standard)
    # Line by line, so that what a program says is there when it has said it.
    sys.stdout = open(1, "w", buffering=1, closefd=False, encoding="utf-8")  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False, encoding="utf-8")  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    if held_up is not None:
        # A handler runs between two instructions of whatever the event loop is at.
        signal.signal(signal.SIGALRM, lambda *_: time.sleep(held_up.for_s))
        signal.setitimer(signal.ITIMER_REAL, held_up.every_s, held_up.every_s)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _enter(namespace: str) -> None:
    """Move this process into a network namespace (`os.setns` came with Python 3.12)."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/run/netns", namespace).open() as holder:
        if libc.setns(holder.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns", namespace)
