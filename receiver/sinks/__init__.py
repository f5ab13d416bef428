"""Where a receiver's pictures go: a window, files, a recording.

A sink never holds up a session: `show` returns at once and the work is done in the sink's own
thread.  What a sink could not keep up with is counted, and said when it is closed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from shared.frame import Frame

__all__ = ["SessionInfo", "ShownFrame", "Sink"]


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """What the window tells of the session that it shows; holds no key and no name."""

    session_id: str
    keystream: str
    """Family of the learned keystream, for the mark `encrypted: …`."""


@dataclass(frozen=True, slots=True, eq=False)
class ShownFrame:
    """One opened frame on its way to the screen, with the figures that go beside it."""

    frame: Frame
    """`captured_at_ns` is on this machine's monotonic clock."""
    sealed: bytes
    """The frame as the network carried it."""
    latency_ms: float | None
    """Capture to now; None while the two clocks are not compared."""
    latency_bound_ms: float | None
    psnr_db: float | None
    """None where the picture is bit-exact."""
    epoch: int
    codec: str
    fps: float


class Sink(Protocol):
    """Takes the frames of one session, in the order shown; belongs to the event loop's thread."""

    def start(self) -> None:
        """Get ready; may block briefly.  Raises `OutputFailed` or `BadInput` where it can't."""

    def show(self, shown: ShownFrame) -> None:
        """Take one frame; never blocks and never raises."""

    def close(self) -> None:
        """Finish what was taken and let go; blocks; may be called again.

        Raises:
            OutputFailed: something was not written.  The first call only.
        """
