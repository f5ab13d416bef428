"""Stand-ins for what the sessions are joined to: keystream, signaling, links without a network."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from shared import control
from shared.association import Association, associate
from shared.capabilities import OUR_FEATURES, Capabilities
from shared.crypto.handshake import (
    OURS,
    DtlsFingerprints,
    NetworkId,
    ReceiverHandshake,
    SessionKeys,
)
from shared.crypto.keyschedule import ReceiverSchedule
from shared.crypto.sealing import Opener
from shared.errors import PeerGone
from shared.frame import Frame, Gap, Image, Rect
from shared.link.events import ReceivedFrame
from shared.link.memory import FrameScript, MemoryLink, memory_pair
from shared.wire import SENDER_ID, FrameMetadata, parse_header, parse_inner
from signaling.client import ClientEvent, PeerJoined, Relayed, Room

LIMIT_S = 30.0  # a bound on waiting, for a machine under load; nothing is measured by it
NAMEPLATE = "7"


def picture(index: int, *, height: int = 41, width: int = 57, channels: int = 1) -> Image:
    """Noise of its own for every index: uint8, odd-sized unless told otherwise."""
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(index).integers(0, 256, shape, np.uint8)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what the code under test will do by itself; bounded by the caller's timeout."""
    while not condition():
        await asyncio.sleep(0.005)


async def turns(count: int = 50) -> None:
    """Let everything that can run on the event loop run."""
    for _ in range(count):
        await asyncio.sleep(0)


class SteppingClock:
    """Monotonic nanoseconds that go on by the given steps, then stand still."""

    def __init__(self, now_ns: int = 0, steps_ns: Sequence[int] = ()) -> None:
        self.now_ns = now_ns
        self._steps: Iterator[int] = chain(steps_ns, repeat(0))

    def __call__(self) -> int:
        self.now_ns += next(self._steps)
        return self.now_ns


# -- the keystream --------------------------------------------------------------------------------


class ShakeBackend:
    """SHAKE-256 in counter mode; `twist` makes it another network."""

    name = "shake"

    def __init__(self, twist: bytes = b"") -> None:
        self._twist = twist

    def keyed(self, keystream_key: bytes) -> ShakeGenerator:
        return ShakeGenerator(self._twist + keystream_key)


class ShakeGenerator:
    block_nbytes = 64

    def __init__(self, key: bytes) -> None:
        self._key = key

    def generate(self, counter: int, nbytes: int, first_block: int = 0) -> NDArray[np.uint8]:
        skipped = first_block * self.block_nbytes
        stream = hashlib.shake_256(self._key + counter.to_bytes(8, "big"))
        return np.frombuffer(stream.digest(skipped + nbytes)[skipped:], np.uint8).copy()

    def take(self, counter: int, nbytes: int) -> NDArray[np.uint8]:
        return self.generate(counter, nbytes)


class PadWatch(ShakeBackend):
    """Tells how large the pads are that are prepared ahead."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()
        self._made: dict[int, int] = {}

    def keyed(self, keystream_key: bytes) -> ShakeGenerator:
        return WatchedGenerator(keystream_key, self._note)

    def nbytes_of(self, counter: int) -> int:
        """Wait until the pad of `counter` is prepared, and return its size."""
        with self._changed:
            assert self._changed.wait_for(lambda: counter in self._made, LIMIT_S)
            return self._made[counter]

    def _note(self, counter: int, nbytes: int) -> None:
        with self._changed:
            self._made[counter] = nbytes
            self._changed.notify_all()


class WatchedGenerator(ShakeGenerator):
    def __init__(self, key: bytes, note: Callable[[int, int], None]) -> None:
        super().__init__(key)
        self._note = note

    def generate(self, counter: int, nbytes: int, first_block: int = 0) -> NDArray[np.uint8]:
        made = super().generate(counter, nbytes, first_block)
        if threading.current_thread().name == "keystream":
            self._note(counter, nbytes)
        return made


# -- links and signaling --------------------------------------------------------------------------


def paired(
    *,
    to_receiver: FrameScript | None = None,
    lost_after_s: float = LIMIT_S,
    features: frozenset[str] = OUR_FEATURES,
) -> tuple[Association, Association]:
    """A sender's and a receiver's end that have agreed on keys, and on `features`."""
    ours, theirs = memory_pair(to_receiver=to_receiver, lost_after_s=lost_after_s)
    theirs.accept_frames()
    network = NetworkId("bp", bytes(32))
    there, back, asked, told = (bytes([n]) * 32 for n in (1, 2, 3, 4))
    ours_has = SessionKeys("00" * 16, network, there, back, told, asked, features=features)
    theirs_has = SessionKeys("00" * 16, network, back, there, asked, told, features=features)
    return Association(ours, ours_has), Association(theirs, theirs_has)


class Links:
    """A `link_factory`: makes one end for the session and keeps the other for the test."""

    def __init__(self, *, lost_after_s: float = LIMIT_S) -> None:
        self.ours: list[MemoryLink] = []
        self.theirs: list[MemoryLink] = []
        self.error: Exception | None = None
        self._lost_after_s = lost_after_s

    def __call__(self, **_: object) -> Any:
        if self.error is not None:
            raise self.error
        ours, theirs = memory_pair(seed=len(self.ours), lost_after_s=self._lost_after_s)
        self.ours.append(ours)
        self.theirs.append(theirs)
        return ours


class RoomDouble:
    """A `SignalingClient` without a server; put in its place, it is its own constructor.

    Every offer is answered at once, unless its peer is in `silent`.
    """

    def __init__(self) -> None:
        self.silent: set[str] = set()
        self.offered: list[str] = []
        self.answered: list[str] = []
        self.told: list[tuple[str, str]] = []  # what was sent to whom
        self.renewals = 0
        self._events: asyncio.Queue[ClientEvent | None] = asyncio.Queue()

    def __call__(self, url: str, **_: object) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return

    async def create_room(self) -> Room:
        return Room(NAMEPLATE, (), "sender")

    async def join_room(self, nameplate: str) -> Room:
        return Room(nameplate, (), "receiver")

    async def send(self, peer: str, payload: dict[str, str]) -> None:
        if payload["type"] == "answer":
            self.answered.append(peer)
            return
        self.offered.append(peer)
        self.told.append((peer, payload["sdp"]))
        if peer not in self.silent:
            self.tell(Relayed(peer, {"type": "answer", "sdp": "v=0 answer"}))

    def renew(self) -> None:
        self.renewals += 1

    def tell(self, event: ClientEvent | None) -> None:
        """Something happens in the room; None: it closes."""
        self._events.put_nowait(event)

    async def events(self) -> AsyncIterator[ClientEvent]:
        while (event := await self._events.get()) is not None:
            yield event


# -- a receiver in the hands of a test ------------------------------------------------------------


@dataclass
class Watcher:
    """A receiver that has paired: acknowledges every epoch and opens every frame.

    Frames are collected as they come: a link drops what its consumer leaves waiting.
    """

    association: Association
    heard: list[Any] = field(default_factory=list)
    _schedule: ReceiverSchedule = field(default_factory=lambda: ReceiverSchedule(SENDER_ID))
    _openers: dict[int, Opener] = field(default_factory=dict)
    _came: asyncio.Queue[ReceivedFrame | PeerGone] = field(default_factory=asyncio.Queue)
    _tasks: tuple[asyncio.Task[None], ...] = ()

    def start(self) -> Self:
        self.association.link.accept_frames()
        self._tasks = (asyncio.create_task(self._hear()), asyncio.create_task(self._collect()))
        return self

    @property
    def last_words(self) -> control.Bye | None:
        return next((m for m in self.heard if isinstance(m, control.Bye)), None)

    async def frame(self) -> FrameMetadata:
        """The next frame; raises `UnknownEpoch` if it came before its key."""
        return (await self.opened())[0]

    async def opened(self) -> tuple[FrameMetadata, bytes]:
        """The next frame and its payload; raises `PeerGone` when there are no more."""
        received = await self._came.get()
        if isinstance(received, PeerGone):
            raise received
        opener = self._openers[parse_header(received.data).epoch]
        metadata, payload = parse_inner(opener.open(received.data).inner)
        return metadata, bytes(payload)

    async def leave(self) -> None:
        self.association.send(control.Bye(reason="quit"))
        await self.association.link.close()

    async def _collect(self) -> None:
        try:
            while True:
                self._came.put_nowait(await self.association.link.receive_frame())
        except PeerGone as error:
            self._came.put_nowait(error)

    async def _hear(self) -> None:
        while True:
            try:
                message = await self.association.receive()
            except PeerGone:
                return
            self.heard.append(message)
            if isinstance(message, control.Epoch):
                keys = self._schedule.install(message.epoch_secret)
                keystream = ShakeGenerator(keys.keystream_key)
                self._openers[message.epoch] = Opener(keys, SENDER_ID, keystream)
                self.association.send(control.EpochAck(epoch=message.epoch))


async def pair_as_receiver(
    link: MemoryLink, secret: str, network: NetworkId, capabilities: Capabilities = OURS
) -> Association:
    """What a receiver does once it is connected."""
    await link.connected()
    ours, theirs = link.fingerprints
    handshake = ReceiverHandshake(
        secret,
        DtlsFingerprints(sender=theirs, receiver=ours),
        lambda _family: network.digest,
        capabilities=capabilities,
    )
    return await associate(link, handshake)


async def watch(
    room: RoomDouble,
    links: Links,
    peer: str,
    secret: str,
    network: NetworkId,
    capabilities: Capabilities = OURS,
) -> Watcher:
    """Join a session's room as `peer` and pair with it."""
    place = len(links.theirs)
    room.tell(PeerJoined(peer))
    await until(lambda: len(links.theirs) > place)
    association = await pair_as_receiver(links.theirs[place], secret, network, capabilities)
    return Watcher(association).start()


class Tap:
    """A source that gives a frame when a test says so."""

    def __init__(self, masks: tuple[Rect, ...] = ()) -> None:
        self._masks = masks
        self._frames: asyncio.Queue[Frame | Gap | control.Notice | Exception | None] = (
            asyncio.Queue()
        )

    def give(self, index: int) -> None:
        self._frames.put_nowait(Frame(index, time.monotonic_ns(), picture(index), self._masks))

    def say(self, event: Frame | Gap | control.Notice) -> None:
        self._frames.put_nowait(event)

    def fail(self, error: Exception) -> None:
        self._frames.put_nowait(error)

    def end(self) -> None:
        self._frames.put_nowait(None)

    async def frames(self) -> AsyncIterator[Frame | Gap | control.Notice]:
        while (frame := await self._frames.get()) is not None:
            if isinstance(frame, Exception):
                raise frame
            yield frame
