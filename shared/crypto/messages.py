"""The handshake's messages as bytes: two hellos and two confirmations.  An abort is in `aborts`.

Kind and version are the first two bytes of a hello in every version, and are looked at before
anything else, so that ends of different versions can tell each other.  A hello ends with what its
end can do (`shared.capabilities`) and with room for what later versions add: extensions, which are
passed over where they are not known, unless their end insists on them.

Parsing checks the shape only; points, keys and MACs are the state machines' work
(`shared.crypto.handshake`).  A message that is anything else raises `HandshakeFailed`, and nothing
of it is repeated in the error: it is not known yet to come from anybody in particular.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from shared.capabilities import MAX_FEATURES, MAX_NAME_CHARS, Capabilities
from shared.crypto.aborts import MISMATCH_HINT, PAIR_AGAIN, SAME_VERSION, malformed, parse_abort
from shared.crypto.agreement import NetworkId
from shared.errors import (
    BadInput,
    HandshakeFailed,
    KeystreamMismatch,
    NotSupported,
    OtherVersion,
)
from shared.wire import VERSION

__all__ = [
    "CRITICAL",
    "MAX_EXTENSIONS",
    "MAX_HELLO_BYTES",
    "NO_NETWORK",
    "ReceiverConfirm",
    "ReceiverHello",
    "SenderConfirm",
    "SenderHello",
    "keystream_mismatch",
    "other_version_hello",
    "parse_receiver_confirm",
    "parse_receiver_hello",
    "parse_sender_confirm",
    "parse_sender_hello",
]

RECEIVER_HELLO, SENDER_HELLO, RECEIVER_CONFIRM, SENDER_CONFIRM = 1, 2, 3, 4

NO_NETWORK = bytes(32)  # the digest of a receiver that has no network of the announced family

MAC_BYTES = 32  # of HMAC-SHA-256
_MAX_SUITES = 16
_RECEIVER_HELLO = struct.Struct("32s33s32s1184s")  # nonce, SPAKE2, X25519, ML-KEM-768 key
_SENDER_HELLO = struct.Struct("16s32s33s32s1088s32s")  # session id, then as above, ct; network

MAX_HELLO_BYTES = 8192  # twice what one of today may take, capabilities at their limit included
MAX_EXTENSIONS = 32
CRITICAL = 0x80  # of an extension's type: who does not know it must not go on
_EXTENSION = struct.Struct(">BH")  # type, bytes of its value


@dataclass(frozen=True, slots=True)
class ReceiverHello:
    """The first message: what the receiver speaks, and its three public shares."""

    suites: tuple[int, ...]
    nonce: bytes
    spake2: bytes
    x25519: bytes
    mlkem_key: bytes
    capabilities: Capabilities

    def pack(self) -> bytes:
        head = bytes((RECEIVER_HELLO, VERSION, len(self.suites), *self.suites))
        fixed = _RECEIVER_HELLO.pack(self.nonce, self.spake2, self.x25519, self.mlkem_key)
        return head + fixed + _pack_capabilities(self.capabilities)


@dataclass(frozen=True, slots=True)
class SenderHello:
    """The second message: the suite chosen, the session, the sender's shares and its network."""

    suite: int
    session_id: bytes
    nonce: bytes
    spake2: bytes
    x25519: bytes
    mlkem_ciphertext: bytes
    network: NetworkId
    capabilities: Capabilities

    def pack(self) -> bytes:
        fixed = _SENDER_HELLO.pack(
            self.session_id,
            self.nonce,
            self.spake2,
            self.x25519,
            self.mlkem_ciphertext,
            self.network.digest,
        )
        head = bytes((SENDER_HELLO, VERSION, self.suite))
        family = _pack_name(self.network.family)
        return head + fixed + family + _pack_capabilities(self.capabilities)


@dataclass(frozen=True, slots=True)
class ReceiverConfirm:
    """The third message: which network the receiver holds, under a MAC of the agreed keys.

    `network_digest` is that of the receiver's own copy of the announced family (`NO_NETWORK`: it
    has none).  Here and not in the hello, so that it is judged once it is known to be genuine.
    """

    network_digest: bytes
    mac: bytes = field(repr=False)

    def pack(self) -> bytes:
        return bytes((RECEIVER_CONFIRM,)) + self.network_digest + self.mac


@dataclass(frozen=True, slots=True)
class SenderConfirm:
    """The fourth message: the sender's MAC."""

    mac: bytes = field(repr=False)

    def pack(self) -> bytes:
        return bytes((SENDER_CONFIRM,)) + self.mac


def parse_receiver_hello(message: bytes) -> ReceiverHello:
    rest = _hello_body(message, RECEIVER_HELLO)
    count = rest.byte()
    if not 1 <= count <= _MAX_SUITES:
        raise malformed("hello")
    suites = tuple(rest.take(count))
    nonce, spake2, x25519, mlkem_key = _RECEIVER_HELLO.unpack(rest.take(_RECEIVER_HELLO.size))
    return ReceiverHello(suites, nonce, spake2, x25519, mlkem_key, _parse_capabilities(rest))


def parse_sender_hello(message: bytes) -> SenderHello:
    rest = _hello_body(message, SENDER_HELLO)
    suite = rest.byte()
    session_id, nonce, spake2, x25519, ciphertext, digest = _SENDER_HELLO.unpack(
        rest.take(_SENDER_HELLO.size)
    )
    try:
        network = NetworkId(rest.name(), digest)
    except BadInput:
        raise malformed("hello") from None
    capabilities = _parse_capabilities(rest)
    return SenderHello(suite, session_id, nonce, spake2, x25519, ciphertext, network, capabilities)


def parse_receiver_confirm(message: bytes) -> ReceiverConfirm:
    body = _body(message, RECEIVER_CONFIRM, "confirmation")
    if len(body) != len(NO_NETWORK) + MAC_BYTES:
        raise malformed("confirmation")
    return ReceiverConfirm(body[: len(NO_NETWORK)], body[len(NO_NETWORK) :])


def parse_sender_confirm(message: bytes) -> SenderConfirm:
    body = _body(message, SENDER_CONFIRM, "confirmation")
    if len(body) != MAC_BYTES:
        raise malformed("confirmation")
    return SenderConfirm(body)


def other_version_hello() -> bytes:
    """A sender's answer to a hello of another version: a hello that says its own, and no more.

    Every version reads that much before anything else.  Of the rest, zeros, there is as much as
    version 2 wants to see first; it would take an abort for an end without a reason.
    """
    return bytes((SENDER_HELLO, VERSION)) + bytes(1 + _SENDER_HELLO.size + 1)


def keystream_mismatch(family: str, sender: bytes, receiver: bytes) -> KeystreamMismatch:
    """Both ends named by the first 8 hex digits of their digests."""
    if receiver == NO_NETWORK:
        return KeystreamMismatch(
            f"the receiver has no keystream network {family!r} (the sender's is "
            f"{sender[:4].hex()})",
            hint=MISMATCH_HINT,
        )
    return KeystreamMismatch(
        f"the two ends' keystream networks {family!r} differ: {sender[:4].hex()} at the sender, "
        f"{receiver[:4].hex()} at the receiver",
        hint=MISMATCH_HINT,
    )


def _body(message: bytes, kind: int, name: str) -> bytes:
    """The bytes after the kind; raise what an abort stands for, or `HandshakeFailed`."""
    aborted = parse_abort(message)
    if aborted is not None:
        raise aborted
    if not message or message[0] != kind:
        raise HandshakeFailed(
            f"a handshake message came out of turn: a {name} was expected", hint=PAIR_AGAIN
        )
    return message[1:]


class _Rest:
    """What of a hello has not been read; raises `HandshakeFailed` where it is too short."""

    def __init__(self, body: bytes) -> None:
        self._body, self._at = body, 0

    def __bool__(self) -> bool:
        return self._at < len(self._body)

    def take(self, nbytes: int) -> bytes:
        part = self._body[self._at : self._at + nbytes]
        if len(part) != nbytes:
            raise malformed("hello")
        self._at += nbytes
        return part

    def byte(self) -> int:
        return self.take(1)[0]

    def name(self) -> str:
        """A length u8 and that many bytes of ASCII, `MAX_NAME_CHARS` at most."""
        length = self.byte()
        if length > MAX_NAME_CHARS:
            raise malformed("hello")
        try:
            return self.take(length).decode("ascii")
        except UnicodeDecodeError:
            raise malformed("hello") from None


def _hello_body(message: bytes, kind: int) -> _Rest:
    """What follows kind and version, of a hello of this version and of a size to be read."""
    rest = _Rest(_body(message, kind, "hello"))
    version = rest.byte()
    if version != VERSION:
        age = "an older" if version < VERSION else "a newer"
        raise OtherVersion(
            f"the other end runs {age} version of Veilscope "
            f"(protocol {version}; this end speaks {VERSION})",
            hint=SAME_VERSION,
        )
    if len(message) > MAX_HELLO_BYTES:
        raise malformed("hello")
    return rest


def _pack_name(name: str) -> bytes:
    return bytes((len(name),)) + name.encode("ascii")


def _pack_capabilities(capabilities: Capabilities) -> bytes:
    features = sorted(capabilities.features)
    head = _pack_name(capabilities.kind) + bytes((len(features),))
    return head + b"".join(_pack_name(name) for name in features)


def _parse_capabilities(rest: _Rest) -> Capabilities:
    """The end of a hello: kind, features, extensions."""
    kind = rest.name()
    count = rest.byte()
    if count > MAX_FEATURES:
        raise malformed("hello")
    features = [rest.name() for _ in range(count)]
    _pass_over_extensions(rest)
    try:
        return Capabilities(frozenset(features), kind)
    except BadInput:
        raise malformed("hello") from None


def _pass_over_extensions(rest: _Rest) -> None:
    """Read extensions up to the end of the hello; this version knows none."""
    count, critical = 0, False
    while rest:
        if count == MAX_EXTENSIONS:
            raise malformed("hello")
        kind, nbytes = _EXTENSION.unpack(rest.take(_EXTENSION.size))
        rest.take(nbytes)
        count += 1
        critical = critical or bool(kind & CRITICAL)
    if critical:
        raise NotSupported(
            "the other end insists on something that this version of Veilscope does not have",
            hint="install the newest version on both ends",
        )
