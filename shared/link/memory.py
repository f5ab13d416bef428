"""Two linked ends in one process, with no sockets: a test double that ships with the code.

The same packets, reports and pings as over WebRTC, on channels that never lose a message and take
`delay_s` each way; what befalls whole frames on the way is scripted and seeded.  Time is the event
loop's, so on a loop whose clock jumps (`shared.jumpingloop`) nothing takes any.  For tests of
sessions and of programs built on them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from shared.errors import LinkFailed
from shared.link.connection import Connection
from shared.link.events import Fingerprints, LinkEnd, ReceivedFrame
from shared.link.heartbeat import LOST_AFTER_S, PEER_SILENCE_S
from shared.link.link import Link
from shared.link.transport import Transport, TransportUser

__all__ = ["FrameScript", "FrameImpairment", "MemoryLink", "MemoryTransport", "memory_pair"]

FrameScript = Callable[[bytes], Sequence[bytes]]
"""A frame that was sent becomes the frames that arrive, in that order: none, one, or several."""


@dataclass
class FrameImpairment:
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


class LoopTime:
    """The event loop's own time, `offset_ns` ahead: of a machine whose clock began elsewhere."""

    def __init__(self, offset_ns: int = 0) -> None:
        self._offset_ns = offset_ns

    def now_ns(self) -> int:
        return round(asyncio.get_running_loop().time() * 1e9) + self._offset_ns

    def call_at(self, at_ns: int, action: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_at((at_ns - self._offset_ns) / 1e9, action)


class MemoryTransport(Transport):
    """One end of `memory_pair`; offer and answer are empty words."""

    def __init__(self, fingerprints: Fingerprints, delay_s: float, clock_offset_ns: int) -> None:
        self.clock = LoopTime(clock_offset_ns)
        self._fingerprints = fingerprints
        self._delay_s = delay_s
        self._user: TransportUser | None = None
        self._other: MemoryTransport | None = None
        self._open = False
        self._dead = False
        self._cut_at_ns: int | None = None

    def attach(self, user: TransportUser) -> None:
        """From now on report to `user`."""
        self._user = user

    def join(self, other: MemoryTransport) -> None:
        """Be connected to `other`, as soon as the event loop runs."""
        self._other = other
        asyncio.get_running_loop().call_soon(self._opens)

    def vanish(self) -> None:
        """Carry nothing any more, without a word to the other end."""
        self._dead = True
        self._report_closed(LinkEnd("lost", "it was killed"))

    def cut(self) -> None:
        """Carry nothing either way until a restart."""
        self._cut_at_ns = self.clock.now_ns()

    @property
    def silent_s(self) -> float:
        """Since the cut."""
        return 0.0 if self._cut_at_ns is None else (self.clock.now_ns() - self._cut_at_ns) / 1e9

    async def restart_offer(self) -> str:
        """Return a word."""
        return "restart offer"

    async def accept_restart(self, offer: str) -> str:  # noqa: ARG002  (as the interface has it)
        """Be found again; returns a word."""
        self._cut_at_ns = None
        return "restart answer"

    async def complete_restart(self, answer: str) -> None:  # noqa: ARG002
        """Be found again."""
        self._cut_at_ns = None

    async def create_offer(self) -> str:
        """Return an empty word."""
        return "v=0 offer"

    async def accept_offer(self, offer: str) -> str:  # noqa: ARG002  (as the interface has it)
        """Return an empty word."""
        return "v=0 answer"

    async def accept_answer(self, answer: str) -> None:
        """Nothing is to be done."""

    def carries(self, message_bytes: int) -> None:
        """Anything passes."""

    @property
    def fingerprints(self) -> Fingerprints:
        """(ours, theirs), made up by `memory_pair`; raises `LinkFailed` when not connected."""
        if not self._open:
            raise LinkFailed("the link is not connected")
        return self._fingerprints

    def post_frames(self, messages: Sequence[bytes]) -> None:
        """Send messages on the frames channel."""
        for message in messages:
            self._post(MemoryTransport._frames_arrived, message)

    def post_control(self, message: bytes) -> None:
        """Send a message on the control channel."""
        self._post(MemoryTransport._control_arrived, message)

    async def close(self) -> None:
        """Hang up: the other end notices."""
        self._open = False
        other = self._other
        if other is not None and not self._dead and not other._dead:
            self._later(lambda: other._report_closed(LinkEnd("peer")))

    def _opens(self) -> None:
        if self._user is not None and not self._dead:
            self._open = True
            self._user.on_open()

    def _post(self, deliver: Callable[[MemoryTransport, bytes], None], message: bytes) -> None:
        other = self._other
        if self._open and not self._dead and other is not None and not self._is_cut(other):
            self._later(lambda: deliver(other, message))

    def _is_cut(self, other: MemoryTransport) -> bool:
        return self._cut_at_ns is not None or other._cut_at_ns is not None

    def _later(self, deliver: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        if self._delay_s > 0:
            loop.call_later(self._delay_s, deliver)
        else:
            loop.call_soon(deliver)

    def _frames_arrived(self, message: bytes) -> None:
        if self._user is not None and self._open and not self._dead:
            self._user.on_frames_message(message)

    def _control_arrived(self, message: bytes) -> None:
        if self._user is not None and self._open and not self._dead:
            self._user.on_control_message(message)

    def _report_closed(self, end: LinkEnd) -> None:
        self._open = False
        if self._user is not None:
            self._user.on_closed(end)


class MemoryLink(Link):
    """One end of `memory_pair`."""

    def __init__(
        self,
        transport: MemoryTransport,
        *,
        script: FrameScript | None,
        silence_s: float,
        lost_after_s: float,
    ) -> None:
        self.transport = transport

        def arriving(frame: ReceivedFrame) -> list[ReceivedFrame]:
            return (
                [frame] if script is None else [replace(frame, data=d) for d in script(frame.data)]
            )

        super().__init__(
            transport,
            Connection(silence_s=silence_s, lost_after_s=lost_after_s, arriving=arriving),
        )

    def kill(self) -> None:
        """Vanish without a word, as a killed process does: the other end can only hear silence."""
        self.transport.vanish()


def memory_pair(
    *,
    to_receiver: FrameScript | None = None,
    to_sender: FrameScript | None = None,
    clock_offset_ns: int = 0,
    delay_s: float = 0.0,
    silence_s: float = PEER_SILENCE_S,
    lost_after_s: float = LOST_AFTER_S,
    seed: int = 0,
) -> tuple[MemoryLink, MemoryLink]:
    """A sender's end and a receiver's end, linked to each other; call it inside an event loop.

    The scripts decide what arrives of the frames sent each way; every message takes `delay_s`.  The
    receiver's clock is `clock_offset_ns` ahead of the sender's.  `seed` makes the DTLS
    fingerprints, which differ from seed to seed.
    """
    dice = random.Random(seed)  # noqa: S311  (stand-ins for certificates that do not exist)
    ours, theirs = dice.randbytes(32), dice.randbytes(32)
    sender = MemoryTransport((ours, theirs), delay_s, 0)
    receiver = MemoryTransport((theirs, ours), delay_s, clock_offset_ns)
    links = (
        MemoryLink(sender, script=to_sender, silence_s=silence_s, lost_after_s=lost_after_s),
        MemoryLink(receiver, script=to_receiver, silence_s=silence_s, lost_after_s=lost_after_s),
    )
    sender.join(receiver)
    receiver.join(sender)
    return links
