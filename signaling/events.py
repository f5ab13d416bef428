"""What a client tells its program: its place in a room, and what happens there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from signaling.messages import IceServerEntry

__all__ = [
    "ClientEvent",
    "ConnectionLost",
    "PeerJoined",
    "PeerLeft",
    "Reconnected",
    "Relayed",
    "Room",
    "RoomClosed",
]


@dataclass(frozen=True)
class Room:
    """A place in a room: its number, the ICE servers its operator offers, one's own peer id."""

    nameplate: str
    ice_servers: tuple[IceServerEntry, ...]
    peer: str


@dataclass(frozen=True)
class PeerJoined:
    """To the sender: receiver `peer` came."""

    peer: str


@dataclass(frozen=True)
class PeerLeft:
    """To the sender: receiver `peer` is gone for good."""

    peer: str


@dataclass(frozen=True)
class Relayed:
    """`{"type": "offer" or "answer", "sdp": …}` from the peer `sender_peer`."""

    sender_peer: str
    payload: dict[str, str] = field(repr=False)


@dataclass(frozen=True)
class RoomClosed:
    """The room is no more: `reason` is "sender-left" or "idle".  The last event."""

    reason: Literal["sender-left", "idle"]


@dataclass(frozen=True)
class ConnectionLost:
    """The server does not answer; the client goes on trying."""


@dataclass(frozen=True)
class Reconnected:
    """The place in the room is taken back, and what waited is sent."""


ClientEvent: TypeAlias = PeerJoined | PeerLeft | Relayed | RoomClosed | ConnectionLost | Reconnected
