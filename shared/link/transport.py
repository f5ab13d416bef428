"""The seam below a link: what carries its messages.

A transport moves opaque messages on two channels, `control` (reliable, in order) and `frames`
(sent once, in any order), and knows nothing of what they say.  `shared.link.webrtc` has the one
over the network, `shared.link.memory` the one within a process.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Protocol

from shared.errors import LinkFailed
from shared.link.events import Fingerprints, LinkEnd
from shared.link.messages import OVERHEAD_BYTES

__all__ = ["Clock", "Timer", "Transport", "TransportUser"]


class Timer(Protocol):
    """An alarm that was set."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Monotonic time in ns, and alarms by it."""

    def now_ns(self) -> int: ...

    def call_at(self, at_ns: int, action: Callable[[], None]) -> Timer:
        """Call `action` on the event loop at `at_ns`, at once if that is past."""
        ...


class TransportUser(Protocol):
    """What a transport reports to; all of it on the event loop."""

    def on_open(self) -> None:
        """Both channels are open."""
        ...

    def on_frames_message(self, message: bytes) -> None: ...

    def on_control_message(self, message: bytes) -> None: ...

    def on_path_changed(self) -> None:
        """Messages take another way from now on; what was measured of the old one holds no more."""
        ...

    def on_closed(self, end: LinkEnd) -> None:
        """Nothing is carried any more, for this reason."""
        ...


class Transport(ABC):
    """One end.  `attach` comes first; offer and answer are opaque texts that the ends exchange."""

    clock: Clock

    @abstractmethod
    def attach(self, user: TransportUser) -> None:
        """From now on report to `user`."""

    @abstractmethod
    async def create_offer(self) -> str:
        """The description to hand to the other end; raises `LinkFailed`."""

    @abstractmethod
    async def accept_offer(self, offer: str) -> str:
        """Take the other end's offer and return the answer to hand back; raises `LinkFailed`."""

    @abstractmethod
    async def accept_answer(self, answer: str) -> None:
        """Take the other end's answer; raises `LinkFailed`."""

    @abstractmethod
    async def restart_offer(self) -> str:
        """Begin to look for another path; where this end can be reached.  Raises `LinkFailed`."""

    @abstractmethod
    async def accept_restart(self, offer: str) -> str:
        """Look for a path to there; where this end can be reached.  Raises `LinkFailed`."""

    @abstractmethod
    async def complete_restart(self, answer: str) -> None:
        """Look for a path to there, as the other end does.  Raises `LinkFailed`."""

    @property
    @abstractmethod
    def silent_s(self) -> float:
        """For how long there has been no path that carries anything; 0 while there is one."""

    @property
    @abstractmethod
    def fingerprints(self) -> Fingerprints:
        """Of the two DTLS certificates in use; raises `LinkFailed` while not connected."""

    def explained(self, error: LinkFailed) -> LinkFailed:
        """The error of a connection that did not come about, with what is known of why."""
        return error

    @abstractmethod
    def post_frames(self, messages: Sequence[bytes]) -> None:
        """Send messages on the frames channel now; they may be lost or overtaken."""

    @abstractmethod
    def post_control(self, message: bytes) -> None:
        """Send one message on the control channel, in order, reliably."""

    @property
    def overhead_bytes(self) -> int:
        """What is between a message of the frames channel and its IP packet, on the path in use."""
        return OVERHEAD_BYTES

    @abstractmethod
    def carries(self, message_bytes: int) -> None:
        """The path carries messages of that size, and larger ones may ask whether it does more.

        From the first call on nothing is to be cut in pieces on the way.
        """

    @abstractmethod
    async def close(self) -> None:
        """Free everything; called once."""
