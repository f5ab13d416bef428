"""A source's pictures for the benchmarks, as a sender would show them: its own masks applied."""

from __future__ import annotations

from collections.abc import Iterator

from sender.sources import images, open_source
from shared.frame import Image

__all__ = ["open_footage"]


def open_footage(
    spec: str, size: tuple[int, int] | None, fps: float | None
) -> tuple[float, Iterator[Image]]:
    """The frames a second of the source that `spec` names, and its pictures, one pass.

    Raises `BadInput` and `SourceFailed` as `open_source` does.
    """
    source = open_source(spec, size=size, fps=fps)

    def pictures() -> Iterator[Image]:
        try:
            yield from images(source)
        finally:
            source.close()

    return fps or source.info.fps, pictures()
