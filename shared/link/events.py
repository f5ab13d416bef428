"""The values of a link: what it delivers, what it knows of its path, and why it is over.

Pure.  `shared.link.connection` makes them, `shared.link.link` hands them to the programs.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from shared.errors import PeerGone

__all__ = [
    "MAX_CONTROL_BYTES",
    "MAX_FRAME_BYTES",
    "Event",
    "Fingerprints",
    "IceServer",
    "LinkEnd",
    "PathEstimate",
    "ReceivedFrame",
]

MAX_FRAME_BYTES = 64 * 1024 * 1024  # 64 MiB: a 4K RGB picture that does not compress is 27 MB
MAX_CONTROL_BYTES = 64 * 1024 - 1  # with its kind byte, what every WebRTC peer accepts

Fingerprints = tuple[bytes, bytes]
"""(ours, theirs): the SHA-256 of each end's DTLS certificate, 32 raw bytes each (RFC 8122)."""


class IceServer(Protocol):
    """A STUN or TURN server as an operator gives it (W3C `RTCIceServer`)."""

    @property
    def urls(self) -> str | Sequence[str]: ...
    @property
    def username(self) -> str | None: ...
    @property
    def credential(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class ReceivedFrame:
    """One whole message of the frames channel; the time is the link's `now_ns()`."""

    data: bytes
    received_at_ns: int


@dataclass(frozen=True, slots=True)
class PathEstimate:
    """What the path to the other end carries now; all of it measured, none of it promised.

    `rate_bps`: payload bits a second that frames may use now, after repair overhead; `rtt_ns`:
    smoothed round trip; `queue_ns`: queueing delay of the path now, one way, above the base delay;
    `loss`: share of packets lost recently, before repair, 0 to 1; `limited`: whether frames offered
    lately were held back (False: it is the application that sends no more); `proven`: whether the
    rate rests on what the path was seen to carry (False: a start after the connection or an outage,
    which says nothing of a limit yet).
    """

    rate_bps: int
    rtt_ns: int
    queue_ns: int
    loss: float
    limited: bool
    proven: bool = True


@dataclass(frozen=True, slots=True)
class LinkEnd:
    """Why a link is over: `local` we closed it, `peer` the other end did, `lost` it went silent.

    `detail` is what this end saw of it, in its own words: nothing the other end sent is in it.
    """

    cause: Literal["local", "peer", "lost"]
    detail: str = ""

    @property
    def clean(self) -> bool:
        """Whether one of the two ends meant it."""
        return self.cause != "lost"

    def error(self) -> PeerGone:
        """The error that ends whoever still waits for this link."""
        if self.cause == "local":
            return PeerGone("the link was closed at this end")
        if self.cause == "peer":
            return PeerGone("the other end closed the link")
        detail = f": {self.detail}" if self.detail else ""
        return PeerGone(
            f"the other end is gone{detail}",
            hint="check the other program and the network, then pair again",
        )


class Event(enum.Enum):
    """Something happened that somebody may wait for; what it was, the connection's state says."""

    OPENED = enum.auto()
    CONTROL = enum.auto()  # a control message waits to be read
    FRAME = enum.auto()  # a whole frame waits to be read
    CLOCK = enum.auto()  # another ping came back
    SENDING = enum.auto()  # a frame has left, may leave now, or nothing is in flight any more
    SIZE = enum.auto()  # the path is known to carry messages of another size
    SILENCE = enum.auto()  # the other end fell silent, or was heard again
    ENDED = enum.auto()  # nothing more is taken from the program
    PARTED = enum.auto()  # the transport is not needed any more
