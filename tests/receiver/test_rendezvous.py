"""How a receiver comes to its sender: which offer it answers, what it waits for, and how long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

import pytest

from receiver.rendezvous import agree, connect, find_again
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
from signaling.client import ClientEvent, PeerJoined, PeerLeft, Relayed
from signaling.client import Room as EnteredRoom
from tests.doubles import LIMIT_S, RoomDouble, paired, turns, until

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


# -- finding the sender again ----------------------------------------------------------------------


class Rooms(RoomDouble):
    """Rooms in which a sender waits: each try gets one."""

    def __init__(self, sender: Association, *, before: Sequence[ClientEvent] = ()) -> None:
        super().__init__()
        self.tries = 0
        self.joined: list[str] = []
        self.error: VeilscopeError | None = None
        self.mute = False
        self._sender = sender
        self._before = before

    def __call__(self, **_: object) -> Self:
        self.tries += 1
        self._events = asyncio.Queue()
        return self

    async def join_room(self, nameplate: str) -> EnteredRoom:
        if self.error is not None:
            raise self.error
        self.joined.append(nameplate)
        return await super().join_room(nameplate)

    async def send(self, peer: str, payload: dict[str, str]) -> None:
        assert (peer, payload["type"]) == ("sender", "answer")
        for event in self._before:
            self.tell(event)
        self._before = ()
        if not self.mute and self._sender.restarts.opens(payload["sdp"]):
            answer = await self._sender.restarts.answer(payload["sdp"])
            self.tell(Relayed("sender", {"type": "offer", "sdp": answer}))


@asynccontextmanager
async def searching(
    **how: Any,
) -> AsyncIterator[tuple[Association, Association, Rooms, list[str]]]:
    sender, receiver = paired()
    await asyncio.gather(sender.link.connected(), receiver.link.connected())
    rooms, found = Rooms(sender, **how), list[str]()
    task = asyncio.create_task(
        find_again(
            receiver,
            nameplate="7",
            sender="sender",
            open_signaling=rooms,
            on_restart=lambda: found.append("again"),
        )
    )
    try:
        async with asyncio.timeout(LIMIT_S):
            yield sender, receiver, rooms, found
    finally:
        await sender.link.close()
        await receiver.link.close()
        await task  # it ends with the link


def cut(*ends: Association) -> None:
    for end in ends:
        end.link.transport.cut()


async def test_a_silent_link_is_found_again_through_the_room_and_only_then() -> None:
    async with searching() as (sender, receiver, rooms, found):
        await asyncio.sleep(8)
        assert rooms.tries == 0
        for _ in range(2):
            cut(sender, receiver)
            await until(lambda: receiver.link.silent_s == 0)
            await asyncio.sleep(5)
        assert rooms.joined == ["7", "7"]
        assert found == ["again", "again"]


async def test_a_server_that_lets_a_receiver_only_answer_gets_the_request_again() -> None:
    before = [PeerJoined("x"), Relayed("sender", OFFER), Relayed("sender", {"type": "offer"})]
    async with searching(before=before) as (sender, receiver, rooms, found):
        rooms.mute = True
        cut(sender, receiver)
        await until(lambda: rooms.tries == 1)
        rooms.mute = False
        await until(lambda: receiver.link.silent_s == 0)
        assert found == ["again"]


async def test_what_fails_is_tried_again_less_and_less_often_for_as_long_as_it_is_silent() -> None:
    async with searching() as (sender, receiver, rooms, found):
        rooms.error = RoomUnavailable("no such room")
        cut(sender, receiver)
        await asyncio.sleep(20)
        assert 4 <= rooms.tries <= 6
        rooms.error = None
        await until(lambda: receiver.link.silent_s == 0)
        assert found == ["again"]


async def test_an_answer_that_is_not_the_senders_changes_nothing() -> None:
    forged = Relayed("sender", {"type": "offer", "sdp": "restart:" + "A" * 64})
    async with searching(before=[forged]) as (sender, receiver, rooms, found):
        rooms.mute = True
        cut(sender, receiver)
        await until(lambda: rooms.tries == 2)  # the first try took it for what it is
        assert found == []
        assert receiver.link.silent_s > 0
        rooms.mute = False
        await until(lambda: receiver.link.silent_s == 0)
