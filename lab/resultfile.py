"""Where a run's figures go as JSON.

Runs take minutes and more, so a file that can't be written is refused before the run and not after
it.  What the file held before stays until there is something to write.
"""

from __future__ import annotations

import json
from pathlib import Path

from shared.errors import OutputFailed

__all__ = ["ResultFile"]


class ResultFile:
    """The file at `path`, or none where that is None; `OutputFailed` if it can't be written."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        if path is None:
            return
        try:
            was_there = path.exists()
            path.open("ab").close()
            if not was_there:  # a run that is broken off leaves no empty file behind
                path.unlink()
        except OSError as error:
            raise _failed(path, error) from error

    def write(self, content: object) -> None:
        """Put `content` in place of what the file held; raise `OutputFailed`."""
        if self._path is None:
            return
        try:
            self._path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise _failed(self._path, error) from error


def _failed(path: Path, error: OSError) -> OutputFailed:
    return OutputFailed(f"can't write {path}: {error.strerror}", hint="give another --json")
