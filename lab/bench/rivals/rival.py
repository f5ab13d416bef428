"""What a rival is, what it is asked to stream, and what is known of the stream afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lab.bench.rivals.clip import Clip
from lab.bench.rivals.place import Place, Wire
from lab.bench.rivals.records import StreamRecord
from lab.bench.rivals.usage import Usage

__all__ = ["Case", "Rival", "Run"]


@dataclass(frozen=True, slots=True)
class Case:
    """One stream: what of, how fast, how long, and where its programs may write.

    `codec`, `quality` and `options` (of the sending program) are Veilscope's; the rivals send as
    their names say.  Pictures whose index is a multiple of `sample_every` are kept for their
    quality.
    """

    clip: Clip
    fps: float
    seconds: float
    folder: Path
    codec: str = "jpeg"
    quality: int = 90
    options: tuple[str, ...] = ()
    sample_every: int = 15
    tail_s: float = 3.0  # after the last picture was offered: what is under way may still arrive


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A stream that is over.  Pictures were offered from `began_ns` to `ended_ns`."""

    record: StreamRecord
    began_ns: int
    ended_ns: int
    usage: dict[str, list[Usage]] = field(default_factory=dict)
    wire: Wire | None = None


class Rival(Protocol):
    """A way to send live pictures from one end of a place to the other."""

    @property
    def name(self) -> str: ...

    @property
    def missing(self) -> str | None:
        """What this machine lacks for it, None where it can run."""
        ...

    def stream(self, case: Case, place: Place) -> Run:
        """Stream once; blocks.  Raises `VeilscopeError` where its programs fail."""
        ...
