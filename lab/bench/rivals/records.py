"""What the two ends of a measured stream write down, whoever carries the stream.

Values only: times are `time.monotonic_ns()` of the one machine on which both ends run, so that they
may be subtracted.  An end writes each thing down as it comes and keeps none of it: the memory that
is measured is the program's own, however long the stream.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from shared.errors import OutputFailed
from shared.frame import Image

__all__ = [
    "Offered",
    "OfferedFile",
    "Picture",
    "PictureFile",
    "Shown",
    "ShownFile",
    "StreamRecord",
    "read_offered",
    "read_pictures",
    "read_shown",
]


@dataclass(frozen=True, slots=True)
class Offered:
    """One picture of the source, at the moment it was there to be sent."""

    index: int
    captured_at_ns: int


@dataclass(frozen=True, slots=True)
class Shown:
    """One picture handed over at the far end, as its strip tells.

    What the product itself says of it, where it says something: `told_ms` is its latency by the
    estimate of the sender's clock, plus or minus `bound_ms`, and `psnr_db` the sender's measure.
    """

    index: int
    captured_at_ns: int
    shown_at_ns: int
    told_ms: float | None = None
    bound_ms: float | None = None
    psnr_db: float | None = None

    @property
    def latency_ms(self) -> float:
        return (self.shown_at_ns - self.captured_at_ns) / 1e6


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One picture kept for measuring its quality: grey or RGB, as it came out."""

    index: int
    image: Image


@dataclass(frozen=True, slots=True, eq=False)
class StreamRecord:
    """A whole stream: what was offered, what was shown, a sample of its pictures.

    `unreadable_ns` is when pictures were shown whose strip could not be read: they count as shown,
    and say nothing of latency.  `notes` are for the reader of the results: a limit of this rival,
    or something that went wrong.
    """

    offered: list[Offered]
    shown: list[Shown]
    pictures: list[Picture] = field(default_factory=list)
    unreadable_ns: list[int] = field(default_factory=list)
    notes: tuple[str, ...] = ()


class _File:
    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _row(self, *row: float | None) -> None:
        self._file.write(json.dumps(row).encode() + b"\n")
        self._file.flush()


class OfferedFile(_File):
    """What a sender writes: a row of JSON a picture."""

    def add(self, offered: Offered) -> None:
        self._row(offered.index, offered.captured_at_ns)


class ShownFile(_File):
    """What a receiver writes: a row of JSON a picture, only the moment where the strip is lost."""

    def add(self, shown: Shown) -> None:
        self._row(
            shown.index, shown.captured_at_ns, shown.shown_at_ns, shown.told_ms, shown.bound_ms
        )

    def add_unreadable(self, at_ns: int) -> None:
        self._row(at_ns)


class PictureFile(_File):
    """The sample of pictures: of each an array with its index, then the picture's, as `.npy`."""

    def add(self, picture: Picture) -> None:
        np.save(self._file, np.int64(picture.index))
        np.save(self._file, picture.image)


def read_offered(path: Path) -> list[Offered]:
    """Raises `OutputFailed`, as the other two do, where the end was ended while it wrote."""
    return [Offered(*row) for row in _rows(path)]


def read_shown(path: Path) -> tuple[list[Shown], list[int]]:
    """The pictures shown, and when some were shown that had no readable strip."""
    rows = list(_rows(path))
    return [Shown(*row) for row in rows if len(row) > 1], [row[0] for row in rows if len(row) == 1]


def read_pictures(path: Path) -> list[Picture]:
    pictures = []
    with path.open("rb") as file:
        while file.peek(1):
            try:
                pictures.append(Picture(int(np.load(file)), np.load(file)))
            except (EOFError, ValueError):
                raise _torn(path) from None
    return pictures


def _rows(path: Path) -> Iterator[list[Any]]:
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                raise _torn(path)
            yield json.loads(line)


def _torn(path: Path) -> OutputFailed:
    return OutputFailed(f"the record {path.name} is torn: its program ended while it wrote it")
