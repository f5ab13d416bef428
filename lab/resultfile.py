"""Where a run's figures go as JSON.

Runs take minutes and more, so a file that can't be written is refused before the run and not after
it.  What the file held before stays until there is something to write.
"""

from __future__ import annotations

import json
from pathlib import Path

from lab.output import writing

__all__ = ["ResultFile"]

_HINT = "give another --json"


class ResultFile:
    """The file at `path`, or none where that is None; `OutputFailed` if it can't be written."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        if path is None:
            return
        with writing(path, hint=_HINT):
            was_there = path.exists()
            path.open("ab").close()
            if not was_there:  # a run that is broken off leaves no empty file behind
                path.unlink()

    def write(self, content: object) -> None:
        """Put `content` in place of what the file held; raise `OutputFailed`."""
        if self._path is None:
            return
        with writing(self._path, hint=_HINT):
            self._path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
