"""The handshake: two people's code becomes two programs' keys.  Runs inside the control channel.

    receiver                                   sender
    hello: suites, shares, features ─────────▶
                                  ◀───────────  hello: suite, session id, shares, network, features
    confirm: own network, MAC     ───────────▶  checks; a wrong MAC is a wrong try
    checks; has its result        ◀───────────  has its result; confirm: MAC

The shares are SPAKE2's (keyed by the code), X25519's and ML-KEM-768's; `agreement` says how they
and the whole transcript become keys.  The rules:

- The receiver confirms first.  An attacker that plays the receiver so commits itself to one guess
  at the code before it learns anything; only then does the sender count a wrong try.
- Whatever differs between what the two ends saw (code, a byte of a hello, a DTLS fingerprint) shows
  as a MAC that does not fit: `WrongCode`.  Only what can't be parsed or computed with fails sooner,
  as `HandshakeFailed`.
- What both ends have (`shared.capabilities`) is part of the hellos, so nobody between can take a
  feature or a suite away and be unnoticed.
- Networks are compared after the MAC, so that a `KeystreamMismatch` is never an attacker's fiction.
- Messages come once and in order.  The first error ends a machine for good, and so does its result.
- If the last message is lost, altered or overtaken by another, the sender has a result and the
  receiver has none.  No protocol can avoid that (whoever speaks last can't know that it was heard);
  the sender learns it by silence, or by a record that does not open in the `SecureChannel`.

Pure state machines: bytes in, bytes out, no clock.  One SPAKE2 costs about 20 ms a side, so callers
run `start` and `receive` in a thread.  They refuse to retry: every try is a new handshake.
"""

from __future__ import annotations

import hmac
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from spake2 import SPAKE2_A, SPAKE2_B, SPAKEError
from spake2.ed25519_basic import NotOnCurve

from shared.capabilities import Capabilities
from shared.crypto.aborts import abort_message, wrong_code
from shared.crypto.agreement import (
    AgreedKeys,
    DtlsFingerprints,
    NetworkId,
    SessionKeys,
    session_keys,
    transcript_hash,
)
from shared.crypto.messages import (
    NO_NETWORK,
    ReceiverConfirm,
    ReceiverHello,
    SenderConfirm,
    SenderHello,
    keystream_mismatch,
    other_version_hello,
    parse_receiver_confirm,
    parse_receiver_hello,
    parse_sender_confirm,
    parse_sender_hello,
)
from shared.errors import (
    BadInput,
    HandshakeFailed,
    KeystreamMismatch,
    NotSupported,
    OtherVersion,
    VeilscopeError,
)
from shared.wire import SUITE, SUITES

__all__ = [
    "OURS",
    "SESSION_ID_BYTES",
    "DtlsFingerprints",
    "NetworkId",
    "ReceiverHandshake",
    "SenderHandshake",
    "SessionKeys",
    "abort_message",
    "new_session_id",
]

SESSION_ID_BYTES = 16  # random: no two sessions' logs share a name
_NONCE_BYTES = 32
_SENDER_NAME, _RECEIVER_NAME = b"veilscope sender", b"veilscope receiver"

OURS = Capabilities()
"""What a program of this version can do."""

Entropy = Callable[[int], bytes]
"""Gives that many random bytes.  Anything but `os.urandom` is for reproducible test vectors."""


def new_session_id() -> str:
    """A random session id: 32 hex digits, no secret."""
    return os.urandom(SESSION_ID_BYTES).hex()


class _Handshake(ABC):
    """What both ends share: once over, a machine takes nothing more."""

    def __init__(self) -> None:
        self._over = False
        self._result: SessionKeys | None = None

    @property
    def result(self) -> SessionKeys | None:
        """The keys, once this end has proof that the other holds them too."""
        return self._result

    def receive(self, message: bytes) -> list[bytes]:
        """Take the other end's next message; return what to send to it.

        Raise `WrongCode`, `KeystreamMismatch`, `CodeUsed` (the other end says so) or
        `HandshakeFailed`; the handshake is then over, and `abort_message(error)` is what to send.
        """
        if self._over:
            raise HandshakeFailed("this handshake is over and takes no more messages")
        try:
            return self._step(bytes(message))
        except BaseException:
            self._end()
            raise

    def abort_message(self, error: VeilscopeError) -> bytes:
        """What to send to the other end, so that it raises the same type of error."""
        return abort_message(error)

    def _end(self) -> None:
        self._over = True

    @abstractmethod
    def _step(self, message: bytes) -> list[bytes]: ...


class SenderHandshake(_Handshake):
    """The end that made the code.

    `code_secret` is `PairingCode.secret`, `session_id` 32 hex digits (`new_session_id`),
    `fingerprints` what this end sees, `network` the keystream network it will use, `suite` what its
    stream is sealed with, whoever watches.  Raise `BadInput` if the session id is not one.
    """

    def __init__(
        self,
        code_secret: str,
        session_id: str,
        fingerprints: DtlsFingerprints,
        network: NetworkId,
        *,
        capabilities: Capabilities = OURS,
        suite: int = SUITE,
        entropy: Entropy = os.urandom,
    ) -> None:
        super().__init__()
        self._capabilities = capabilities
        self._suite = suite
        self._session_id = _session_id_bytes(session_id)
        self._fingerprints = fingerprints
        self._network = network
        self._entropy = entropy
        self._spake2 = SPAKE2_A(
            code_secret.encode(), idA=_SENDER_NAME, idB=_RECEIVER_NAME, entropy_f=entropy
        )
        self._keys: AgreedKeys | None = None  # set: the next message is the confirmation
        self._theirs = Capabilities(frozenset())  # of the receiver's hello, once there is one
        self._code_was_wrong = False

    @property
    def code_was_wrong(self) -> bool:
        """Whether the receiver committed itself to a code that did not fit: a wrong try.

        False after any other end, including an abort that claims so: those are no guesses.
        """
        return self._code_was_wrong

    def start(self) -> list[bytes]:
        """The sender speaks second: nothing to send yet."""
        return []

    def abort_message(self, error: VeilscopeError) -> bytes:
        """What to send to the other end; to one of another version, which version this one is."""
        if isinstance(error, OtherVersion):
            return other_version_hello()
        return super().abort_message(error)

    def _step(self, message: bytes) -> list[bytes]:
        return self._answer(message) if self._keys is None else self._confirm(message, self._keys)

    def _answer(self, message: bytes) -> list[bytes]:
        theirs = parse_receiver_hello(message)
        if self._suite not in theirs.suites:
            raise NotSupported(
                "the receiver does not have this sender's cipher suite",
                hint="install the same version of Veilscope on both ends",
            )
        self._theirs = theirs.capabilities
        x25519 = X25519PrivateKey.from_private_bytes(self._entropy(32))
        mlkem_secret, mlkem_ciphertext = _encapsulate(theirs.mlkem_key)
        ours = SenderHello(
            suite=self._suite,
            session_id=self._session_id,
            nonce=self._entropy(_NONCE_BYTES),
            spake2=self._spake2.start(),
            x25519=x25519.public_key().public_bytes_raw(),
            mlkem_ciphertext=mlkem_ciphertext,
            network=self._network,
            capabilities=self._capabilities,
        ).pack()
        self._keys = session_keys(
            _spake2_key(self._spake2, theirs.spake2),
            _x25519_secret(x25519, theirs.x25519),
            mlkem_secret,
            transcript_hash(self._fingerprints, message, ours),
        )
        return [ours]

    def _confirm(self, message: bytes, keys: AgreedKeys) -> list[bytes]:
        theirs = parse_receiver_confirm(message)
        if not hmac.compare_digest(
            theirs.mac, _receiver_mac(keys.confirm_receiver, theirs.network_digest)
        ):
            self._code_was_wrong = True
            raise wrong_code()
        if not hmac.compare_digest(theirs.network_digest, self._network.digest):
            raise keystream_mismatch(
                self._network.family, self._network.digest, theirs.network_digest
            )
        self._result = SessionKeys(
            session_id=self._session_id.hex(),
            network=self._network,
            control_send=keys.control_to_receiver,
            control_receive=keys.control_to_sender,
            restart_send=keys.restart_to_receiver,
            restart_receive=keys.restart_to_sender,
            suite=self._suite,
            features=self._capabilities.features & self._theirs.features,
            peer_kind=self._theirs.kind,
        )
        self._end()
        return [SenderConfirm(_sender_mac(keys.confirm_sender, message)).pack()]


class ReceiverHandshake(_Handshake):
    """The end that was told the code.

    `code_secret` is `PairingCode.secret`, `fingerprints` what this end sees.  `known_networks`
    gives the digest (32 bytes) of this end's copy of a family, None where it has no such family.
    `suites` are those that it offers.
    """

    def __init__(
        self,
        code_secret: str,
        fingerprints: DtlsFingerprints,
        known_networks: Callable[[str], bytes | None],
        *,
        capabilities: Capabilities = OURS,
        suites: Collection[int] = tuple(SUITES),
        entropy: Entropy = os.urandom,
    ) -> None:
        super().__init__()
        self._capabilities = capabilities
        self._suites = tuple(suites)
        self._fingerprints = fingerprints
        self._known_networks = known_networks
        self._nonce = entropy(_NONCE_BYTES)
        self._x25519 = X25519PrivateKey.from_private_bytes(entropy(32))
        self._mlkem = MLKEM768PrivateKey.from_seed_bytes(entropy(64))
        self._spake2 = SPAKE2_B(
            code_secret.encode(), idA=_SENDER_NAME, idB=_RECEIVER_NAME, entropy_f=entropy
        )
        self._hello: bytes | None = None
        self._keys: AgreedKeys | None = None  # set: the next message is the confirmation
        self._confirmed = b""
        self._offer: SenderHello | None = None
        self._mismatch: KeystreamMismatch | None = None

    def start(self) -> list[bytes]:
        """The receiver's hello; raise `HandshakeFailed` if it was given out before."""
        if self._hello is not None or self._over:
            raise HandshakeFailed("this handshake was started before")
        self._hello = ReceiverHello(
            suites=self._suites,
            nonce=self._nonce,
            spake2=self._spake2.start(),
            x25519=self._x25519.public_key().public_bytes_raw(),
            mlkem_key=self._mlkem.public_key().public_bytes_raw(),
            capabilities=self._capabilities,
        ).pack()
        return [self._hello]

    def _step(self, message: bytes) -> list[bytes]:
        if self._hello is None:
            raise HandshakeFailed("a handshake message came before this end's hello")
        if self._keys is None or self._offer is None:
            return self._commit(message, self._hello)
        return self._finish(message, self._keys, self._offer)

    def _commit(self, message: bytes, hello: bytes) -> list[bytes]:
        offer = parse_sender_hello(message)
        if offer.suite not in self._suites:
            raise HandshakeFailed("the sender chose a cipher suite that was not offered")
        self._keys = keys = session_keys(
            _spake2_key(self._spake2, offer.spake2),
            _x25519_secret(self._x25519, offer.x25519),
            self._mlkem.decapsulate(offer.mlkem_ciphertext),  # rejects implicitly (FIPS 203)
            transcript_hash(self._fingerprints, hello, message),
        )
        self._offer = offer
        own = self._known_networks(offer.network.family)
        held = NO_NETWORK if own is None else NetworkId(offer.network.family, own).digest
        if own is None or not hmac.compare_digest(held, offer.network.digest):
            self._mismatch = keystream_mismatch(offer.network.family, offer.network.digest, held)
        self._confirmed = ReceiverConfirm(held, _receiver_mac(keys.confirm_receiver, held)).pack()
        return [self._confirmed]

    def _finish(self, message: bytes, keys: AgreedKeys, offer: SenderHello) -> list[bytes]:
        try:
            theirs = parse_sender_confirm(message)
        except KeystreamMismatch as told:
            # Nobody in particular says so yet, nor that this is its network: what this end adds is
            # of its own network only.
            raise self._told_mismatch(told, offer.network.family) from None
        if not hmac.compare_digest(theirs.mac, _sender_mac(keys.confirm_sender, self._confirmed)):
            raise wrong_code()
        if self._mismatch is not None:
            raise self._mismatch
        self._result = SessionKeys(
            session_id=offer.session_id.hex(),
            network=offer.network,
            control_send=keys.control_to_sender,
            control_receive=keys.control_to_receiver,
            restart_send=keys.restart_to_sender,
            restart_receive=keys.restart_to_receiver,
            suite=offer.suite,
            features=self._capabilities.features & offer.capabilities.features,
            peer_kind=offer.capabilities.kind,
        )
        self._end()
        return []

    def _told_mismatch(self, told: KeystreamMismatch, family: str) -> KeystreamMismatch:
        own = self._known_networks(family)
        if own is None:
            return told
        held = f"this end's {family!r} is {own[:4].hex()}"
        return KeystreamMismatch(f"{told} ({held})", hint=told.hint)


def _receiver_mac(key: bytes, network_digest: bytes) -> bytes:
    return hmac.digest(key, network_digest, "sha256")


def _sender_mac(key: bytes, receiver_confirm: bytes) -> bytes:
    return hmac.digest(key, receiver_confirm, "sha256")


def _session_id_bytes(session_id: str) -> bytes:
    try:
        raw = bytes.fromhex(session_id)
    except ValueError:
        raw = b""
    if len(raw) != SESSION_ID_BYTES or raw.hex() != session_id:
        raise BadInput(f"a session id is {2 * SESSION_ID_BYTES} lower-case hex digits")
    return raw


def _spake2_key(exchange: SPAKE2_A | SPAKE2_B, theirs: bytes) -> bytes:
    try:
        return bytes(exchange.finish(theirs))
    except (SPAKEError, NotOnCurve, ValueError):
        raise _bad_share("SPAKE2") from None


def _x25519_secret(private: X25519PrivateKey, theirs: bytes) -> bytes:
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(theirs))
    except ValueError:  # a point of low order, whose secret would be all zero (RFC 7748 §6.1)
        raise _bad_share("X25519") from None


def _encapsulate(theirs: bytes) -> tuple[bytes, bytes]:
    try:
        return MLKEM768PublicKey.from_public_bytes(theirs).encapsulate()
    except ValueError:  # coefficients out of range (FIPS 203 §7.2)
        raise _bad_share("ML-KEM-768") from None


def _bad_share(scheme: str) -> HandshakeFailed:
    return HandshakeFailed(
        f"the other end's {scheme} share is not valid: damaged, or altered on its way",
        hint="pair again with a new code; if it happens again, do not trust this network",
    )
