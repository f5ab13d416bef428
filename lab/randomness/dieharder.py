"""The battery dieharder, where it is installed, on a stream that it reads through a pipe.

Its verdicts (PASSED, WEAK, FAILED) are handed on as they are.  This file prints nothing.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lab.randomness.dump import DumpableStream, dump
from shared.errors import BadInput, VeilscopeError

__all__ = ["Dieharder", "DieharderVerdict", "find_dieharder"]

_RAW_STDIN = "200"  # its number for the "generator" that reads raw 32-bit numbers from stdin
_FIELDS = ("test_name", "ntuple", "tsamples", "psamples", "pvalues", "assessment")


@dataclass(frozen=True, slots=True)
class DieharderVerdict:
    """One line of its table: `assessment` PASSED, WEAK or FAILED (p below 1e-6 or above 1 - 1e-6).

    `ntuple` is a test's own parameter, such as a word's length in bits.  Each of the `p_samples`
    p-values comes from `t_samples` samples; `p_value` says whether they are uniform.
    """

    test: str
    ntuple: int
    t_samples: int
    p_samples: int
    p_value: float
    assessment: str

    @property
    def failed(self) -> bool:
        return self.assessment == "FAILED"


@dataclass(frozen=True, slots=True)
class Dieharder:
    """The installed program, and the numbers of the tests to run; None: all of them (-a)."""

    program: str
    version: str
    tests: tuple[int, ...] | None

    def run(
        self,
        stream: DumpableStream,
        *,
        on_verdict: Callable[[DieharderVerdict], None] | None = None,
    ) -> tuple[DieharderVerdict, ...]:
        """Run the tests; `on_verdict` hears of each verdict as it comes.

        All of them run on one continuous stream.  Those named by number are one run of the program
        each, and begin with the stream anew.  However this ends, the program has ended as well.

        Raises:
            VeilscopeError: the program ended otherwise than with verdicts.
        """
        selections = [["-a"]] if self.tests is None else [["-d", str(t)] for t in self.tests]
        verdicts: list[DieharderVerdict] = []

        def heard(verdict: DieharderVerdict) -> None:
            verdicts.append(verdict)
            if on_verdict is not None:
                on_verdict(verdict)

        for selection in selections:
            self._run_once(selection, stream, heard)
        return tuple(verdicts)

    def _run_once(
        self,
        selection: Sequence[str],
        stream: DumpableStream,
        heard: Callable[[DieharderVerdict], None],
    ) -> None:
        fields = [word for field in _FIELDS for word in ("-D", field)]
        count, last_words = 0, "it said nothing"
        with (
            subprocess.Popen(
                [self.program, "-g", _RAW_STDIN, *selection, "-c", ",", *fields],
                bufsize=0,  # nothing may be left in a buffer of ours when the pipe breaks
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            ) as process,
            ThreadPoolExecutor(1, thread_name_prefix="dieharder-feed") as pool,
        ):
            assert process.stdin is not None  # noqa: S101 -- a pipe
            assert process.stdout is not None  # noqa: S101 -- a pipe
            feeding = pool.submit(_feed, stream, process.stdin.fileno(), process)
            try:
                for raw in process.stdout:
                    line = raw.decode(errors="replace").strip()
                    if verdict := _parse(line):
                        count += 1
                        heard(verdict)
                    else:
                        last_words = line or last_words
                status = process.wait()
            finally:
                process.kill()  # after Ctrl-C; its end breaks the pipe, which ends the feeding
        feeding.result()
        if status or not count:
            raise VeilscopeError(
                f"dieharder ended with status {status} after {count} verdicts: {last_words}"
            )


def find_dieharder(tests: str) -> Dieharder | None:
    """Return what runs `tests`: "all", "none" (None), or numbers with commas between them.

    Raises:
        BadInput: the program is not installed, or has no such test.
    """
    if tests == "none":
        return None
    program = shutil.which("dieharder")
    if program is None:
        raise BadInput(
            "dieharder is not installed",
            hint="install it (on Debian: apt-get install dieharder), or leave --dieharder out",
        )
    version = _output_of(program, "-V").strip()
    if tests == "all":
        return Dieharder(program, version, None)
    # It crashes on a number that it does not know.
    known = re.findall(r"^ *-d (\d+)", _output_of(program, "-l"), re.MULTILINE)
    numbers = tests.split(",")
    if unknown := [number for number in numbers if number not in known]:
        raise BadInput(
            f"dieharder has no test {unknown[0]!r}",
            hint=f"choose all, none, or some of {','.join(known)}",
        )
    return Dieharder(program, version, tuple(int(number) for number in numbers))


def _output_of(program: str, option: str) -> str:
    ended = subprocess.run(
        [program, option], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    return ended.stdout


def _feed(stream: DumpableStream, descriptor: int, process: subprocess.Popen[bytes]) -> None:
    try:
        dump(stream, descriptor)
    except BaseException:
        process.kill()  # it would wait for the rest for ever
        raise


def _parse(line: str) -> DieharderVerdict | None:
    """Return the verdict in a line of the table; None for what else the program says."""
    match line.split(","):
        case [test, *numbers, assessment] if len(numbers) == len(_FIELDS) - 2:
            try:
                ntuple, t_samples, p_samples = map(int, numbers[:3])
                p_value = float(numbers[3])
            except ValueError:
                return None
            return DieharderVerdict(
                test.strip(), ntuple, t_samples, p_samples, p_value, assessment.strip()
            )
    return None
