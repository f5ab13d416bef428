"""From the handshake's secrets and transcript to its keys: the arithmetic, apart from the exchange.

    transcript hash = SHA-256 over the length-prefixed parts: protocol label, the two role
                      names, both DTLS fingerprints, the receiver's hello, the sender's hello
    PRK             = HKDF-Extract(salt = transcript hash, IKM = SPAKE2 ‖ X25519 ‖ ML-KEM-768)
    each key        = HKDF-Expand(PRK, its label)

An attacker must break all three secrets to reach PRK, and any difference in what the two ends saw
gives them different keys.  Binding both fingerprints is RFC 8844's remedy against unknown key
shares.  This file holds no state and sends nothing.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from shared.capabilities import NATIVE, OUR_FEATURES
from shared.errors import BadInput
from shared.wire import SUITE

__all__ = [
    "AgreedKeys",
    "DtlsFingerprints",
    "NetworkId",
    "SessionKeys",
    "session_keys",
    "transcript_hash",
]

_PROTOCOL = b"veilscope handshake 1"
_SECRET_BYTES = 32
_FAMILY = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")  # it is shown to people: nothing else gets in


@dataclass(frozen=True, slots=True)
class DtlsFingerprints:
    """SHA-256 (32 bytes) of the DTLS certificates in use, as this end sees them."""

    sender: bytes
    receiver: bytes

    def __post_init__(self) -> None:
        if len(self.sender) != 32 or len(self.receiver) != 32:
            raise BadInput("a DTLS fingerprint is 32 bytes of SHA-256")


@dataclass(frozen=True, slots=True)
class NetworkId:
    """Which keystream network: its family's name and the SHA-256 (32 bytes) of its weights."""

    family: str
    digest: bytes

    def __post_init__(self) -> None:
        if not _FAMILY.fullmatch(self.family):
            raise BadInput(
                "a keystream family's name is 1 to 32 of a-z, 0-9, dot, dash, underscore"
            )
        if len(self.digest) != 32:
            raise BadInput("a keystream network's digest is 32 bytes of SHA-256")


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """What a finished handshake gives one end: keys for a `SecureChannel` and for `Restarts`, 32
    bytes each.

    `suite` is the one agreed on (`shared.wire.SUITES`), `features` what both ends have
    (`shared.capabilities`), `peer_kind` the other end's kind of client, by its own word.
    """

    session_id: str
    network: NetworkId
    control_send: bytes = field(repr=False)
    control_receive: bytes = field(repr=False)
    restart_send: bytes = field(repr=False)
    restart_receive: bytes = field(repr=False)
    suite: int = SUITE
    features: frozenset[str] = OUR_FEATURES
    peer_kind: str = NATIVE


@dataclass(frozen=True, slots=True)
class AgreedKeys:
    """All keys of one handshake, 32 bytes each, the same at both ends."""

    confirm_receiver: bytes = field(repr=False)
    confirm_sender: bytes = field(repr=False)
    control_to_receiver: bytes = field(repr=False)
    control_to_sender: bytes = field(repr=False)
    restart_to_receiver: bytes = field(repr=False)
    restart_to_sender: bytes = field(repr=False)


def transcript_hash(
    fingerprints: DtlsFingerprints, receiver_hello: bytes, sender_hello: bytes
) -> bytes:
    """Hash what this end saw of the exchange: 32 bytes."""
    parts = (
        _PROTOCOL,
        b"sender",
        b"receiver",
        fingerprints.sender,
        fingerprints.receiver,
        receiver_hello,
        sender_hello,
    )
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(4, "big"))
        digest.update(part)
    return digest.digest()


def session_keys(
    spake2_key: bytes, x25519_secret: bytes, mlkem_secret: bytes, transcript: bytes
) -> AgreedKeys:
    """Derive the handshake's keys; each argument has 32 bytes, or `BadInput` is raised.

    The fixed sizes keep the concatenation unambiguous (NIST SP 800-56C r2 hybrid style).
    """
    secrets = (spake2_key, x25519_secret, mlkem_secret)
    if any(len(part) != _SECRET_BYTES for part in (*secrets, transcript)):
        raise BadInput("the handshake's secrets and transcript hash have 32 bytes each")
    prk = HKDF.extract(hashes.SHA256(), transcript, b"".join(secrets))

    def expand(label: bytes) -> bytes:
        return HKDFExpand(hashes.SHA256(), 32, b"veilscope 1 " + label).derive(prk)

    return AgreedKeys(
        confirm_receiver=expand(b"confirm receiver"),
        confirm_sender=expand(b"confirm sender"),
        control_to_receiver=expand(b"control sender to receiver"),
        control_to_sender=expand(b"control receiver to sender"),
        restart_to_receiver=expand(b"restart sender to receiver"),
        restart_to_sender=expand(b"restart receiver to sender"),
    )
