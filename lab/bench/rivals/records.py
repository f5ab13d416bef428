"""What the two ends of a measured stream write down, whoever carries the stream.

Values only: times are `time.monotonic_ns()` of the one machine on which both ends run, so that they
may be subtracted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.frame import Image

__all__ = [
    "Offered",
    "Picture",
    "Shown",
    "StreamRecord",
    "read_offered",
    "read_pictures",
    "read_shown",
    "write_offered",
    "write_pictures",
    "write_shown",
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


def write_offered(path: Path, offered: Iterable[Offered]) -> None:
    path.write_text(json.dumps([(o.index, o.captured_at_ns) for o in offered]))


def read_offered(path: Path) -> list[Offered]:
    return [Offered(int(index), int(at)) for index, at in json.loads(path.read_text())]


def write_shown(path: Path, shown: Iterable[Shown], unreadable_ns: list[int]) -> None:
    rows = [(s.index, s.captured_at_ns, s.shown_at_ns, s.told_ms, s.bound_ms) for s in shown]
    path.write_text(json.dumps({"shown": rows, "unreadable_ns": unreadable_ns}))


def read_shown(path: Path) -> tuple[list[Shown], list[int]]:
    """The pictures shown, and when some were shown that had no readable strip."""
    found = json.loads(path.read_text())
    rows = [Shown(*row) for row in found["shown"]]
    return rows, [int(at) for at in found["unreadable_ns"]]


def write_pictures(path: Path, pictures: Iterable[Picture]) -> None:
    arrays: dict[str, NDArray[np.uint8]] = {str(p.index): p.image for p in pictures}
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # its stub takes the arrays for its option


def read_pictures(path: Path) -> list[Picture]:
    with np.load(path) as found:
        return [Picture(int(name), found[name]) for name in found.files]
