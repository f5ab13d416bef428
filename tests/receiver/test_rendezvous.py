"""How a receiver comes to its sender: which offer it answers, what it waits for, and how long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from receiver.rendezvous import agree, connect
from shared.association import Association, associate
from shared.crypto.handshake import (
    DtlsFingerprints,
    NetworkId,
    SenderHandshake,
    new_session_id,
)
from shared.errors import (
    KeystreamMismatch,
    LinkFailed,
    PeerGone,
    RoomUnavailable,
    VeilscopeError,
    WrongCode,
)
from shared.link.memory import MemoryLink, memory_pair
from signaling.client import PeerJoined, PeerLeft, Relayed
from tests.doubles import LIMIT_S, RoomDouble, turns

pytestmark = pytest.mark.jumping_clock

NETWORK = NetworkId("bp", bytes(range(32)))
SECRET = "abandon-crystal-zebra"
OFFER = {"type": "offer", "sdp": "v=0 the sender's"}


class Room(RoomDouble):
    """Keeps what is sent, and to whom."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[str, dict[str, str]]] = []

    async def send(self, peer: str, payload: dict[str, str]) -> None:
        self.sent.append((peer, payload))


class AnsweringLink:
    """Answers an offer with words of its own; `up` is when it is connected."""

    def __init__(self, link: MemoryLink) -> None:
        self.link = link
        self.up = asyncio.Event()

    async def accept_offer(self, sdp: str) -> str:
        return f"answer to {sdp}"

    async def connected(self) -> None:
        await self.up.wait()
        await self.link.connected()


class Networks:
    """The one network that this end has."""

    def digest(self, family: str) -> bytes | None:
        return NETWORK.digest if family == NETWORK.family else None


@asynccontextmanager
async def linked() -> AsyncIterator[tuple[MemoryLink, MemoryLink]]:
    """A sender's end and a receiver's end."""
    sender, receiver = memory_pair(lost_after_s=LIMIT_S)
    try:
        async with asyncio.timeout(LIMIT_S):
            yield sender, receiver
    finally:
        await sender.close()
        await receiver.close()


async def test_the_senders_offer_is_answered_and_then_the_link_is_waited_for() -> None:
    room = Room()
    async with linked() as (_, receiver):
        link = AnsweringLink(receiver)
        connecting = asyncio.create_task(connect(room, link))
        await turns()
        assert room.sent == []
        room.tell(Relayed("sender", OFFER))
        await turns()
        assert room.sent == [("sender", {"type": "answer", "sdp": "answer to v=0 the sender's"})]
        assert not connecting.done()
        link.up.set()
        await connecting


@pytest.mark.parametrize(
    "other",
    [
        PeerJoined("stranger"),
        PeerLeft("stranger"),
        Relayed("stranger", {"type": "answer", "sdp": "v=0"}),
        Relayed("stranger", {"type": "offer"}),
        Relayed("stranger", {"type": "offer", "sdp": 7}),
        Relayed("stranger", {}),
    ],
)
async def test_whatever_is_no_offer_is_passed_over(other: PeerJoined | PeerLeft | Relayed) -> None:
    room = Room()
    room.tell(other)
    room.tell(Relayed("sender", OFFER))
    async with linked() as (_, receiver):
        link = AnsweringLink(receiver)
        link.up.set()
        await connect(room, link)
    assert [peer for peer, _ in room.sent] == ["sender"]


async def test_a_room_that_closes_before_an_offer_is_no_longer_to_be_had() -> None:
    room = Room()
    room.tell(PeerJoined("stranger"))
    room.tell(None)
    async with linked() as (_, receiver):
        with pytest.raises(RoomUnavailable, match="before the sender made an offer") as failed:
            await connect(room, AnsweringLink(receiver))
    assert "new code" in failed.value.hint


async def test_an_offer_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.rendezvous.OFFER_TIMEOUT_S", 0.01)
    async with linked() as (_, receiver):
        with pytest.raises(LinkFailed, match="did not make an offer in time") as failed:
            await connect(Room(), AnsweringLink(receiver))
    assert failed.value.__suppress_context__  # a person has no use for the timer's
    assert "try again" in failed.value.hint


async def test_the_time_for_an_offer_is_not_that_for_the_link(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("receiver.rendezvous.OFFER_TIMEOUT_S", 0.0)
    room = Room()

    async def first_offer(_room: Room) -> tuple[str, str]:
        return "sender", "v=0"

    monkeypatch.setattr("receiver.rendezvous._first_offer", first_offer)
    async with linked() as (_, receiver):
        link = AnsweringLink(receiver)
        connecting = asyncio.create_task(connect(room, link))
        await turns()
        assert not connecting.done()
        link.up.set()
        await connecting


async def test_a_link_that_does_not_come_about_is_told() -> None:
    room = Room()
    room.tell(Relayed("sender", OFFER))
    async with linked() as (_, receiver):
        link = AnsweringLink(receiver)
        link.up.set()
        await receiver.close()
        with pytest.raises((LinkFailed, PeerGone)):
            await connect(room, link)


async def pair(
    link: MemoryLink, *, secret: str = SECRET, network: NetworkId = NETWORK
) -> Association:
    """What a sender does."""
    await link.connected()
    ours, theirs = link.fingerprints
    fingerprints = DtlsFingerprints(sender=ours, receiver=theirs)
    return await associate(link, SenderHandshake(secret, new_session_id(), fingerprints, network))


async def test_two_ends_with_one_code_agree_on_keys_and_a_network() -> None:
    async with linked() as (sender, receiver):
        pairing = asyncio.create_task(pair(sender))
        await receiver.connected()
        association = await agree(receiver, SECRET, Networks())
        other = await pairing
        assert association.session_id == other.session_id
        assert association.network == NETWORK
        assert association.link is receiver


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        ({"secret": "zebra-crystal-abandon"}, WrongCode),
        ({"network": NetworkId("bp", bytes(32))}, KeystreamMismatch),
        ({"network": NetworkId("gan", NETWORK.digest)}, KeystreamMismatch),
    ],
)
async def test_two_ends_that_differ_do_not_agree(
    theirs: dict[str, object], expected: type[VeilscopeError]
) -> None:
    async with linked() as (sender, receiver):
        pairing = asyncio.create_task(pair(sender, **theirs))
        await receiver.connected()
        with pytest.raises(expected):
            await agree(receiver, SECRET, Networks())
        with pytest.raises(VeilscopeError):
            await pairing


async def test_a_link_with_somebody_in_its_midst_comes_to_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with linked() as (sender, receiver):
        pairing = asyncio.create_task(pair(sender))
        await receiver.connected()
        ours, _ = receiver.fingerprints
        monkeypatch.setattr(receiver.transport, "_fingerprints", (ours, b"\x07" * 32))
        with pytest.raises(WrongCode):
            await agree(receiver, SECRET, Networks())
        with pytest.raises(VeilscopeError):
            await pairing
