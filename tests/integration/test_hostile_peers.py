"""Peers that send what they like to a sender that somebody watches, paired or not.

Everything runs in this process: a real server, a real sender, an honest watcher, and the hostile
peer over a real connection of aiortc, which sends every attack that there is.  Gaps between the
watcher's pictures are told in seconds of wall time, and asserted in seconds of this process's CPU,
which no other program's load adds to.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSctpTransport, RTCSessionDescription

from receiver.session import ReceiverSession
from sender.session import SenderSession
from shared.errors import VeilscopeError
from shared.link.webrtc.sctp import UnreliablePath
from signaling.client import Relayed, SignalingClient
from signaling.config import ServerConfig
from signaling.limits import Limits
from signaling.server import SignalingServer
from tests.integration.peers import Ends, Feed, ends_at
from tests.shared.link.webrtc.hostile import ATTACKS, Hostile

LIMIT_S = 100.0  # a bound on waiting, for a machine under load; nothing is measured by it
LONGEST_GAP_S = 0.3
MOST_GROWTH_BYTES = 16 * 1024 * 1024
PACKETS = 500  # of one attack
FRAMES_BETWEEN = 3  # the watcher sees so many after each attack


@dataclass
class Watched:
    """When the honest watcher's pictures came, by the wall's clock and by CPU time."""

    seen: int = 0
    longest_s: float = 0.0
    longest_cpu_s: float = 0.0
    _at: tuple[float, float] | None = None
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def came(self) -> None:
        now = time.monotonic(), time.process_time()
        if self._at is not None:
            self.longest_s = max(self.longest_s, now[0] - self._at[0])
            self.longest_cpu_s = max(self.longest_cpu_s, now[1] - self._at[1])
        self._at = now
        self.seen += 1
        self._news.set()

    def pause(self) -> None:
        """What comes next was held up by the test itself."""
        self._at = None

    async def more(self, frames: int) -> None:
        wanted = self.seen + frames
        while self.seen < wanted:
            self._news.clear()
            await self._news.wait()


@asynccontextmanager
async def watching(receiver: ReceiverSession) -> AsyncIterator[Watched]:
    watched = Watched()

    async def watch() -> None:
        async for _ in receiver:
            watched.came()

    task = asyncio.create_task(watch())
    try:
        await watched.more(FRAMES_BETWEEN)
        yield watched
        assert not task.done(), "the watcher's link ended"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def crowded_ends() -> AsyncIterator[Ends]:
    """By a server that lets anybody join as often as they like."""
    limits = Limits(joins_per_s=1_000.0, join_burst=1_000)
    async with SignalingServer(ServerConfig(port=0, limits=limits)) as running:
        yield ends_at(running.url)


@pytest.fixture
def paths(monkeypatch: pytest.MonkeyPatch) -> list[UnreliablePath]:
    """Every association that this process makes through our own link, in order."""
    made: list[UnreliablePath] = []
    make = UnreliablePath.__init__

    def recorded(self: UnreliablePath, sctp: RTCSctpTransport, *rest: object) -> None:
        make(self, sctp, *rest)  # type: ignore[arg-type]
        made.append(self)

    monkeypatch.setattr(UnreliablePath, "__init__", recorded)
    return made


@asynccontextmanager
async def unpaired(ends: Ends, code: object) -> AsyncIterator[Hostile]:
    """Who knows the room's number alone, with aiortc and nothing of ours."""
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    opened = asyncio.Event()
    connection.on("datachannel", lambda _: opened.set())
    async with SignalingClient(ends.receiver.signaling) as client:
        await client.join_room(str(code).split("-")[0])
        async for event in client.events():
            if isinstance(event, Relayed) and event.payload["type"] == "offer":
                offer = RTCSessionDescription(event.payload["sdp"], "offer")
                await connection.setRemoteDescription(offer)
                await connection.setLocalDescription(await connection.createAnswer())
                answer = {"type": "answer", "sdp": connection.localDescription.sdp}
                await client.send(event.sender_peer, answer)
                break
        try:
            await opened.wait()
            assert connection.sctp is not None
            yield Hostile(connection.sctp)
        finally:
            await connection.close()


@asynccontextmanager
async def paired(ends: Ends, code: object, paths: list[UnreliablePath]) -> AsyncIterator[Hostile]:
    """Who has the code, pairs, and then turns on the sender."""
    before = len(paths)
    session = ReceiverSession(str(code), ends.receiver)
    try:
        async with session:
            # Of the two associations made since, the sender's is the first to be prepared.
            theirs = paths[before + 1]
            theirs._reliable.acknowledged = _ignore  # it knows nothing of what it will send
            yield Hostile(theirs._sctp)
    except VeilscopeError:
        pass  # its link was ended


async def _ignore(*_: object) -> None:
    return


async def attack_all(join: Callable[[], Awaitable[None]], left: list[str]) -> None:
    """Join again and again until every attack was tried."""
    while left:
        count = len(left)
        await join()
        assert len(left) < count, f"nothing of {left[0]} was sent"


def resident_bytes() -> int:
    """Of this process, without what was freed and not yet given back."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library than GNU's
        ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("kind", ["unpaired", "paired"])
@pytest.mark.timeout(LIMIT_S + 20)
async def test_a_hostile_peer_ends_itself_and_nobody_else(
    kind: str,
    crowded_ends: Ends,
    paths: list[UnreliablePath],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shared.link.webrtc.agent.machine_addresses", lambda _=False: ["127.0.0.1"])
    left = list(ATTACKS)
    feed, ends = Feed(interval_s=0.03), crowded_ends
    async with (
        asyncio.timeout(LIMIT_S),
        SenderSession(feed.frames(), ends.sending(max_receivers=2 * len(ATTACKS))) as sender,
    ):
        code = sender.code
        async with ReceiverSession(str(code), ends.receiver) as honest, watching(honest) as watched:
            links, held = 0, 0

            async def one_link() -> None:
                nonlocal links, held
                links += 1
                before = len(paths)
                while sender.code is None:
                    await watched.more(1)
                joining = (
                    unpaired(ends, sender.code)
                    if kind == "unpaired"
                    else paired(ends, sender.code, paths)
                )
                async with joining as hostile:
                    while left and not hostile.closed:
                        sent = await hostile.attack(ATTACKS[left[0]], PACKETS, at_once=10)
                        if sent == 0:
                            break
                        left.pop(0)
                        await watched.more(FRAMES_BETWEEN)
                        if any(path._over for path in paths[before:]):
                            break  # the sender has ended it, or is about to
                for path in paths[before:]:
                    held = max(held, path._inbound._fragments.held_nbytes)
                del paths[before:]

            for _ in range(3):  # what is made once, for the first of its kind, is made now
                await one_link()
            before = resident_bytes()
            watched.pause()
            await attack_all(one_link, left)
            grown = resident_bytes() - before
            print(  # noqa: T201
                f"\n{kind}: {len(ATTACKS)} attacks over {links} links; the watcher saw "
                f"{watched.seen} pictures, the longest gap {1e3 * watched.longest_s:.0f} ms "
                f"({1e3 * watched.longest_cpu_s:.0f} ms of CPU); memory {grown / 2**20:+.1f} MiB; "
                f"most held of one link {held / 2**10:.0f} KiB"
            )
            assert watched.longest_cpu_s < LONGEST_GAP_S
            assert grown < MOST_GROWTH_BYTES
            await watched.more(FRAMES_BETWEEN)
            assert sender.receivers >= 1


async def test_a_flood_of_well_formed_messages_ends_its_link_too(
    crowded_ends: Ends, paths: list[UnreliablePath], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.link.webrtc.transport.MESSAGES_AT_ONCE", 500.0)
    monkeypatch.setattr("shared.link.webrtc.transport.MESSAGES_PER_S", 100.0)
    feed, ends = Feed(interval_s=0.03), crowded_ends
    async with (
        asyncio.timeout(LIMIT_S),
        SenderSession(feed.frames(), ends.sending(max_receivers=4)) as sender,
    ):
        code = sender.code
        async with ReceiverSession(str(code), ends.receiver) as honest, watching(honest) as watched:
            while sender.code is None:
                await watched.more(1)
            before = len(paths)
            async with paired(ends, sender.code, paths):
                flooding = paths[before + 1]
                while not paths[before]._over:
                    flooding.send(*[b"\x03" + bytes(8)] * 50)  # pings, each of which is answered
                    await asyncio.sleep(0.001)
            await watched.more(FRAMES_BETWEEN)
