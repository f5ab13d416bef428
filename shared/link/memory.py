"""Two linked ends in one process, with no sockets: a test double that ships with the code.

The same packets, reports and pings as over WebRTC, on channels that never lose a message;
what befalls whole frames on the way is scripted and seeded.  For tests of sessions and of programs
built on them; it refuses to imitate timing.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from shared.errors import LinkFailed
from shared.link.endpoint import Endpoint
from shared.link.heartbeat import PEER_SILENCE_S
from shared.link.link import Fingerprints, LinkEnd, ReceivedFrame

__all__ = ["FrameScript", "Impairment", "MemoryLink", "memory_pair"]

FrameScript = Callable[[bytes], Sequence[bytes]]
"""A frame that was sent becomes the frames that arrive, in that order: none, one, or several."""


@dataclass
class Impairment:
    """A `FrameScript`: each probability is of 1; the same seed gives the same fates.

    A reordered frame is held back and arrives after the next one that is not.
    """

    seed: int = 0
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    _random: random.Random = field(init=False, repr=False)
    _held: list[bytes] = field(init=False, repr=False, default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311  (a script, not a secret)

    def __call__(self, frame: bytes) -> list[bytes]:
        lost, doubled, held = (self._random.random() for _ in range(3))
        if lost < self.loss:
            return []
        copies = [frame, frame] if doubled < self.duplicate else [frame]
        if held < self.reorder:
            self._held += copies
            return []
        arriving, self._held = copies + self._held, []
        return arriving


class MemoryLink(Endpoint):
    """One end of `memory_pair`; see `shared.link.Link`."""

    def __init__(
        self,
        *,
        fingerprints: Fingerprints,
        script: FrameScript | None,
        silence_s: float,
        clock_offset_ns: int,
    ) -> None:
        super().__init__(silence_s=silence_s, now_ns=lambda: time.monotonic_ns() + clock_offset_ns)
        self._fingerprints = fingerprints
        self._script = script
        self._other: MemoryLink | None = None
        self._killed = False

    def kill(self) -> None:
        """Vanish without a word, as a killed process does: the other end can only hear silence."""
        self._killed = True
        self._on_transport_closed(LinkEnd("lost", "it was killed"))

    @property
    def fingerprints(self) -> Fingerprints:
        """(ours, theirs), made up by `memory_pair`; raises `LinkFailed` when not connected."""
        if not self._lifetime.up:
            raise LinkFailed("the link is not connected")
        return self._fingerprints

    def _join(self, other: MemoryLink) -> None:
        self._other = other
        asyncio.get_running_loop().call_soon(self._on_open)

    def _arriving(self, frame: ReceivedFrame) -> Iterable[ReceivedFrame]:
        if self._script is None:
            return (frame,)
        return [replace(frame, data=data) for data in self._script(frame.data)]

    def _post_frames(self, *messages: bytes) -> None:
        for message in messages:
            self._post(MemoryLink._on_frames_message, message)

    def _post_control(self, message: bytes) -> None:
        self._post(MemoryLink._on_control_message, message)

    def _post(self, deliver: Callable[[MemoryLink, bytes], None], message: bytes) -> None:
        other = self._other
        if other is None or self._killed or other._killed or other._transport_closed:
            return
        asyncio.get_running_loop().call_soon(deliver, other, message)

    async def _release(self) -> None:
        other = self._other
        if other is not None and not self._killed and not other._killed:
            asyncio.get_running_loop().call_soon(other._on_transport_closed, LinkEnd("peer"))


def memory_pair(
    *,
    to_receiver: FrameScript | None = None,
    to_sender: FrameScript | None = None,
    clock_offset_ns: int = 0,
    silence_s: float = PEER_SILENCE_S,
    seed: int = 0,
) -> tuple[MemoryLink, MemoryLink]:
    """A sender's end and a receiver's end, linked to each other; call it inside an event loop.

    The scripts decide what arrives of the frames sent each way.  The receiver's clock is
    `clock_offset_ns` ahead of the sender's.  `seed` makes the DTLS fingerprints, which differ from
    seed to seed.
    """
    dice = random.Random(seed)  # noqa: S311  (stand-ins for certificates that do not exist)
    ours, theirs = dice.randbytes(32), dice.randbytes(32)
    sender = MemoryLink(
        fingerprints=(ours, theirs), script=to_sender, silence_s=silence_s, clock_offset_ns=0
    )
    receiver = MemoryLink(
        fingerprints=(theirs, ours),
        script=to_receiver,
        silence_s=silence_s,
        clock_offset_ns=clock_offset_ns,
    )
    sender._join(receiver)
    receiver._join(sender)
    return sender, receiver
