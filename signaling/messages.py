"""What client and server say to each other: one JSON object a WebSocket text message.

A connection opens with one of the hellos `create`, `join` or `resume`, which carries the version
of this protocol; after the server's `created`, `joined` or `resumed` it carries `relay` and
`leave` one way and numbered events the other way.  Anything that is not exactly one of these
messages is refused: unknown fields, wrong types, strings that are too long.  Neither the
messages' reprs nor the errors raised here hold a token, a credential or a session description.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Literal, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)

__all__ = [
    "MAX_MESSAGE_BYTES",
    "MAX_SDP_CHARS",
    "PROTOCOL_VERSION",
    "Answer",
    "Create",
    "Created",
    "Event",
    "Hello",
    "IceServerEntry",
    "Join",
    "Joined",
    "Leave",
    "Offer",
    "Payload",
    "PeerJoinedEvent",
    "PeerLeftEvent",
    "ProtocolError",
    "Refusal",
    "RefusalCode",
    "Relay",
    "RelayedEvent",
    "Resume",
    "Resumed",
    "RoomClosedEvent",
    "RoomMessage",
    "ServerMessage",
    "VersionError",
    "parse_hello",
    "parse_room_message",
    "parse_server_message",
]

PROTOCOL_VERSION: Final = 1

# A data-channel-only description is 1 KB plus about 100 B a candidate: room for 100 candidates.
MAX_SDP_CHARS: Final = 16_384
# A description of that size with every line end escaped, and its envelope, both with room to spare.
MAX_MESSAGE_BYTES: Final = 32_768

_STRICT = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)

Nameplate = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,5}$")]
PeerId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Token = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, le=2**53)]
Sdp = Annotated[str, StringConstraints(min_length=1, max_length=MAX_SDP_CHARS)]
# RFC 7064 and RFC 7065; an IPv6 literal stands in brackets (RFC 3986 section 3.2.2).
_HOST = r"([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]{2,45}\])"
_PORT = r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_TRANSPORT = r"\?transport=(udp|tcp)"
IceUrl = Annotated[
    str,
    StringConstraints(
        pattern=rf"^(stuns?:{_HOST}(:{_PORT})?|turns?:{_HOST}(:{_PORT})?({_TRANSPORT})?)$",
        max_length=256,
    ),
]
Secret = Annotated[str, StringConstraints(min_length=1, max_length=512)]


class ProtocolError(ValueError):
    """Not exactly one of the messages that may come at this point."""


class VersionError(ValueError):
    """A hello in another version of this protocol."""


class _Message(BaseModel):
    model_config = _STRICT


@dataclass(frozen=True)
class IceServerEntry:
    """One entry of a peer connection's `iceServers` (W3C webrtc-pc, RTCIceServer)."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    # One URL may stand alone (W3C); it is sent on as a list.
    urls: Annotated[
        list[IceUrl],
        Field(min_length=1, max_length=8),
        BeforeValidator(lambda urls: [urls] if isinstance(urls, str) else urls),
    ]
    username: Secret | None = None
    credential: Annotated[Secret | None, Field(repr=False)] = None

    def __repr__(self) -> str:
        return f"IceServerEntry(urls={self.urls!r})"


# -- what is relayed ----------------------------------------------------------------------------


class Offer(_Message):
    type: Literal["offer"]
    sdp: Sdp = Field(repr=False)


class Answer(_Message):
    type: Literal["answer"]
    sdp: Sdp = Field(repr=False)


Payload: TypeAlias = Annotated[Offer | Answer, Field(discriminator="type")]


# -- client to server ---------------------------------------------------------------------------


class Create(_Message):
    """Open a room and be its sender."""

    type: Literal["create"] = "create"
    version: Literal[1] = PROTOCOL_VERSION


class Join(_Message):
    """Enter the room of that nameplate as a receiver."""

    type: Literal["join"] = "join"
    version: Literal[1] = PROTOCOL_VERSION
    nameplate: Nameplate


class Resume(_Message):
    """Take one's place back after a dropped connection; `received` events had arrived by then."""

    type: Literal["resume"] = "resume"
    version: Literal[1] = PROTOCOL_VERSION
    token: Token = Field(repr=False)
    received: Count


class Relay(_Message):
    """Hand `payload` to peer `to` of the same room."""

    type: Literal["relay"] = "relay"
    to: PeerId
    payload: Payload


class Leave(_Message):
    """Give one's place up; a sender's leaving closes the room."""

    type: Literal["leave"] = "leave"


Hello: TypeAlias = Annotated[Create | Join | Resume, Field(discriminator="type")]
RoomMessage: TypeAlias = Annotated[Relay | Leave, Field(discriminator="type")]


# -- server to client ---------------------------------------------------------------------------


class Created(_Message):
    """The room is open; `token` takes this place back after a dropped connection."""

    type: Literal["created"] = "created"
    version: Literal[1] = PROTOCOL_VERSION
    nameplate: Nameplate
    peer: PeerId
    token: Token = Field(repr=False)
    ice_servers: Annotated[list[IceServerEntry], Field(max_length=16)]


class Joined(_Message):
    """As `Created`, for a receiver."""

    type: Literal["joined"] = "joined"
    version: Literal[1] = PROTOCOL_VERSION
    nameplate: Nameplate
    peer: PeerId
    token: Token = Field(repr=False)
    ice_servers: Annotated[list[IceServerEntry], Field(max_length=16)]


class Resumed(_Message):
    """The place is taken back; the server had accepted `received` relays from this peer."""

    type: Literal["resumed"] = "resumed"
    version: Literal[1] = PROTOCOL_VERSION
    received: Count


class PeerJoinedEvent(_Message):
    """To the sender: a receiver came.  `number` counts the events told to one peer, from 1."""

    type: Literal["peer-joined"] = "peer-joined"
    number: Count
    peer: PeerId


class PeerLeftEvent(_Message):
    """To the sender: a receiver left, or its connection dropped and did not come back in time."""

    type: Literal["peer-left"] = "peer-left"
    number: Count
    peer: PeerId


class RelayedEvent(_Message):
    """What peer `sender` handed over for this one."""

    type: Literal["relayed"] = "relayed"
    number: Count
    sender: PeerId
    payload: Payload


class RoomClosedEvent(_Message):
    """The room is no more for this peer; the server closes the connection after this.

    `idle` may also be the fate of one receiver, in whose place nothing happened.
    """

    type: Literal["room-closed"] = "room-closed"
    number: Count
    reason: Literal["sender-left", "idle"]


RefusalCode: TypeAlias = Literal[
    "malformed",
    "no-such-room",
    "resume-refused",
    "room-full",
    "server-full",
    "too-large",
    "too-many-connections",
    "too-many-joins",
    "too-many-messages",
    "too-slow",
    "unsupported-version",
]


class Refusal(_Message):
    """Why the server closes the connection: a code for programs, a sentence for people."""

    type: Literal["error"] = "error"
    code: RefusalCode
    message: Annotated[str, StringConstraints(max_length=256)]


Event: TypeAlias = PeerJoinedEvent | PeerLeftEvent | RelayedEvent | RoomClosedEvent
ServerMessage: TypeAlias = Annotated[
    Created | Joined | Resumed | Event | Refusal, Field(discriminator="type")
]


# -- parsing ------------------------------------------------------------------------------------


class _AnyVersion(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)

    version: Count


_ANY_VERSION = TypeAdapter(_AnyVersion)
_HELLO: TypeAdapter[Create | Join | Resume] = TypeAdapter(Hello)
_ROOM_MESSAGE: TypeAdapter[Relay | Leave] = TypeAdapter(RoomMessage)
_SERVER_MESSAGE: TypeAdapter[Created | Joined | Resumed | Event | Refusal] = TypeAdapter(
    ServerMessage
)


def parse_hello(text: str) -> Create | Join | Resume:
    """The first message of a connection.

    Raises:
        VersionError: it names a version that is not `PROTOCOL_VERSION`.
        ProtocolError: it is no hello.
    """
    try:
        version = _ANY_VERSION.validate_json(text).version
    except ValidationError as error:
        raise _malformed(error) from None
    if version != PROTOCOL_VERSION:
        raise VersionError(f"version {PROTOCOL_VERSION} is spoken here")
    try:
        return _HELLO.validate_json(text)
    except ValidationError as error:
        raise _malformed(error) from None


def parse_room_message(text: str) -> Relay | Leave:
    """A client's message after its hello; raises `ProtocolError`."""
    try:
        return _ROOM_MESSAGE.validate_json(text)
    except ValidationError as error:
        raise _malformed(error) from None


def parse_server_message(text: str) -> Created | Joined | Resumed | Event | Refusal:
    """A message from the server; raises `ProtocolError`."""
    try:
        return _SERVER_MESSAGE.validate_json(text)
    except ValidationError as error:
        raise _malformed(error) from None


def _malformed(error: ValidationError) -> ProtocolError:
    # Only the kind of fault is told: the place of a fault may be a key that the other end chose.
    return ProtocolError(error.errors(include_url=False, include_input=False)[0]["type"])
