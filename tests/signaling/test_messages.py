"""Whatever is not exactly a message is refused, cheaply and without repeating it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signaling.messages import (
    MAX_SDP_CHARS,
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

PEER = "0123456789abcdef" * 2
TOKEN = "0123456789abcdef" * 4
OFFER = {"type": "offer", "sdp": "v=0\r\n"}


def hello(**fields: Any) -> str:
    return json.dumps({"type": "join", "version": 1, "nameplate": "7"} | fields)


def relay(**fields: Any) -> str:
    return json.dumps({"type": "relay", "to": PEER, "payload": OFFER} | fields)


@pytest.mark.parametrize(
    "message", [Create(), Join(nameplate="42"), Resume(token=TOKEN, received=3)]
)
def test_hellos_survive_the_wire(message: Create | Join | Resume) -> None:
    assert parse_hello(message.model_dump_json()) == message


@pytest.mark.parametrize("message", [Relay(to=PEER, payload=Offer(**OFFER)), Leave()])
def test_room_messages_survive_the_wire(message: Relay | Leave) -> None:
    assert parse_room_message(message.model_dump_json()) == message


@pytest.mark.parametrize(
    "message",
    [
        Created(nameplate="7", peer=PEER, token=TOKEN, ice_servers=[]),
        Joined(
            nameplate="7",
            peer=PEER,
            token=TOKEN,
            ice_servers=[
                IceServerEntry(["stun:stun.example.org"]),
                IceServerEntry(["turn:t.example.org:3478?transport=udp"], "user", "pass"),
            ],
        ),
        Resumed(received=2),
        PeerJoinedEvent(number=1, peer=PEER),
        PeerLeftEvent(number=2, peer=PEER),
        RelayedEvent(number=3, sender=PEER, payload=Offer(**OFFER)),
        RoomClosedEvent(number=4, reason="sender-left"),
        Refusal(code="no-such-room", message="there is no such room"),
    ],
)
def test_server_messages_survive_the_wire(message: Any) -> None:
    assert parse_server_message(message.model_dump_json()) == message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "7",
        "{",
        "NaN",
        hello(type="dance"),
        hello(type=1),
        hello(extra=1),
        hello(nameplate=7),
        hello(nameplate="07"),
        hello(nameplate="7\n"),
        hello(nameplate="\u0667"),
        hello(nameplate="1234567"),
        hello(nameplate=None),
        hello(version="1"),
        hello(version=True),
        hello(version=1.0),
        hello(version=-1),
        hello(version=10**400),
        json.dumps({"type": "create"}),
        json.dumps({"type": "leave", "version": 1}),
        json.dumps({"type": "resume", "version": 1, "token": TOKEN, "received": -1}),
        json.dumps({"type": "resume", "version": 1, "token": TOKEN, "received": "0"}),
        json.dumps({"type": "resume", "version": 1, "token": TOKEN, "received": 0.0}),
        json.dumps({"type": "resume", "version": 1, "token": TOKEN, "received": False}),
        json.dumps({"type": "resume", "version": 1, "token": TOKEN.upper(), "received": 0}),
        json.dumps({"type": "resume", "version": 1, "token": TOKEN + "0", "received": 0}),
        '{"type":"create","version":1}{"type":"create","version":1}',
        "[" * 100_000,
        '{"version":1,"a":' * 5_000 + "1" + "}" * 5_000,
    ],
)
def test_what_is_no_hello_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        parse_hello(text)


@pytest.mark.parametrize(
    "text",
    [
        relay(to="x"),
        relay(to=[PEER]),
        relay(payload="v=0"),
        relay(payload={"type": "candidate", "sdp": "v=0"}),
        relay(payload=OFFER | {"key": "secret"}),
        relay(payload={"type": "offer"}),
        relay(payload=OFFER | {"sdp": ""}),
        relay(payload=OFFER | {"sdp": 5}),
        relay(payload=OFFER | {"sdp": "x" * (MAX_SDP_CHARS + 1)}),
        relay(picture="…"),
        hello(),
    ],
)
def test_nothing_but_offers_and_answers_can_be_relayed(text: str) -> None:
    with pytest.raises(ProtocolError):
        parse_room_message(text)


def test_a_description_of_the_allowed_size_is_accepted() -> None:
    sdp = "x" * MAX_SDP_CHARS
    message = parse_room_message(relay(payload=OFFER | {"sdp": sdp}))
    assert isinstance(message, Relay)
    assert message.payload.sdp == sdp


@pytest.mark.parametrize("version", [0, 2, 65_536])
def test_another_version_is_told_from_nonsense_even_with_unknown_fields(version: int) -> None:
    with pytest.raises(VersionError):
        parse_hello(json.dumps({"type": "new", "version": version, "unheard": {"of": 1}}))


def created_with(url: str) -> str:
    return json.dumps(
        {
            "type": "created",
            "version": 1,
            "nameplate": "7",
            "peer": PEER,
            "token": TOKEN,
            "ice_servers": [{"urls": [url]}],
        }
    )


@pytest.mark.parametrize(
    "url",
    [
        "http://x",
        "stun:",
        "stun:a b",
        "stun:a\x1b[0m",
        "turn:é",
        "stun:" + "x" * 300,
        "stun:host:",
        "stun:host:0",
        "stun:host:65536",
        "stun:host:99999",
        "stun:host:1:2",
        "stun:host:3478\n",
        "stun:user@host",
        "stun://host",
        "stun:host?transport=udp",
        "turn:host:port",
        "turn:host?transport=sctp",
        "turn:host?transport=",
        "turn:host?x=1",
        "turn:[2001:db8::1",
        "turn:2001:db8::1",
    ],
)
def test_an_ice_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ProtocolError):
        parse_server_message(created_with(url))


@pytest.mark.parametrize(
    "url",
    [
        "stun:stun.example.org",
        "stun:192.0.2.1:65535",
        "stuns:stun-1.example.org:5349",
        "turn:turn_server:3478",
        "turn:turn.example.org:3478?transport=udp",
        "turns:turn.example.org?transport=tcp",
        "turn:[2001:db8::1]:3478?transport=tcp",
    ],
)
def test_an_ice_url_is_accepted_as_a_peer_connection_takes_it(url: str) -> None:
    message = parse_server_message(created_with(url))
    assert isinstance(message, Created)
    assert message.ice_servers == [IceServerEntry([url])]


def test_no_repr_and_no_error_shows_a_secret() -> None:
    ice = IceServerEntry(["turn:t.example.org"], "alice", "hunter2")
    created = Created(nameplate="7", peer=PEER, token=TOKEN, ice_servers=[ice])
    offer = Relay(to=PEER, payload=Offer(type="offer", sdp="a=private"))
    shown = repr([ice, created, Resume(token=TOKEN, received=0), offer])
    with pytest.raises(ProtocolError) as raised:
        parse_room_message(relay(hunter2=TOKEN))
    shown += repr(raised.value) + repr(raised.value.__cause__)
    for secret in ("hunter2", "alice", TOKEN, "a=private"):
        assert secret not in shown


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["create", "join", "resume", "relay", "leave", "created"]) | JSON,
        "version": st.just(1) | JSON,
        "nameplate": st.just("7") | JSON,
        "to": st.just(PEER) | JSON,
        "payload": st.just(OFFER) | JSON,
        "number": st.just(1) | JSON,
        "received": st.just(0) | JSON,
    },
)


@settings(derandomize=True, max_examples=120, deadline=None)
@given(st.text() | FIELDS.map(json.dumps) | JSON.map(json.dumps))
def test_any_text_is_parsed_or_refused_and_nothing_else_happens(text: str) -> None:
    for parse in (parse_hello, parse_room_message, parse_server_message):
        try:
            message = parse(text)
        except (ProtocolError, VersionError):
            continue
        assert parse(message.model_dump_json()) == message
