"""Signaling messages, at the server and at the client."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from signaling.messages import (
    Answer,
    Create,
    Created,
    IceServerEntry,
    Join,
    Joined,
    Leave,
    Offer,
    PeerJoinedEvent,
    PeerLeftEvent,
    ProtocolError,
    Refusal,
    Relay,
    RelayedEvent,
    Resume,
    Resumed,
    RoomClosedEvent,
    VersionError,
    parse_hello,
    parse_room_message,
    parse_server_message,
)


def one(data: bytes) -> None:
    text = data.decode("utf-8", "replace")  # a WebSocket's text is UTF-8, or it is closed
    for parse in (parse_hello, parse_room_message, parse_server_message):
        with contextlib.suppress(ProtocolError, VersionError):
            message = parse(text)
            assert parse(message.model_dump_json()) == message


def seeds() -> Iterator[tuple[str, bytes]]:
    peer, token = "0f" * 16, "0f" * 32
    offer, answer = Offer(type="offer", sdp="v=0\r\n"), Answer(type="answer", sdp="v=0\r\n")
    servers = [
        IceServerEntry(["stun:192.0.2.1:3478", "turn:example.org?transport=tcp"], "u", "secret")
    ]
    for message in (
        Create(),
        Join(nameplate="42"),
        Resume(token=token, received=3),
        Relay(to=peer, payload=offer),
        Leave(),
        Created(nameplate="42", peer=peer, token=token, ice_servers=servers),
        Joined(nameplate="42", peer=peer, token=token, ice_servers=[]),
        Resumed(received=3),
        PeerJoinedEvent(number=1, peer=peer),
        PeerLeftEvent(number=2, peer=peer),
        RelayedEvent(number=3, sender=peer, payload=answer),
        RoomClosedEvent(number=4, reason="idle"),
        Refusal(code="room-full", message="no"),
    ):
        yield message.type, message.model_dump_json().encode()
