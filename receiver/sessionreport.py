"""The report that a receiver draws when its session is over, and the log that it is drawn from."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import mkdtemp
from typing import Self

from shared.errors import OutputFailed, VeilscopeError
from shared.telemetry.report import check_report, write_report
from shared.terminal import stdout

__all__ = ["SessionReport"]


class SessionReport:
    """The report to draw at the end, and the log that it is drawn from.

    Without `log` the log is a temporary file for as long as the report needs it.

    Raises:
        OutputFailed: there will be no writing of the report to `path`.
    """

    def __init__(self, path: Path | None, *, log: Path | None, frames: Path | None) -> None:
        self.log = log
        self._path = path
        self._frames = frames
        self._temporary: Path | None = None
        if path is None:
            return
        check_report(path)
        if log is None:
            self._temporary = Path(mkdtemp(prefix="veilscope-"))
            self.log = self._temporary / "session.jsonl"

    def write(self) -> None:
        """Draw it, where one was asked for; blocks.

        Raises:
            OutputFailed: it can't be drawn; names the log, which stays.
        """
        if self._path is None or self.log is None:
            return
        try:
            write_report(self.log, self._path, frames_dir=self._frames)
        except Exception as error:
            self._temporary = None
            why = str(error) if isinstance(error, VeilscopeError) else type(error).__name__
            raise OutputFailed(
                f"there is no report ({why}); the log is kept: {self.log}",
                hint=f"try again: veilscope report {self.log}",
            ) from error
        stdout.print(f"report: {self._path}", soft_wrap=True, markup=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
