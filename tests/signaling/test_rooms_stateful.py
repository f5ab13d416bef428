"""Any course of events keeps the rules of the rooms: a model of them runs beside the real thing."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
)

from signaling.limits import Limits
from signaling.messages import (
    Answer,
    Created,
    Joined,
    Offer,
    PeerJoinedEvent,
    PeerLeftEvent,
    RelayedEvent,
    Resumed,
    RoomClosedEvent,
)
from signaling.rooms import RECEIVER_HISTORY, RefusedError, Rooms, Update

S = 1_000_000_000
LIMITS = Limits(
    rooms=4,
    peers_per_room=3,
    join_burst=2,
    joins_per_s=0.05,
    resume_grace_s=30,
    join_idle_s=200,
    room_idle_s=300,
)
JOIN_EVERY = round(S / LIMITS.joins_per_s)


@dataclass
class Peer:
    """What the model knows of a peer: its room, and what its program saw so far."""

    id: str
    token: str
    room: Room
    is_sender: bool
    active: int = 0
    may_say: int = 1
    away_since: int | None = None
    seen: list[Any] = field(default_factory=list)
    owed: list[Any] = field(default_factory=list)  # all events that it must see, in order


@dataclass
class Room:
    nameplate: str
    touched: int
    joins_ns: int = LIMITS.join_burst * JOIN_EVERY  # what it had saved up at `joins_counted`
    joins_counted: int = 0
    peers: list[Peer] = field(default_factory=list)


@contextlib.contextmanager
def refused(code: str) -> Iterator[None]:
    with pytest.raises(RefusedError) as raised:
        yield
    assert raised.value.code == code


class RoomsMachine(RuleBasedStateMachine):
    known = Bundle("known")

    def __init__(self) -> None:
        super().__init__()
        self.rooms = Rooms(LIMITS, rng=random.Random(1))
        self.now = 0
        self.open: list[Room] = []
        self.there: dict[str, Peer] = {}
        self.relayed = 0
        self.everybody: dict[str, Peer] = {}

    # -- the model ------------------------------------------------------------------------------

    def deliver(self, update: Update) -> None:
        for delivery in update.deliveries:
            message = delivery.message
            if isinstance(message, Created | Joined | Resumed):
                continue
            peer = self.everybody[delivery.peer]
            assert peer.away_since is None, "told while away"
            peer.seen.append(message)
            assert message.number == len(peer.seen), "lost, doubled or out of order"
            if isinstance(message, RelayedEvent):
                source = self.everybody[message.sender]
                assert source.room is peer.room, "leaked between rooms"
                assert source.is_sender != peer.is_sender, "between receivers"

    def owe(self, peer: Peer, kind: type, what: Any) -> None:
        peer.owed.append((kind, what))

    def remove(self, peer: Peer, reason: str) -> None:
        room = peer.room
        if reason == "idle" or peer.is_sender:
            for each in room.peers:
                if reason == "idle" or each is not peer:
                    self.owe(each, RoomClosedEvent, reason)
                del self.there[each.id]
            self.open.remove(room)
        else:
            room.peers.remove(peer)
            room.touched = self.now
            del self.there[peer.id]
            self.owe(room.peers[0], PeerLeftEvent, peer.id)

    def admit(self, update: Update, room: Room) -> Peer:
        reply: Any = update.deliveries[0].message
        assert reply.nameplate == room.nameplate
        assert reply.peer == update.admitted
        peer = Peer(reply.peer, reply.token, room, is_sender=not room.peers, active=self.now)
        room.peers.append(peer)
        assert peer.id not in self.everybody
        self.everybody[peer.id] = self.there[peer.id] = peer
        return peer

    # -- what may happen ------------------------------------------------------------------------

    @rule(target=known)
    def create(self) -> Any:
        if len(self.open) == LIMITS.rooms:
            with refused("server-full"):
                self.rooms.create(self.now)
            return multiple()
        update = self.rooms.create(self.now)
        reply: Any = update.deliveries[0].message
        assert reply.nameplate not in [room.nameplate for room in self.open]
        room = Room(reply.nameplate, self.now)
        self.open.append(room)
        peer = self.admit(update, room)
        self.deliver(update)
        return peer

    @rule(target=known, friend=known)
    def join(self, friend: Peer) -> Any:
        nameplate = friend.room.nameplate  # by now perhaps of another room, or of none
        room = next((room for room in self.open if room.nameplate == nameplate), None)
        if room is None or len(room.peers) == LIMITS.peers_per_room:
            with refused("no-such-room" if room is None else "room-full"):
                self.rooms.join(nameplate, self.now)
            return multiple()
        saved_ns = room.joins_ns + self.now - room.joins_counted
        room.joins_ns = min(LIMITS.join_burst * JOIN_EVERY, saved_ns)
        room.joins_counted = self.now
        if room.joins_ns < JOIN_EVERY:
            with refused("too-many-joins"):
                self.rooms.join(nameplate, self.now)
            return multiple()
        room.joins_ns -= JOIN_EVERY
        update = self.rooms.join(nameplate, self.now)
        room.touched = self.now
        peer = self.admit(update, room)
        self.owe(room.peers[0], PeerJoinedEvent, peer.id)
        self.deliver(update)
        return peer

    @rule(source=known, target_peer=known, answer=st.booleans())
    def relay(self, source: Peer, target_peer: Peer, answer: bool) -> None:
        self.relayed += 1
        text = f"v={self.relayed}"
        payload = Answer(type="answer", sdp=text) if answer else Offer(type="offer", sdp=text)
        update = self.rooms.relay(source.id, target_peer.id, payload, self.now)
        if source.id in self.there:
            source.room.touched = self.now
            both = target_peer.id in self.there and source.room is target_peer.room
            if both and source.is_sender != target_peer.is_sender:
                receiver = target_peer if source.is_sender else source
                if source.is_sender or receiver.may_say:
                    receiver.may_say += 1 if source.is_sender else -1
                    receiver.active = self.now
                    self.owe(target_peer, RelayedEvent, (source.id, payload))
        self.deliver(update)

    @rule(peer=known)
    def lose(self, peer: Peer) -> None:
        assert not self.rooms.lost(peer.id, self.now).deliveries
        if peer.id in self.there and peer.away_since is None:
            peer.away_since = self.now

    @rule(peer=known, swallowed=st.integers(0, 3))
    def resume(self, peer: Peer, swallowed: int) -> None:
        received = max(0, len(peer.seen) - swallowed)
        if peer.id not in self.there:
            with refused("resume-refused"):
                self.rooms.resume(peer.token, received, self.now)
            return
        if not peer.is_sender and len(peer.owed) - received > RECEIVER_HISTORY:
            with refused("resume-refused"):
                self.rooms.resume(peer.token, received, self.now)
            return
        update = self.rooms.resume(peer.token, received, self.now)
        assert update.admitted == peer.id
        peer.away_since = None
        peer.room.touched = self.now
        del peer.seen[received:]
        self.deliver(update)

    @rule(peer=consumes(known))
    def leave(self, peer: Peer) -> None:
        update = self.rooms.leave(peer.id, self.now)
        if peer.id in self.there:
            self.remove(peer, "sender-left")
        self.deliver(update)

    @rule(seconds=st.sampled_from([0, 1, 10, 29, 30, 200, 300, 700]))
    def wait(self, seconds: int) -> None:
        self.now += seconds * S
        update = self.rooms.expire(self.now)
        for room in list(self.open):
            if self.now - room.touched >= LIMITS.room_idle_s * S:
                self.remove(room.peers[0], "idle")
                continue
            for peer in list(room.peers):
                away = peer.away_since
                if away is None or self.now - away < LIMITS.resume_grace_s * S:
                    continue
                if peer.id in self.there:
                    self.remove(peer, "sender-left")
            for peer in list(room.peers):
                idle = self.now - peer.active >= LIMITS.join_idle_s * S
                if idle and peer.id in self.there and not peer.is_sender:
                    self.owe(peer, RoomClosedEvent, "idle")
                    self.remove(peer, "idle-receiver")
        self.deliver(update)

    # -- what must hold -------------------------------------------------------------------------

    @invariant()
    def limits_are_kept_and_nobody_is_forgotten(self) -> None:
        assert self.rooms.room_count == len(self.open) <= LIMITS.rooms
        assert self.rooms.peer_count == len(self.there)
        for room in self.open:
            assert 1 <= len(room.peers) <= LIMITS.peers_per_room
            assert [peer.is_sender for peer in room.peers].count(True) == 1

    @invariant()
    def everybody_connected_saw_exactly_what_was_meant_for_them(self) -> None:
        for peer in self.everybody.values():
            seen = [self.summary(event) for event in peer.seen]
            assert seen == peer.owed[: len(seen)]
            if peer.away_since is None:
                assert len(seen) == len(peer.owed)

    @staticmethod
    def summary(event: Any) -> tuple[type, Any]:
        match event:
            case RelayedEvent():
                return RelayedEvent, (event.sender, event.payload)
            case RoomClosedEvent():
                return RoomClosedEvent, event.reason
            case _:
                return type(event), event.peer


TestRooms = RoomsMachine.TestCase
TestRooms.settings = settings(
    derandomize=True, max_examples=120, stateful_step_count=40, deadline=None
)
