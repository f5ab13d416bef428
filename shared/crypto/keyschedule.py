"""Keys of an epoch, when a new epoch is due, and which epochs a receiver still holds.

The sender draws a fresh random secret for every epoch and hands it to each receiver inside the
pairwise secure channel; nothing links one epoch's secret to the next.  From a secret, HKDF-SHA-256
(RFC 5869) gives one key per purpose under separate labels.  Pure: times come in as arguments, and
sending the secret is the caller's work.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from shared.errors import BadInput, HandshakeFailed, UnknownEpoch

__all__ = [
    "EPOCHS_KEPT",
    "REJECT_AFTER_S",
    "REKEY_AFTER_S",
    "SALT_BYTES",
    "SECRET_BYTES",
    "EpochKeys",
    "EpochReason",
    "EpochSecret",
    "ReceiverSchedule",
    "SenderSchedule",
    "derive_epoch",
]

REKEY_AFTER_S = 60.0  # half of WireGuard's 120 s: a leaked epoch costs at most a minute of video
REJECT_AFTER_S = 180.0  # WireGuard's REJECT-AFTER-TIME: a stuck rekey stops the stream, loudly
EPOCHS_KEPT = (
    2  # frames are unordered, so the last of an epoch may come after the first of the next
)
SECRET_BYTES = 32
SALT_BYTES = 12  # the width of an AES-GCM nonce

MAX_EPOCH = 2**32 - 1
MAX_SENDER = 2**16 - 1

_EXTRACT_SALT = b"veilscope 1 epoch"
_CONTEXT = struct.Struct(">IH")  # epoch, sender

EpochReason = Literal["start", "time", "join", "leave"]
"""Why the sender began an epoch."""


@dataclass(frozen=True, slots=True)
class EpochSecret:
    """What the sender hands to each receiver: `secret` is 32 random bytes."""

    epoch: int
    secret: bytes = field(repr=False)
    reason: EpochReason = "start"


@dataclass(frozen=True, slots=True)
class EpochKeys:
    """The keys of one sender's frames in one epoch.

    `seal_key` (32 bytes, AES-256-GCM), `keystream_key` (32, the learned keystream's K₂), `salt`
    (12, XORed with the counter to make a nonce), `digest_key` (32, the inner digest's GMAC).
    """

    epoch: int
    seal_key: bytes = field(repr=False)
    keystream_key: bytes = field(repr=False)
    salt: bytes = field(repr=False)
    digest_key: bytes = field(repr=False)


def derive_epoch(secret: bytes, epoch: int, sender: int) -> EpochKeys:
    """Derive the keys of `sender` (u16) in `epoch` (u32) from the 32-byte `secret`.

    PRK = HKDF-Extract("veilscope 1 epoch", secret); each key = HKDF-Expand(PRK, "veilscope 1 " ‖
    label ‖ 0x00 ‖ epoch ‖ sender).  Raise `BadInput` when an argument is out of range.
    """
    if len(secret) != SECRET_BYTES:
        raise BadInput(f"an epoch secret has {SECRET_BYTES} bytes")
    if not (0 <= epoch <= MAX_EPOCH and 0 <= sender <= MAX_SENDER):
        raise BadInput("an epoch is a 32-bit and a sender a 16-bit number")
    prk = HKDF.extract(hashes.SHA256(), _EXTRACT_SALT, secret)
    context = _CONTEXT.pack(epoch, sender)

    def expand(label: bytes, length: int) -> bytes:
        info = b"veilscope 1 " + label + b"\x00" + context
        return HKDFExpand(hashes.SHA256(), length, info).derive(prk)

    return EpochKeys(
        epoch=epoch,
        seal_key=expand(b"seal", 32),
        keystream_key=expand(b"keystream", 32),
        salt=expand(b"salt", SALT_BYTES),
        digest_key=expand(b"digest", 32),
    )


class SenderSchedule:
    """The sender's side: begins epochs, says when one is due, refuses to seal under an old one.

    Epochs are numbered from 1 and only ever increase.  `rotate` does not switch the sealer: the
    caller hands the secret to its receivers first and then seals under the new `keys`.
    """

    def __init__(
        self,
        sender: int,
        *,
        rekey_after_s: float = REKEY_AFTER_S,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        if not 0 <= sender <= MAX_SENDER:
            raise BadInput("a sender is a 16-bit number")
        if not 0 < rekey_after_s <= REKEY_AFTER_S:
            raise BadInput(f"a new epoch is due after at most {REKEY_AFTER_S:g} s")
        self._sender = sender
        self._rekey_after_ns = round(rekey_after_s * 1e9)
        self._entropy = entropy
        self._newest = 0
        self._born: dict[int, tuple[int, EpochKeys]] = {}  # epoch -> (when it began, its keys)

    def start(self, now_ns: int) -> EpochSecret:
        """Begin the first epoch; raise `BadInput` if one has begun."""
        if self._newest:
            raise BadInput("this key schedule has started already")
        return self._begin(now_ns, "start")

    def rotate(self, now_ns: int, reason: EpochReason) -> EpochSecret:
        """Begin the next epoch; raise `BadInput` if none has begun or the numbers ran out."""
        if not self._newest:
            raise BadInput("this key schedule has not started yet")
        return self._begin(now_ns, reason)

    def due(self, now_ns: int) -> bool:
        """Whether the newest epoch is old enough for the next to begin."""
        return now_ns - self._born[self._newest][0] >= self._rekey_after_ns if self._born else True

    def keys(self, epoch: int, now_ns: int) -> EpochKeys:
        """The keys to seal under at `now_ns`.

        Raise `UnknownEpoch` if `epoch` never began, lies behind the two newest, or began
        `REJECT_AFTER_S` or longer ago: ask before every frame, and an epoch can't outlive that.
        """
        held = self._born.get(epoch)
        if held is None:
            raise UnknownEpoch(f"epoch {epoch} is not one that this sender seals under")
        born_ns, keys = held
        if now_ns - born_ns >= REJECT_AFTER_S * 1e9:
            raise UnknownEpoch(
                f"epoch {epoch} is {REJECT_AFTER_S:g} s old: nothing more is sealed under it",
                hint="the receivers did not take a new epoch; pair again",
            )
        return keys

    def _begin(self, now_ns: int, reason: EpochReason) -> EpochSecret:
        if self._newest == MAX_EPOCH:
            raise BadInput("this session has used up its epochs; start a new one")
        secret = self._entropy(SECRET_BYTES)
        self._newest += 1
        self._born[self._newest] = (now_ns, derive_epoch(secret, self._newest, self._sender))
        for epoch in [e for e in self._born if e <= self._newest - EPOCHS_KEPT]:
            del self._born[epoch]
        return EpochSecret(self._newest, secret, reason)


class ReceiverSchedule:
    """The receiver's side: takes the epochs that one sender hands over, keeps the two newest."""

    def __init__(self, sender: int) -> None:
        if not 0 <= sender <= MAX_SENDER:
            raise BadInput("a sender is a 16-bit number")
        self._sender = sender
        self._keys: dict[int, EpochKeys] = {}
        self._newest = 0

    def install(self, secret: EpochSecret) -> EpochKeys:
        """Take an epoch and return its keys.

        Raise `HandshakeFailed` if it is not newer than all before it (an old epoch would start
        again at counter 0 with an empty replay window), `BadInput` if a field is out of range.
        """
        if secret.epoch <= self._newest:
            raise HandshakeFailed("the sender announced an epoch that does not follow the last")
        keys = derive_epoch(secret.secret, secret.epoch, self._sender)
        self._newest = secret.epoch
        self._keys[secret.epoch] = keys
        while len(self._keys) > EPOCHS_KEPT:
            del self._keys[min(self._keys)]
        return keys

    def keys(self, epoch: int) -> EpochKeys:
        """The keys of `epoch`; raise `UnknownEpoch` unless it is one of the two newest."""
        keys = self._keys.get(epoch)
        if keys is None:
            raise UnknownEpoch(f"no key is held for epoch {epoch}")
        return keys
