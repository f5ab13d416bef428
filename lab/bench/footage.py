"""A source's pictures for the benchmarks, as a sender would show them: its own masks applied."""

from __future__ import annotations

from collections.abc import Iterator

from sender.sources import images, open_source
from shared.frame import Image

__all__ = ["Footage", "open_footage"]

Footage = tuple[float, Iterator[Image]]
"""A source's frames a second, and its pictures."""


def open_footage(
    spec: str, size: tuple[int, int] | None = None, fps: float | None = None
) -> Footage:
    """The source that `spec` names, one pass, at a size and a rate if they are given.

    Raises `BadInput` and `SourceFailed` as `open_source` does.
    """
    source = open_source(spec, size=size, fps=fps)

    def pictures() -> Iterator[Image]:
        try:
            yield from images(source)
        finally:
            source.close()

    return fps or source.info.fps, pictures()
