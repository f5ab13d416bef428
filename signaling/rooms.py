"""The state of all rooms, and the rules by which messages travel between their peers.

A room has one sender and any number of receivers up to the limit.  Relays travel between the
sender and a receiver of the same room, never between receivers and never across rooms.  Who loses
the connection keeps the place for a grace period and takes it back with the secret token that was
given at the start; what was told meanwhile is told again, so that nothing is lost or doubled.

Anybody may join who guesses a room's number.  So joins have a rate, a receiver may say one
thing and else only answer, and a place in which nothing happens is given up: a stranger can't make
the sender miss events, nor hold a room full.

Pure: no asyncio, no sockets, no clock.  Each call takes the time and returns an `Update` that says
what to deliver to whom and what happened, in words that name the room's number and nobody.
"""

from __future__ import annotations

import random
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from signaling.limits import Limits, TokenBucket
from signaling.messages import (
    Answer,
    Created,
    Event,
    IceServerEntry,
    Joined,
    Offer,
    PeerJoinedEvent,
    PeerLeftEvent,
    RefusalCode,
    RelayedEvent,
    Resumed,
    RoomClosedEvent,
)

__all__ = ["Delivery", "RefusedError", "Rooms", "Update"]

_NS_PER_S = 1_000_000_000

# The newest events of a peer, kept to be told again after a dropped connection.  A sender may miss
# a join, a word and a leave for each of the 60 joins that the default limits grant within the 53 s
# in which a dead connection is noticed and its place kept, and the answers of all that were there.
SENDER_HISTORY = 224
RECEIVER_HISTORY = 16  # an offer, and the end of the room
UNASKED = 1  # a receiver that was here before says so; else it may only answer
# A nameplate rests after its room closed, so that a code read out for that room finds no room
# instead of a stranger's, whose pairing tries it would spend.
NAMEPLATE_REST_S = 600.0
MAX_RESTING = 10_000


class RefusedError(Exception):
    """The server does not grant what a peer asked for; `str()` is a sentence for people."""

    def __init__(self, code: RefusalCode, message: str) -> None:
        super().__init__(message)
        self.code: RefusalCode = code


@dataclass(frozen=True)
class Delivery:
    """One message for one peer that is connected."""

    peer: str
    message: Created | Joined | Resumed | Event


@dataclass(frozen=True)
class Update:
    """The outcome of one call: messages to deliver, in order, and lines for the operator's log."""

    deliveries: tuple[Delivery, ...] = ()
    happened: tuple[str, ...] = ()
    admitted: str = ""  # the id of the peer that create, join or resume let in


@dataclass
class _Peer:
    id: str
    token: str = field(repr=False)
    room: _Room = field(repr=False)
    history: deque[Event] = field(repr=False)
    active_ns: int  # when it came, or when the last relay from it or to it was
    away_since_ns: int | None = None  # None while connected
    relays: int = 0  # accepted from this peer
    told: int = 0  # events told to this peer
    may_say: int = 0  # of this receiver's relays, so many are handed on


@dataclass
class _Room:
    nameplate: str
    touched_ns: int
    joins: TokenBucket
    peers: dict[str, _Peer] = field(default_factory=dict)  # the sender first

    @property
    def sender(self) -> _Peer:
        return next(iter(self.peers.values()))


class Rooms:
    """All rooms of one server.

    `rng` makes nameplates, peer ids and tokens: outside tests it must be the system's.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        ice_servers: Sequence[IceServerEntry] = (),
        rng: random.Random | None = None,
    ) -> None:
        self._limits = limits or Limits()
        self._ice_servers = list(ice_servers)
        self._rng = rng or random.SystemRandom()
        self._rooms: dict[str, _Room] = {}
        self._peers: dict[str, _Peer] = {}
        self._tokens: dict[str, _Peer] = {}
        self._resting: OrderedDict[str, int] = OrderedDict()  # nameplate -> when its room closed

    @property
    def room_count(self) -> int:
        return len(self._rooms)

    @property
    def peer_count(self) -> int:
        return len(self._peers)

    # -- coming and going -----------------------------------------------------------------------

    def create(self, now_ns: int) -> Update:
        """Open a room; raises `RefusedError` (server-full)."""
        if len(self._rooms) >= self._limits.rooms:
            raise RefusedError("server-full", "the server has no room left; try again later")
        joins = TokenBucket(rate_per_s=self._limits.joins_per_s, burst=self._limits.join_burst)
        room = _Room(self._free_nameplate(now_ns), now_ns, joins)
        self._rooms[room.nameplate] = room
        peer = self._add_peer(room, SENDER_HISTORY, now_ns)
        reply = Created(
            nameplate=room.nameplate,
            peer=peer.id,
            token=peer.token,
            ice_servers=self._ice_servers,
        )
        return Update((Delivery(peer.id, reply),), (f"room {room.nameplate}: created",), peer.id)

    def join(self, nameplate: str, now_ns: int) -> Update:
        """Enter a room as a receiver.

        Raises:
            RefusedError: no-such-room, room-full, too-many-joins.
        """
        room = self._rooms.get(nameplate)
        if room is None:
            raise RefusedError("no-such-room", "there is no such room")
        if len(room.peers) >= self._limits.peers_per_room:
            raise RefusedError("room-full", "the room is full")
        if not room.joins.take(now_ns):
            raise RefusedError("too-many-joins", "too many joins, try again in a moment")
        room.touched_ns = now_ns
        peer = self._add_peer(room, RECEIVER_HISTORY, now_ns)
        reply = Joined(
            nameplate=nameplate, peer=peer.id, token=peer.token, ice_servers=self._ice_servers
        )
        told = self._tell(room.sender, lambda n: PeerJoinedEvent(number=n, peer=peer.id))
        return Update(
            (Delivery(peer.id, reply), *told),
            (f"room {nameplate}: receiver joined, {len(room.peers) - 1} there",),
            peer.id,
        )

    def resume(self, token: str, received: int, now_ns: int) -> Update:
        """Take a place back, whether or not its old connection is known to be dead.

        Raises:
            RefusedError: resume-refused, when the token opens nothing (any more), or when more was
                missed than is kept.
        """
        peer = self._tokens.get(token)
        if peer is None:
            raise RefusedError(
                "resume-refused", "the room is gone, or the place in it was given up"
            )
        missed = peer.told - received
        if not 0 <= missed <= len(peer.history):
            raise RefusedError("resume-refused", "too much was missed to go on")
        peer.away_since_ns = None
        peer.room.touched_ns = now_ns
        again = list(peer.history)[len(peer.history) - missed :]
        deliveries = [Delivery(peer.id, Resumed(received=peer.relays))]
        deliveries += [Delivery(peer.id, event) for event in again]
        line = f"room {peer.room.nameplate}: {_role(peer)} came back"
        return Update(tuple(deliveries), (line,), peer.id)

    def lost(self, peer_id: str, now_ns: int) -> Update:
        """The peer's connection dropped: its place is kept for the grace period."""
        peer = self._peers.get(peer_id)
        if peer is None or peer.away_since_ns is not None:
            return Update()
        peer.away_since_ns = now_ns
        return Update(happened=(f"room {peer.room.nameplate}: {_role(peer)} lost its connection",))

    def leave(self, peer_id: str, now_ns: int) -> Update:
        """The peer gives its place up; with the sender the room closes."""
        peer = self._peers.get(peer_id)
        if peer is None:
            return Update()
        if peer is peer.room.sender:
            return self._close(peer.room, "sender-left", now_ns)
        return self._remove_receiver(peer, now_ns)

    def expire(self, now_ns: int) -> Update:
        """Remove who stayed away or idle too long, close idle rooms, end the nameplates' rest."""
        limits = self._limits
        deliveries: list[Delivery] = []
        happened: list[str] = []
        for room in list(self._rooms.values()):
            idle_ns = now_ns - room.touched_ns
            if idle_ns >= limits.room_idle_s * _NS_PER_S:
                updates = [self._close(room, "idle", now_ns)]
            else:
                gone = [p.id for p in room.peers.values() if self._overdue(p, now_ns)]
                updates = [self.leave(peer_id, now_ns) for peer_id in gone]
                still = [p for p in room.peers.values() if self._idle(p, now_ns)]
                updates += [self._dismiss(peer, now_ns) for peer in still]
            for update in updates:
                deliveries += update.deliveries
                happened += update.happened
        self._end_rests(now_ns)
        return Update(tuple(deliveries), tuple(happened))

    # -- relaying -------------------------------------------------------------------------------

    def relay(self, peer_id: str, to: str, payload: Offer | Answer, now_ns: int) -> Update:
        """Hand `payload` on, from the sender to one of its receivers or the other way round.

        To anybody else it goes nowhere, without a complaint: the other peer may have left a moment
        ago, of which the sender learns by an event of its own.  So does what a receiver says more
        often than it was spoken to.
        """
        peer = self._peers.get(peer_id)
        if peer is None:
            return Update()
        peer.relays += 1
        room = peer.room
        room.touched_ns = now_ns
        other = room.peers.get(to)
        if other is None or (peer is room.sender) == (other is room.sender):
            return Update()
        receiver = other if peer is room.sender else peer
        if peer is room.sender:
            receiver.may_say += 1
        elif receiver.may_say:
            receiver.may_say -= 1
        else:
            return Update()
        receiver.active_ns = now_ns
        told = self._tell(other, lambda n: RelayedEvent(number=n, sender=peer.id, payload=payload))
        return Update(told, (f"room {room.nameplate}: {payload.type} relayed",))

    # -- inside ---------------------------------------------------------------------------------

    def _add_peer(self, room: _Room, history: int, now_ns: int) -> _Peer:
        peer = _Peer(
            self._rng.randbytes(16).hex(),
            self._rng.randbytes(32).hex(),
            room,
            deque(maxlen=history),
            active_ns=now_ns,
            may_say=UNASKED,
        )
        room.peers[peer.id] = peer
        self._peers[peer.id] = peer
        self._tokens[peer.token] = peer
        return peer

    def _forget_peer(self, peer: _Peer) -> None:
        del peer.room.peers[peer.id], self._peers[peer.id], self._tokens[peer.token]

    def _tell(self, peer: _Peer, make: Callable[[int], Event]) -> tuple[Delivery, ...]:
        peer.told += 1
        event = make(peer.told)
        peer.history.append(event)
        return (Delivery(peer.id, event),) if peer.away_since_ns is None else ()

    def _remove_receiver(self, peer: _Peer, now_ns: int) -> Update:
        room = peer.room
        room.touched_ns = now_ns
        self._forget_peer(peer)
        told = self._tell(room.sender, lambda n: PeerLeftEvent(number=n, peer=peer.id))
        line = f"room {room.nameplate}: receiver left, {len(room.peers) - 1} there"
        return Update(told, (line,))

    def _dismiss(self, peer: _Peer, now_ns: int) -> Update:
        """Take the place of a receiver that does not pair."""
        closed = self._tell(peer, lambda n: RoomClosedEvent(number=n, reason="idle"))
        left = self._remove_receiver(peer, now_ns)
        return Update(closed + left.deliveries, left.happened)

    def _close(self, room: _Room, reason: Literal["sender-left", "idle"], now_ns: int) -> Update:
        deliveries: list[Delivery] = []
        for peer in list(room.peers.values()):
            if reason == "idle" or peer is not room.sender:
                deliveries += self._tell(peer, lambda n: RoomClosedEvent(number=n, reason=reason))
        for peer in list(room.peers.values()):
            self._forget_peer(peer)
        del self._rooms[room.nameplate]
        self._resting[room.nameplate] = now_ns
        line = f"room {room.nameplate}: closed, {reason.replace('-', ' ')}"
        return Update(tuple(deliveries), (line,))

    def _overdue(self, peer: _Peer, now_ns: int) -> bool:
        grace_ns = self._limits.resume_grace_s * _NS_PER_S
        return peer.away_since_ns is not None and now_ns - peer.away_since_ns >= grace_ns

    def _idle(self, peer: _Peer, now_ns: int) -> bool:
        idle_ns = self._limits.join_idle_s * _NS_PER_S
        return peer is not peer.room.sender and now_ns - peer.active_ns >= idle_ns

    def _end_rests(self, now_ns: int) -> None:
        while self._resting:
            nameplate, closed_ns = next(iter(self._resting.items()))
            rested = now_ns - closed_ns >= NAMEPLATE_REST_S * _NS_PER_S
            if not rested and len(self._resting) <= MAX_RESTING:
                return
            del self._resting[nameplate]

    def _free_nameplate(self, now_ns: int) -> str:
        """A random number of as few digits as leave at least half of their numbers free."""
        self._end_rests(now_ns)
        for digits in range(1, 7):
            numbers = range(10 ** (digits - 1), 10**digits)
            taken = sum(len(n) == digits for names in (self._rooms, self._resting) for n in names)
            if 2 * taken >= len(numbers):
                continue
            while True:  # more than half are free: two draws on average
                nameplate = str(self._rng.choice(numbers))
                if nameplate not in self._rooms and nameplate not in self._resting:
                    return nameplate
        raise RefusedError("server-full", "the server has no room left; try again later")


def _role(peer: _Peer) -> str:
    return "sender" if peer is peer.room.sender else "receiver"
