"""A sender session in a room without a server, its receivers in the hands of the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from sender.journal import SenderJournal
from sender.session import SenderSession
from sender.settings import SenderSettings
from shared import control
from shared.capabilities import Capabilities
from shared.crypto.handshake import OURS, NetworkId
from shared.frame import Rect
from shared.keystream.network import DEFAULT_FAMILY, load_network
from shared.link import PathEstimate
from shared.telemetry.records import DropReason
from shared.wire import FrameMetadata
from signaling.client import PeerJoined
from tests.doubles import (
    LIMIT_S,
    Links,
    RoomDouble,
    ShakeBackend,
    Tap,
    Watcher,
    pair_as_receiver,
    turns,
    until,
    watch,
)


class WatchedJournal(SenderJournal):
    """Keeps what was dropped, frame by frame."""

    def __init__(self) -> None:
        super().__init__()
        self.dropped_frames: list[tuple[DropReason, int | None]] = []
        self.reasons: list[str] = []

    def dropped(self, reason: DropReason, index: int | None = None, why: str = "") -> None:
        self.dropped_frames.append((reason, index))
        self.reasons.append(why)
        super().dropped(reason, index, why)


@dataclass
class Stage:
    """A session in a room without a server, and all that surrounds it."""

    session: SenderSession
    room: RoomDouble
    links: Links
    tap: Tap
    journal: WatchedJournal
    notices: list[str]
    network: NetworkId
    joins: int = 0

    def code(self) -> str:
        assert self.session.code is not None
        return self.session.code.secret

    async def join(
        self, peer: str, secret: str | None = None, *, capabilities: Capabilities = OURS
    ) -> Watcher:
        watcher = await watch(
            self.room, self.links, peer, secret or self.code(), self.network, capabilities
        )
        await until(lambda: any(isinstance(m, control.Epoch) for m in watcher.heard))
        await self.said("a receiver joined", self.joins + 1)
        self.joins += 1
        await until(lambda: self.session._audience._attendees[peer].outbox.ready)
        return watcher

    async def knock(self, peer: str, secret: str, capabilities: Capabilities = OURS) -> None:
        """Join in vain; raises what the receiver is told."""
        place = len(self.links.theirs)
        self.room.tell(PeerJoined(peer))
        await until(lambda: len(self.links.theirs) > place)
        await pair_as_receiver(self.links.theirs[place], secret, self.network, capabilities)

    async def said(self, text: str, times: int = 1) -> None:
        await until(lambda: sum(text in notice for notice in self.notices) >= times)


@asynccontextmanager
async def a_stage(
    monkeypatch: pytest.MonkeyPatch,
    *,
    lost_after_s: float = LIMIT_S,
    masks: tuple[Rect, ...] = (),
    **changes: object,
) -> AsyncIterator[Stage]:
    room, links, tap = RoomDouble(), Links(lost_after_s=lost_after_s), Tap(masks)
    journal, notices = WatchedJournal(), list[str]()
    monkeypatch.setattr("sender.session.SignalingClient", room)
    monkeypatch.setattr("sender.session.open_backend", lambda *_: ShakeBackend())
    network = load_network(DEFAULT_FAMILY)
    settings = SenderSettings(**({"codec": "lossless", "until_left": True} | changes))  # type: ignore[arg-type]
    async with asyncio.timeout(LIMIT_S):
        async with SenderSession(
            tap.frames(), settings, journal=journal, on_notice=notices.append, link_factory=links
        ) as session:
            yield Stage(
                session,
                room,
                links,
                tap,
                journal,
                notices,
                NetworkId(network.family, network.digest),
            )
        for link in links.theirs:
            await link.close()


async def give(stage: Stage, *indices: int) -> None:
    """Frames one by one, each taken up before the next comes."""
    for index in indices:
        stage.tap.give(index)
        await until(lambda i=index: stage.session._pipeline.encoded_index == i)  # type: ignore[misc]
        await until(lambda: all(a.outbox.unsent is None for a in stage.session._audience))
        await turns()


def say(watcher: Watcher, message: control.ControlMessage) -> None:
    watcher.association.send(message)


async def frames_of(watcher: Watcher, count: int) -> list[FrameMetadata]:
    return [await watcher.frame() for _ in range(count)]


def heard(watcher: Watcher, kind: type) -> list[control.ControlMessage]:
    return [message for message in watcher.heard if isinstance(message, kind)]


def epochs(watcher: Watcher) -> list[tuple[int, str]]:
    told = [word for word in watcher.heard if isinstance(word, control.Epoch)]
    return [(word.epoch, word.reason) for word in told]


@dataclass
class Script:
    """What the path is said to carry."""

    rate_bps: int

    def estimate(self) -> PathEstimate:
        return PathEstimate(self.rate_bps, 40_000_000, 0, 0.0, True)
