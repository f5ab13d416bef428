"""`veilscope demo`: the whole product on one machine, as three real processes.

Starts the signaling server, a sender and a receiver as a person would in three terminals, lets
them stream the demo clip over this machine's loopback address alone, and leaves the logs, the
saved frames, a picture *original | as sent | decrypted* and a report behind.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Annotated

import typer

import receiver
import sender
import signaling
from sender.sources import open_source
from sender.streamcodec import AUTO
from shared.codecs import CODECS
from shared.errors import BadInput, OutputFailed, VeilscopeError
from shared.telemetry.report import write_report
from shared.terminal import DebugOption, run_async, stdout
from veilscope.comparison import compare

__all__ = ["demo"]

LOOPBACK = "127.0.0.1"
START_TIMEOUT_S = 60.0  # a cold disk may take this long to load torch once per process
END_TIMEOUT_S = 20.0  # the sender's last frames, the log and the saved pictures


class DemoFailed(VeilscopeError):
    """One of the three programs ended badly; carries its exit status."""

    def __init__(self, message: str, *, status: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.exit_status = status


def demo(
    seconds: Annotated[
        float, typer.Option(min=1, max=3600, help="How long to stream the demo clip.")
    ] = 10.0,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FOLDER", file_okay=False, help="Where to leave the results."
        ),
    ] = Path("veilscope-demo"),
    codec: Annotated[
        str,
        typer.Option(
            help=f"One of: {', '.join(CODECS)}; {AUTO} picks by picture, machine and path."
        ),
    ] = AUTO,
    display: Annotated[
        str,
        typer.Option(
            metavar="auto|window|none",
            envvar="VEILSCOPE_DISPLAY",
            help="Show the receiver's window: where there is a screen, always, or never.",
        ),
    ] = "auto",
    debug: DebugOption = False,  # noqa: ARG001 -- acted on where it is parsed
) -> None:
    """Stream a real echocardiogram, encrypted, between two programs on this machine."""
    if codec not in (AUTO, *CODECS):
        raise BadInput(
            f"there is no codec {codec!r}", hint=f"choose from {AUTO}, {', '.join(CODECS)}"
        )
    results = _Results(output)
    results.prepare()
    run_async(lambda: _stream(results, seconds=seconds, codec=codec, display=display))
    _show_results(results)


@dataclass(frozen=True, slots=True)
class _Results:
    """Where everything is left."""

    folder: Path

    @property
    def sender_log(self) -> Path:
        return self.folder / "sender.jsonl"

    @property
    def receiver_log(self) -> Path:
        return self.folder / "receiver.jsonl"

    @property
    def frames(self) -> Path:
        return self.folder / "frames"

    @property
    def comparison(self) -> Path:
        return self.folder / "comparison.png"

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    def prepare(self) -> None:
        """Make the folders, and remove what an earlier demo left in them."""
        try:
            self.frames.mkdir(parents=True, exist_ok=True)
            for old in (*self.frames.glob("frame-*.png"), *self.frames.glob("frame-*.sealed")):
                old.unlink()
        except OSError as error:
            raise OutputFailed(
                f"the demo can't write to {self.folder}: {error.strerror}",
                hint="give another folder with --output",
            ) from error


async def _stream(results: _Results, *, seconds: float, codec: str, display: str) -> None:
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        # The three don't hear that the terminal was closed: they have sessions of their own.
        asyncio.get_running_loop().add_signal_handler(
            signal.SIGHUP, signal.raise_signal, signal.SIGTERM
        )
    async with AsyncExitStack() as stack:
        private = stack.enter_context(TemporaryDirectory(prefix="veilscope-demo-"))
        code_file = Path(private) / "code"
        say = stdout.print
        server = await stack.enter_async_context(
            _program("signaling server", signaling, "--host", LOOPBACK, "--port", "0", "--quiet")
        )
        url = await server.line_after("signaling listening on ")
        say(f"signaling server  {url}", markup=False)
        both = ("--signaling", url, "--address", LOOPBACK, "--proxy", "none")
        sending = await stack.enter_async_context(
            _program(
                "sender", sender, *both,
                "--source", "demo", "--frames", str(round(seconds * 30)), "--codec", codec,
                "--code-file", str(code_file), "--log", str(results.sender_log), "--until-left",
            )
        )  # fmt: skip
        say(f"sender            the demo clip, {seconds:g} s, {codec}", markup=False)
        say("receiver          pairs with the code that the sender made\n", markup=False)
        receiving = await stack.enter_async_context(
            _program(
                "receiver", receiver, *both,
                "--code-file", str(code_file), "--display", display,
                "--save-frames", str(results.frames), "--save-sealed",
                "--log", str(results.receiver_log),
                visible=True,
            )
        )  # fmt: skip
        await _until_ended(receiving, sending, server, limit_s=START_TIMEOUT_S + seconds)


async def _until_ended(
    receiver: _Program, sender: _Program, server: _Program, *, limit_s: float
) -> None:
    """Wait for both peers to end well; the server must outlive them."""
    endings = {asyncio.create_task(program.ended()) for program in (receiver, sender)}
    serving = asyncio.create_task(server.ended())
    try:
        async with asyncio.timeout(limit_s + END_TIMEOUT_S):
            waiting = {*endings, serving}
            while endings & waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
    except TimeoutError:
        raise DemoFailed(
            "the demo did not end in time", status=1, hint="is this machine very busy?"
        ) from None
    finally:
        for task in (*endings, serving):
            task.cancel()
        await asyncio.gather(*endings, serving, return_exceptions=True)


class _Program:
    """One of the three processes."""

    def __init__(self, name: str, process: Process) -> None:
        self._name = name
        self._process = process
        self._errors = asyncio.create_task(self._read(process.stderr))
        self._output: asyncio.Task[str] | None = None

    async def line_after(self, start: str) -> str:
        """The rest of the first line of its output that begins with `start`."""
        assert self._process.stdout is not None  # noqa: S101 -- made with a pipe
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                async for raw in self._process.stdout:
                    line = raw.decode(errors="replace").strip()
                    if line.startswith(start):
                        return line.removeprefix(start)
        except TimeoutError:
            raise DemoFailed(
                f"the {self._name} did not start in time",
                status=1,
                hint="is this machine very busy?",
            ) from None
        await self.ended()
        raise DemoFailed(f"the {self._name} did not start", status=1)

    async def ended(self) -> None:
        """Wait for its end; raises `DemoFailed` with what it said unless it ended well."""
        if self._process.stdout is not None and self._output is None:
            self._output = asyncio.create_task(self._read(self._process.stdout))
        status = await self._process.wait()
        if status != 0:
            text, hint = _complaint(await self._errors)
            text = text or f"exit status {status}"
            raise DemoFailed(f"the {self._name} failed: {text}", status=max(status, 1), hint=hint)

    async def stop(self) -> None:
        """End it if it still runs."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.terminate()
            try:
                async with asyncio.timeout(END_TIMEOUT_S):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        for task in filter(None, (self._errors, self._output)):
            task.cancel()

    @staticmethod
    async def _read(stream: asyncio.StreamReader | None) -> str:
        return "" if stream is None else (await stream.read()).decode(errors="replace")


def _complaint(said: str) -> tuple[str, str]:
    """The last error that a program told of on stderr, and its hint; warnings are passed over."""
    text = hint = ""
    for line in said.splitlines():
        kind, colon, rest = line.partition(": ")
        if colon and kind in ("error", "unexpected error"):
            text, hint = rest, ""
        elif text and not hint and line.startswith("  → "):
            hint = line.removeprefix("  → ")
    return text, hint


@asynccontextmanager
async def _program(
    name: str, program: ModuleType, *arguments: str, visible: bool = False
) -> AsyncIterator[_Program]:
    """Run `python -m program arguments`; `visible`: its output is the person's to see."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # the folder that the person is in must not stand in for installed packages
        "-m",
        program.__name__,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=None if visible else PIPE,
        stderr=PIPE,
        start_new_session=True,  # Ctrl-C reaches the demo alone, which ends them one by one
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    started = _Program(name, process)
    try:
        yield started
    finally:
        await started.stop()


# -- what is left for the person ------------------------------------------------------------------


def _show_results(results: _Results) -> None:
    source = open_source("demo")
    try:
        pictures = compare(source, results.frames, results.folder)
    finally:
        source.close()
    write_report(
        results.receiver_log, results.report, frames_dir=results.frames, comparison=pictures
    )
    for name, path in (
        ("report", results.report),
        ("comparison", results.comparison),
        ("frames", results.frames),
        ("logs", f"{results.sender_log}, {results.receiver_log}"),
    ):
        stdout.print(f"{name:<12}{path}", soft_wrap=True, markup=False)
