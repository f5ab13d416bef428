"""The handshake's five messages as bytes: two hellos, two confirmations, and the abort.

Every field has one place and one size, so each message has one encoding.  Parsing checks the shape
only; points, keys and MACs are the state machines' work (`shared.crypto.handshake`).  A message
that is anything else raises `HandshakeFailed`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from shared.crypto.agreement import NetworkId
from shared.errors import (
    BadInput,
    CodeUsed,
    HandshakeFailed,
    KeystreamMismatch,
    PairingFailed,
    VeilscopeError,
    WrongCode,
)
from shared.wire import VERSION

__all__ = [
    "NO_NETWORK",
    "ReceiverConfirm",
    "ReceiverHello",
    "SenderConfirm",
    "SenderHello",
    "abort_message",
    "keystream_mismatch",
    "parse_abort",
    "parse_receiver_confirm",
    "parse_receiver_hello",
    "parse_sender_confirm",
    "parse_sender_hello",
    "wrong_code",
]

RECEIVER_HELLO, SENDER_HELLO, RECEIVER_CONFIRM, SENDER_CONFIRM, ABORT = 1, 2, 3, 4, 5

NO_NETWORK = bytes(32)  # the digest of a receiver that has no network of the announced family

MAC_BYTES = 32  # of HMAC-SHA-256
_MAX_SUITES = 16
_RECEIVER_HELLO = struct.Struct("32s33s32s1184s")  # nonce, SPAKE2, X25519, ML-KEM-768 key
_SENDER_HELLO = struct.Struct("16s32s33s32s1088s32s")  # session id, then as above, ct; network

_OTHER, _WRONG_CODE, _CODE_USED, _MISMATCH = 0, 1, 2, 3  # reasons of an abort

_PAIR_AGAIN = "start both ends again, with the same version of Veilscope, and pair with a new code"
_MISMATCH_HINT = "use the same version of Veilscope, or the same network file, on both ends"


@dataclass(frozen=True, slots=True)
class ReceiverHello:
    """The first message: what the receiver speaks, and its three public shares."""

    suites: tuple[int, ...]
    nonce: bytes
    spake2: bytes
    x25519: bytes
    mlkem_key: bytes

    def pack(self) -> bytes:
        head = bytes((RECEIVER_HELLO, VERSION, len(self.suites), *self.suites))
        return head + _RECEIVER_HELLO.pack(self.nonce, self.spake2, self.x25519, self.mlkem_key)


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

    def pack(self) -> bytes:
        family = self.network.family.encode("ascii")
        fixed = _SENDER_HELLO.pack(
            self.session_id,
            self.nonce,
            self.spake2,
            self.x25519,
            self.mlkem_ciphertext,
            self.network.digest,
        )
        return bytes((SENDER_HELLO, VERSION, self.suite)) + fixed + bytes((len(family),)) + family


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
    body = _body(message, RECEIVER_HELLO, "hello")
    if len(body) < 2:
        raise _malformed("hello")
    _check_version(body[0])
    count = body[1]
    if not 1 <= count <= _MAX_SUITES or len(body) != 2 + count + _RECEIVER_HELLO.size:
        raise _malformed("hello")
    return ReceiverHello(tuple(body[2 : 2 + count]), *_RECEIVER_HELLO.unpack_from(body, 2 + count))


def parse_sender_hello(message: bytes) -> SenderHello:
    body = _body(message, SENDER_HELLO, "hello")
    if len(body) < 2 + _SENDER_HELLO.size + 1:
        raise _malformed("hello")
    _check_version(body[0])
    session_id, nonce, spake2, x25519, ciphertext, digest = _SENDER_HELLO.unpack_from(body, 2)
    family_at = 2 + _SENDER_HELLO.size
    family = body[family_at + 1 :]
    if len(family) != body[family_at]:
        raise _malformed("hello")
    try:
        network = NetworkId(family.decode("ascii"), digest)
    except (UnicodeDecodeError, BadInput):
        raise _malformed("hello") from None
    return SenderHello(body[1], session_id, nonce, spake2, x25519, ciphertext, network)


def parse_receiver_confirm(message: bytes) -> ReceiverConfirm:
    body = _body(message, RECEIVER_CONFIRM, "confirmation")
    if len(body) != len(NO_NETWORK) + MAC_BYTES:
        raise _malformed("confirmation")
    return ReceiverConfirm(body[: len(NO_NETWORK)], body[len(NO_NETWORK) :])


def parse_sender_confirm(message: bytes) -> SenderConfirm:
    body = _body(message, SENDER_CONFIRM, "confirmation")
    if len(body) != MAC_BYTES:
        raise _malformed("confirmation")
    return SenderConfirm(body)


def abort_message(error: VeilscopeError) -> bytes:
    """The message that tells the other end why this one gave up.

    It carries a reason and no text: nobody on the way can put words on a person's screen.  It is
    not authenticated either; all that forging one does is to end a handshake.
    """
    reason = _OTHER
    if isinstance(error, WrongCode):
        reason = _WRONG_CODE
    elif isinstance(error, CodeUsed):
        reason = _CODE_USED
    elif isinstance(error, KeystreamMismatch):
        reason = _MISMATCH
    return bytes((ABORT, reason))


def parse_abort(message: bytes) -> PairingFailed | None:
    """The error that an abort stands for, or None if `message` is no abort."""
    if not message or message[0] != ABORT:
        return None
    if len(message) != 2:
        return _malformed("abort")
    reason = message[1]
    if reason == _WRONG_CODE:
        return wrong_code()
    if reason == _CODE_USED:
        return CodeUsed(
            "the other end says that this code is spent: each code pairs once",
            hint="ask the sender for a new code",
        )
    if reason == _MISMATCH:
        return KeystreamMismatch(
            "the other end says that the two keystream networks differ", hint=_MISMATCH_HINT
        )
    return HandshakeFailed("the other end gave up on pairing", hint=_PAIR_AGAIN)


def wrong_code() -> WrongCode:
    return WrongCode(
        "the codes differ, or somebody between the two ends altered the exchange",
        hint="compare the code by voice and try again; if it was right, do not trust this network",
    )


def keystream_mismatch(family: str, sender: bytes, receiver: bytes) -> KeystreamMismatch:
    """Both ends named by the first 8 hex digits of their digests."""
    if receiver == NO_NETWORK:
        return KeystreamMismatch(
            f"the receiver has no keystream network {family!r} (the sender's is "
            f"{sender[:4].hex()})",
            hint=_MISMATCH_HINT,
        )
    return KeystreamMismatch(
        f"the two ends' keystream networks {family!r} differ: {sender[:4].hex()} at the sender, "
        f"{receiver[:4].hex()} at the receiver",
        hint=_MISMATCH_HINT,
    )


def _body(message: bytes, kind: int, name: str) -> bytes:
    """The bytes after the kind; raise what an abort stands for, or `HandshakeFailed`."""
    aborted = parse_abort(message)
    if aborted is not None:
        raise aborted
    if not message or message[0] != kind:
        raise HandshakeFailed(
            f"a handshake message came out of turn: a {name} was expected", hint=_PAIR_AGAIN
        )
    return message[1:]


def _check_version(version: int) -> None:
    if version != VERSION:
        raise HandshakeFailed(
            f"the other end speaks version {version} of the protocol, this one {VERSION}",
            hint="install the same version of Veilscope on both ends",
        )


def _malformed(name: str) -> HandshakeFailed:
    return HandshakeFailed(f"the other end's {name} message is malformed", hint=_PAIR_AGAIN)
