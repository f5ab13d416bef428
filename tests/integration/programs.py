"""The real programs, as a person starts them: subprocesses, their output and exit status."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

DEVICE = "onnx"  # it opens in a third of a second, where torch takes two
LIMIT_S = 90.0  # a bound on waiting, for a machine under load; nothing is measured by it
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Outcome:
    status: int
    output: str
    errors: str


class Program:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self.process = process
        self.output = ""
        self._line = asyncio.Event()
        self._reading = asyncio.create_task(self._read(process.stdout))
        self._errors = asyncio.create_task(process.stderr.read())

    async def _read(self, stream: asyncio.StreamReader) -> None:
        while chunk := await stream.read(4096):
            self.output += chunk.decode(errors="replace")
            self._line.set()

    async def says(self, text: str) -> None:
        """Wait until `text` has been printed."""
        async with asyncio.timeout(LIMIT_S):
            while text not in self.output:
                if self._reading.done():
                    errors = (await self._errors).decode()
                    raise AssertionError(f"ended without {text!r}: {self.output}\n{errors}")
                self._line.clear()
                await asyncio.wait(
                    {self._reading, asyncio.create_task(self._line.wait())},
                    return_when=asyncio.FIRST_COMPLETED,
                )

    async def ended(self) -> Outcome:
        async with asyncio.timeout(LIMIT_S):
            errors = (await self._errors).decode()
            await self._reading
            return Outcome(await self.process.wait(), self.output, errors)


@asynccontextmanager
async def program(
    module: str, *arguments: str | Path, environment: dict[str, str] | None = None
) -> AsyncIterator[Program]:
    """Run `python -m module arguments`; it is killed when the block ends."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("VEILSCOPE_")}
    env.pop("DISPLAY", None)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *map(str, arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**env, "PYTHONUNBUFFERED": "1", "COLUMNS": "200", **(environment or {})},
    )
    running = Program(process)
    try:
        yield running
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@asynccontextmanager
async def signaling() -> AsyncIterator[str]:
    """A server of its own; yields its URL."""
    start = "signaling listening on "
    async with program("signaling", "--host", LOOPBACK, "--port", "0") as server:
        await server.says(start)
        await server.says("\n")
        yield server.output.partition(start)[2].split()[0]


def both(url: str) -> tuple[str, ...]:
    """The options that a sender and a receiver on this machine share."""
    return ("--signaling", url, "--address", LOOPBACK, "--device", DEVICE)
