"""Veilscope itself: the programs that people start, and its receiver API where pictures are read.

`veilscope` is measured as its rivals are: the sender draws the strip, and a receiver that uses the
API (`watching`) reads it.  `veilscope-log` is the receiver program itself, without strip;
its figures are those of its log, by its estimate of the sender's clock.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import receiver
import sender
import signaling
from lab.bench.rivals import watching
from lab.bench.rivals.place import Place, Side
from lab.bench.rivals.records import (
    Offered,
    Shown,
    StreamRecord,
    read_pictures,
    read_shown,
)
from lab.bench.rivals.rival import Case, Run
from lab.bench.rivals.usage import Meter
from shared.errors import VeilscopeError
from shared.telemetry.reader import SessionLog, read_log
from shared.telemetry.records import FrameLine, SentFrameLine
from shared.terminal import INTERRUPTED

__all__ = ["Session", "Veilscope", "record_of"]

START_S = 60.0  # for three programs to start and pair on a busy machine
END_S = 30.0  # for a program to end after it was asked to
POLL_S = 0.02


class Session:
    """The programs of one session: start them, wait for the first picture, end them."""

    def __init__(self, case: Case, place: Place, *, strips: bool = False) -> None:
        self._case = case
        self._place = place
        self._strips = strips
        self._programs = ExitStack()
        self.sender_log = case.folder / "sender.jsonl"
        self.receiver_log = case.folder / "receiver.jsonl"

    def __enter__(self) -> Session:
        with ExitStack() as starting:
            case, left, right = self._case, self._place.left, self._place.right
            server = starting.enter_context(
                _Running(
                    left, case.folder, signaling,
                    "--host", left.address, "--port", "0", "--quiet",
                )
            )  # fmt: skip
            url = server.first_line().split()[-1]
            code = case.folder / "code"
            both = ("--signaling", url, "--proxy", "none", "--code-file", str(code))
            self.sender = starting.enter_context(
                _Running(
                    left, case.folder, sender, *both, "--address", left.address,
                    "--source", f"video:{case.clip.path}", "--loop", "--fps", str(case.fps),
                    "--codec", case.codec, "--quality", str(case.quality),
                    "--log", str(self.sender_log), *(("--strip",) if self._strips else ()),
                    *case.options,
                )
            )  # fmt: skip
            self.receiver = starting.enter_context(
                _Running(
                    right, case.folder, *self._receiving(), *both, "--address", right.address,
                    "--log", str(self.receiver_log),
                )
            )  # fmt: skip
            self._programs = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._programs.close()

    def _receiving(self) -> tuple[ModuleType, *tuple[str, ...]]:
        """The program of the receiver, and its options."""
        if not self._strips:
            return receiver, "--display", "none"
        return (
            watching, "--sample-every", str(self._case.sample_every),
            "--record", str(self._case.folder / "receiver.json"),
            "--pictures", str(self._case.folder / "pictures"),
        )  # fmt: skip

    @property
    def pids(self) -> dict[str, int]:
        return {"sender": self.sender.process.pid, "receiver": self.receiver.process.pid}

    def wait_for_picture(self) -> int:
        """Wait until the receiver's log tells of a picture; returns when that was seen (ns)."""
        until = time.monotonic() + START_S
        while not (self.receiver_log.exists() and b'"frame"' in self.receiver_log.read_bytes()):
            self.check()
            if time.monotonic() > until:
                raise VeilscopeError("no picture was shown in the benchmark's session")
            time.sleep(POLL_S)
        return time.monotonic_ns()

    def check(self) -> None:
        """Raises `VeilscopeError` where one of the two ends is gone."""
        for program in (self.sender, self.receiver):
            program.check()

    def end(self) -> None:
        """End the sender as a person does; the receiver then ends on its own."""
        self.sender.process.send_signal(signal.SIGINT)
        self.receiver.wait()
        self.sender.wait(INTERRUPTED)


class _Running:
    """One program of Veilscope on one side."""

    def __init__(self, side: Side, folder: Path, program: ModuleType, *arguments: str) -> None:
        self._name = program.__name__
        self._errors = folder / f"{self._name}.err"
        with self._errors.open("wb") as errors, (folder / f"{self._name}.out").open("wb") as out:
            self.process: subprocess.Popen[Any] = side.popen(
                [sys.executable, "-P", "-m", self._name, *arguments],
                stdout=subprocess.PIPE if program is signaling else out,
                stderr=errors,
            )

    def first_line(self) -> str:
        assert self.process.stdout is not None  # noqa: S101 -- made with a pipe
        line: bytes = self.process.stdout.readline()
        if not line.strip():
            raise self._failed()
        return line.decode()

    def check(self) -> None:
        if self.process.poll() is not None:
            raise self._failed()

    def wait(self, status: int = 0) -> None:
        """Raises `VeilscopeError` where it does not end, or with another exit status."""
        try:
            ended = self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            raise VeilscopeError(f"the {self._name} does not end") from None
        if ended != status:
            raise self._failed()

    def __enter__(self) -> _Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def _failed(self) -> VeilscopeError:
        said = self._errors.read_text(errors="replace").strip().splitlines()
        last = " ".join(said[-3:]) or "it said nothing"
        return VeilscopeError(f"the {self._name} ended: {last}")


@dataclass(frozen=True, slots=True)
class Veilscope:
    """The product: with `strips` its receiver API, without them its receiver program and log."""

    name: str = "veilscope"
    strips: bool = True

    @property
    def missing(self) -> str | None:
        return None

    def stream(self, case: Case, place: Place) -> Run:
        with Session(case, place, strips=self.strips) as session:
            first_at_ns = session.wait_for_picture()
            with Meter(session.pids) as meter:
                place.begin()
                began_ns = time.monotonic_ns()
                while (left_s := case.seconds - (time.monotonic_ns() - began_ns) / 1e9) > 0:
                    session.check()
                    time.sleep(min(left_s, 0.5))
                ended_ns = time.monotonic_ns()
                wire = place.end()
            time.sleep(case.tail_s)
            session.end()
        sent = read_log(session.sender_log)
        if self.strips:
            shown, unreadable_ns = read_shown(case.folder / "receiver.json")
            pictures = read_pictures(case.folder / "pictures")
            record = StreamRecord(_offered(shown, sent), shown, pictures, unreadable_ns)
        else:
            received = read_log(session.receiver_log)
            record = record_of(received, sent, first_at_ns=first_at_ns)
        return Run(record, began_ns, ended_ns, meter.series, wire)


def record_of(received: SessionLog, sent: SessionLog, *, first_at_ns: int) -> StreamRecord:
    """What the logs of the two ends tell of a session.

    The receiver's log counts time from the session's beginning; that its first picture was seen
    there at `first_at_ns` makes it absolute, to some hundredths of a second.  Only the edges of
    what is evaluated hang on that: latency and gaps are differences within the log.
    """
    lines = [line for line in received.frames if isinstance(line, FrameLine)]
    timed = [line for line in lines if line.latency_ms is not None]
    if not timed:
        return StreamRecord([], [], notes=("no picture was shown with a latency",))
    origin_ns = first_at_ns - round(lines[0].at_s * 1e9)
    shown = [
        Shown(
            line.frame,
            origin_ns + round(line.at_s * 1e9 - (line.latency_ms or 0.0) * 1e6),
            origin_ns + round(line.at_s * 1e9),
            bound_ms=line.latency_bound_ms,
            psnr_db=line.psnr_db,
        )
        for line in timed
    ]
    return StreamRecord(_offered(shown, sent), shown)


def _offered(shown: list[Shown], sent: SessionLog) -> list[Offered]:
    """Every picture of the source from the first shown on, and when it was captured.

    Those not shown were captured between their neighbours that were.
    """
    known = {picture.index: picture.captured_at_ns for picture in shown}
    if len(known) < 2:
        return [Offered(index, at_ns) for index, at_ns in known.items()]
    at = sorted(known)
    sent_last = max((f.frame for f in sent.frames if isinstance(f, SentFrameLine)), default=at[-1])
    dropped = [line.index for line in sent.drops if line.index is not None]
    indices = np.arange(at[0], max([at[-1], sent_last, *dropped]) + 1)
    origin = known[at[0]]
    times = np.asarray([known[index] - origin for index in at], np.float64)
    pace = times[-1] / (at[-1] - at[0])
    inside = np.interp(indices, at, times)
    captured = np.where(indices > at[-1], times[-1] + (indices - at[-1]) * pace, inside)
    return [
        Offered(index, origin + round(after))
        for index, after in zip(indices.tolist(), captured.tolist(), strict=True)
    ]
