"""The progress bars of the laboratory's commands, on stderr."""

from __future__ import annotations

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from shared.terminal import stderr

__all__ = ["progress_bars"]


def progress_bars() -> Progress:
    """Return bars that count steps and say how long is left; to be entered, then given tasks."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=stderr,
    )
