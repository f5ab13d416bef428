"""Runs a rival that is two programs of `lab.bench.rivals`: starts both and carries their mail."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lab.bench.rivals.place import Place, Side
from lab.bench.rivals.records import StreamRecord, read_offered, read_pictures, read_shown
from lab.bench.rivals.rival import Case, Run
from lab.bench.rivals.usage import Meter
from shared.errors import VeilscopeError

__all__ = ["Pair", "Program"]

START_S = 60.0  # for two programs to start and connect on a busy machine
WRITE_S = 60.0  # for a program to write its record


class Program:
    """One end, with its standard input and output as a stream of JSON objects."""

    def __init__(self, side: Side, arguments: list[str], log: Path) -> None:
        self._log = log
        with log.open("wb") as errors:
            self.process: subprocess.Popen[bytes] = side.popen(
                arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # and so a group to end together: browsers have families
            )
        self._lines: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def tell(self, told: dict[str, Any]) -> None:
        assert self.process.stdin is not None  # noqa: S101 -- made with a pipe
        try:
            self.process.stdin.write(json.dumps(told).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._failed() from None

    def hear(self, kind: str, timeout_s: float) -> dict[str, Any]:
        """The next object, which must be of this kind.  Raises `VeilscopeError` if none comes."""
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            raise VeilscopeError(f"a program of the benchmark did not say {kind!r}") from None
        if not line:
            raise self._failed()
        said = json.loads(line)
        if not isinstance(said, dict) or said.get("type") != kind:
            raise VeilscopeError(f"a program of the benchmark said {said!r}, not {kind!r}")
        return said

    def wait(self) -> None:
        try:
            ended = self.process.wait(WRITE_S)
        except subprocess.TimeoutExpired:
            raise VeilscopeError("a program of the benchmark does not end") from None
        if ended != 0:
            raise self._failed()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def _read(self) -> None:
        assert self.process.stdout is not None  # noqa: S101 -- made with a pipe
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(b"")

    def _failed(self) -> VeilscopeError:
        said = self._log.read_text(errors="replace").strip().splitlines()
        return VeilscopeError(
            f"a program of the benchmark failed: {said[-1] if said else 'it said nothing'}"
        )


@dataclass(frozen=True, slots=True)
class Pair:
    """A rival whose two ends are the module `program`.

    It may need a package, or one of some executables.
    """

    name: str
    program: str
    codec: str = ""
    package: str | None = None
    executables: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def missing(self) -> str | None:
        if self.package is not None and find_spec(self.package) is None:
            return f"the package {self.package} is not installed"
        if self.executables and not any(map(shutil.which, self.executables)):
            return f"there is no {self.executables[0]}"
        return None

    def stream(self, case: Case, place: Place) -> Run:
        folder = case.folder
        with ExitStack() as programs:
            sender, receiver = (
                programs.enter_context(
                    Program(side, self._command(role, case, side), folder / f"{role}.log")
                )
                for role, side in (("sender", place.left), ("receiver", place.right))
            )
            pids = {"sender": sender.process.pid, "receiver": receiver.process.pid}
            meter = programs.enter_context(Meter(pids))
            receiver.tell(sender.hear("offer", START_S))
            sender.tell(receiver.hear("answer", START_S))
            sender.hear("started", START_S)
            place.begin()
            began_ns = time.monotonic_ns()
            sender.hear("fed", case.seconds * 3 + START_S)
            ended_ns = time.monotonic_ns()
            wire = place.end()
            time.sleep(case.tail_s)
            for program in (receiver, sender):
                program.tell({"stop": True})
            for program in (receiver, sender):
                program.wait()
        shown, unreadable_ns = read_shown(folder / "receiver.json")
        record = StreamRecord(
            read_offered(folder / "sender.json"),
            shown,
            read_pictures(folder / "pictures"),
            unreadable_ns,
            self.notes,
        )
        return Run(record, began_ns, ended_ns, meter.series, wire)

    def _command(self, role: str, case: Case, side: Side) -> list[str]:
        return [
            sys.executable, "-P", "-m", self.program, role,
            "--clip", str(case.clip.path),
            "--channels", str(case.clip.channels),
            "--fps", str(case.fps),
            "--seconds", str(case.seconds),
            "--codec", self.codec,
            "--quality", str(case.quality),
            "--address", side.address,
            "--sample-every", str(case.sample_every),
            "--record", str(case.folder / f"{role}.json"),
            "--pictures", str(case.folder / "pictures"),
        ]  # fmt: skip
