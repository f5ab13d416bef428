"""What a link between the two ends is, whatever carries it.

The sessions are written against `Link`; `shared.link.webrtc.peer.PeerLink` (WebRTC) and
`shared.link.memory.MemoryLink` (one process, scripted) are two of them.  A link moves opaque bytes:
it knows nothing of keys, codecs or pictures, and what it delivers is not to be trusted until it has
been opened.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from shared.clock import ClockEstimate, ClockEstimator
from shared.errors import PeerGone

__all__ = [
    "MAX_CONTROL_BYTES",
    "MAX_FRAME_BYTES",
    "Fingerprints",
    "IceServer",
    "Link",
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


class Link(Protocol):
    """A connected pair of channels: small reliable `control` messages, and large `frames`.

    Methods that wait raise `PeerGone` once the link is over; what had arrived by then is still
    delivered first.  All of them belong to one event loop and may be cancelled at any time.
    """

    def now_ns(self) -> int:
        """This end's monotonic clock in ns: that of `clock`, and of every time the link gives."""
        ...

    @property
    def clock(self) -> ClockEstimator:
        """Fed by pings: a burst at connect, then one a second."""
        ...

    @property
    def path(self) -> PathEstimate | None:
        """What the path to the other end carries now; None until measured."""
        ...

    @property
    def fingerprints(self) -> Fingerprints:
        """Of the two DTLS certificates in use; only while connected."""
        ...

    @property
    def frames_dropped(self) -> Mapping[str, int]:
        """Frames that reached this end and were given to nobody, by reason."""
        ...

    @property
    def malformed_messages(self) -> int:
        """Messages of the other end that made no sense and were ignored."""
        ...

    async def connected(self, timeout_s: float = ...) -> None:
        """Return when both channels are open; raises `LinkFailed`."""
        ...

    async def calibrated(self, timeout_s: float = ...) -> ClockEstimate:
        """Return once enough pings came back for a first estimate; raises `LinkFailed`."""
        ...

    def send_control(self, message: bytes) -> None:
        """Hand over one message of 1 to `MAX_CONTROL_BYTES` bytes; raises `BadInput`."""
        ...

    async def receive_control(self) -> bytes:
        """The next control message, in the order they were sent."""
        ...

    def can_send_frame(self) -> bool:
        """Whether a frame handed over now would leave now instead of queueing."""
        ...

    async def writable(self) -> None:
        """Return when `can_send_frame()`."""
        ...

    async def send_frame(self, data: bytes) -> int:
        """Hand over a frame of 1 to `MAX_FRAME_BYTES` bytes and return its number on this link.

        Returns when its last packet was handed to the transport.  Only when `can_send_frame()`: a
        link queues no frames, so calling it at another time raises `RuntimeError`.
        """
        ...

    def accept_frames(self) -> None:
        """Begin to take frames; until then what arrives of them is ignored, and nothing held.

        For the end that shows frames, once it has paired and before it tells the other end so.
        """
        ...

    async def receive_frame(self) -> ReceivedFrame:
        """The next whole frame, once `accept_frames` was called.  They may come out of order."""
        ...

    def frames(self) -> AsyncIterator[ReceivedFrame]:
        """Whole frames until the link ends; a clean end ends the iteration, a lost peer raises."""
        ...

    async def closed(self) -> LinkEnd:
        """Return when the link is over, however it came to that."""
        ...

    async def close(self) -> None:
        """Let frames in flight land, tell the other end, and release everything.  Idempotent."""
        ...
