"""Sealing and opening one frame.

    sealed = header ‖ AES-256-GCM(K₁, nonce = salt ⊕ counter, AAD = header,
                                  (inner ⊕ G(K₂, counter)) ‖ digest)
    digest = AES-256-GMAC(K₃, nonce = salt ⊕ counter, inner), 16 bytes

Confidentiality and integrity rest on the AES-256-GCM layer alone.  G, the learned keystream, is
under it, keyed apart, and only ever runs on a received frame whose tag is good; nothing is assumed
of it (docs/SECURITY.md).  The digest is there because the tag covers the wrapped bytes only: two
ends whose keystreams differ would otherwise show noise without noticing.  It is a one-time
polynomial MAC, so it runs at the speed of the cipher: it misses a difference of up to 64 MiB that
was fixed without K₃ with a chance below 2⁻¹⁰⁵.  It commits to nothing (whoever holds K₃ finds two
frames with one digest), and a second use of a counter would give its key away, as in the seal.

This file refuses to seal twice under one counter and to say which byte of a bad frame was bad.
"""

from __future__ import annotations

import hmac
import threading
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from shared.crypto.keyschedule import MAX_SENDER, SALT_BYTES, EpochKeys
from shared.errors import (
    AuthenticationFailed,
    BadInput,
    KeystreamDisagreed,
    MalformedFrame,
    Replayed,
    UnknownEpoch,
)
from shared.wire import HEADER, SUITE, SealedHeader, pack_header, parse_header

__all__ = [
    "DIGEST_BYTES",
    "SEAL_OVERHEAD",
    "WINDOW_SIZE",
    "Keystream",
    "OpenedFrame",
    "Opener",
    "Pad",
    "ReplayWindow",
    "Sealer",
]

WINDOW_SIZE = 1024  # frames: 17 s at 60 fps, far beyond any reordering that a live picture survives


class ReplayWindow:
    """Accepts each counter (u64) once, in any order within `size` of the newest accepted."""

    def __init__(self, size: int = WINDOW_SIZE) -> None:
        if size < 1:
            raise BadInput("a replay window holds at least one counter")
        self._size = size
        self._mask = (1 << size) - 1
        self._newest = -1
        self._seen = 0  # bit i: counter `newest - i` was accepted

    def check(self, counter: int) -> None:
        """Raise `Replayed` if `counter` was accepted before or lies behind the window."""
        age = self._newest - counter
        if age < 0:
            return
        if age >= self._size:
            raise Replayed("a frame older than the replay window arrived")
        if self._seen >> age & 1:
            raise Replayed("a frame arrived a second time")

    def mark(self, counter: int) -> None:
        """Record `counter` as accepted; raise `Replayed` as `check` does."""
        self.check(counter)
        advance = counter - self._newest
        if advance > 0:
            # A counter can jump by 2^64: never shift by more than the window.
            self._seen = (self._seen << advance) & self._mask if advance < self._size else 0
            self._newest = counter
        self._seen |= 1 << (self._newest - counter)


DIGEST_BYTES = 16
_TAG_BYTES = 16  # of AES-GCM and of GMAC, in full
_ROOM = DIGEST_BYTES + _TAG_BYTES
SEAL_OVERHEAD = HEADER.size + _ROOM  # bytes; sealed minus inner

_MAX_COUNTER = 2**64 - 1
_KEPT_NBYTES = 16 << 20  # of an opener's scratch from frame to frame: a raw 2560x1440 RGB picture
Buffer = bytes | bytearray | memoryview


class Keystream(Protocol):
    """Where pads come from: the learned keystream under one epoch's keystream key."""

    def take(self, counter: int, nbytes: int) -> NDArray[np.uint8]:
        """Return `nbytes` of keystream for `counter`, fresh: the caller may overwrite them.

        Each counter is asked for at most once.
        """


class Pad:
    """The keystream of one counter, drawn by a `Sealer` and good for one `seal` of that sealer."""

    __slots__ = ("_owner", "_stream", "counter", "nbytes")

    def __init__(self, owner: Sealer, counter: int, stream: NDArray[np.uint8]) -> None:
        self._owner = owner
        self._stream: NDArray[np.uint8] | None = stream  # and room for digest and tag
        self.counter = counter
        self.nbytes = stream.size - _ROOM

    def __repr__(self) -> str:
        return f"Pad(counter={self.counter}, nbytes={self.nbytes})"


@dataclass(frozen=True, slots=True)
class OpenedFrame:
    """A frame that passed every check; `inner` is for `shared.wire.parse_inner`."""

    header: SealedHeader
    inner: memoryview


class Sealer:
    """Seals one sender's frames of one epoch under counters 0, 1, 2, …, each used once.

    `suite` is the one that the handshake agreed on (`shared.wire.SUITES`).
    Safe to draw and seal from several threads.  A pad that is drawn and not sealed leaves a gap in
    the counters, which receivers take for a lost frame.
    """

    def __init__(
        self, keys: EpochKeys, sender: int, keystream: Keystream, *, suite: int = SUITE
    ) -> None:
        if not 0 <= sender <= MAX_SENDER:
            raise BadInput("a sender is a 16-bit number")
        self._suite = suite
        self._keys = keys
        self._sender = sender
        self._keystream = keystream
        self._aead = AESGCM(keys.seal_key)
        self._gmac = AESGCM(keys.digest_key)
        self._in_place = _encrypts_in_place()
        self._next = 0
        self._lock = threading.Lock()

    @property
    def epoch(self) -> int:
        return self._keys.epoch

    def draw(self, nbytes: int) -> Pad:
        """Take the next counter and its `nbytes` of keystream: as many as `inner` will have.

        Raise `BadInput` for a negative size and when the epoch's counters ran out.
        """
        if nbytes < 0:
            raise BadInput("a pad can't have a negative size")
        with self._lock:
            counter = self._next
            if counter > _MAX_COUNTER:
                raise BadInput("this epoch's counters are used up; begin the next epoch")
            self._next += 1
        # The last bytes are never used as keystream: digest and tag get their place.
        wanted = nbytes + _ROOM
        return Pad(self, counter, _checked(self._keystream.take(counter, wanted), wanted))

    def seal(self, pad: Pad, inner: Buffer, flags: int = 0) -> bytes:
        """Seal `inner` (`shared.wire.pack_inner`) under `pad`; `SEAL_OVERHEAD` bytes longer.

        Raise `BadInput` if the pad was sealed with before, is another sealer's, or differs from
        `inner` in size.  A pad that was refused for its size is spent all the same.
        """
        with self._lock:
            stream, pad._stream = pad._stream, None
        if stream is None:
            raise BadInput("this pad was sealed with before; each pad seals once")
        if pad._owner is not self:
            raise BadInput("this pad belongs to another epoch or another sender")
        size = len(inner)
        if size != pad.nbytes:
            raise BadInput("a pad must have exactly the size of what it seals")
        header = pack_header(
            SealedHeader(self._suite, flags, self._sender, self._keys.epoch, pad.counter)
        )
        nonce = _nonce(self._keys.salt, pad.counter)
        # All in the pad's own memory: after a pause what is touched for the first time is what
        # costs.
        masked, view = stream[:size], stream.data
        np.bitwise_xor(np.frombuffer(inner, np.uint8), masked, out=masked)
        self._gmac.encrypt_into(nonce, b"", inner, view[size : size + DIGEST_BYTES])
        wrapped = view[: size + DIGEST_BYTES]
        if not self._in_place:
            return header + self._aead.encrypt(nonce, wrapped, header)
        self._aead.encrypt_into(nonce, wrapped, header, view)
        return b"".join((header, view))


class Opener:
    """Opens one sender's frames of one epoch, each counter once, in any order within the window.

    `suite` is the one that the handshake agreed on: a frame of another is refused.
    The order of checks is part of the protocol: header, replay, tag, mark, keystream, digest.
    Frames may be opened from several threads.
    """

    def __init__(
        self, keys: EpochKeys, sender: int, keystream: Keystream, *, suite: int = SUITE
    ) -> None:
        if not 0 <= sender <= MAX_SENDER:
            raise BadInput("a sender is a 16-bit number")
        self._suite = suite
        self._keys = keys
        self._sender = sender
        self._keystream = keystream
        self._aead = AESGCM(keys.seal_key)
        self._gmac = AESGCM(keys.digest_key)
        self._window = ReplayWindow()
        self._lock = threading.Lock()
        self._scratch = _Scratch()

    @property
    def epoch(self) -> int:
        return self._keys.epoch

    def open(self, sealed: Buffer, header: SealedHeader | None = None) -> OpenedFrame:
        """Open a sealed frame; `header` is its own, where the caller has parsed it already.

        Raise `MalformedFrame`, `UnknownEpoch` (it belongs to another `Opener`), `Replayed`,
        `AuthenticationFailed` or `KeystreamDisagreed`.  Only a frame whose tag is good is marked
        as seen and reaches the keystream.
        """
        if header is None:
            header = parse_header(sealed)
        if header.suite != self._suite:
            raise MalformedFrame(f"a sealed frame has suite {header.suite}, not the agreed one")
        if len(sealed) < SEAL_OVERHEAD:
            raise MalformedFrame("a sealed frame is shorter than its digest and tag")
        if header.epoch != self._keys.epoch:
            raise UnknownEpoch(f"a frame of epoch {header.epoch} came to epoch {self.epoch}")
        if header.sender != self._sender:
            raise AuthenticationFailed("a frame names another sender than the paired one")
        with self._lock:
            self._window.check(header.counter)
        view = memoryview(sealed)
        aad = bytes(view[: HEADER.size])
        nonce = _nonce(self._keys.salt, header.counter)
        size = len(view) - SEAL_OVERHEAD
        scratch = self._scratch.borrow(size + DIGEST_BYTES)
        try:
            wrapped = scratch[: size + DIGEST_BYTES]
            self._decrypt(nonce, view[HEADER.size :], aad, wrapped)
            with self._lock:
                # Marking checks again: a second thread may hold the same frame.
                self._window.mark(header.counter)
            stream = _checked(self._keystream.take(header.counter, size), size)
            np.bitwise_xor(wrapped[:size], stream, out=stream)
            inner = stream.data.toreadonly()
            digest = self._gmac.encrypt(nonce, b"", inner)
            if not hmac.compare_digest(digest, wrapped[size:].data):
                raise KeystreamDisagreed(
                    "the two ends' keystreams differ for a frame; it is not shown"
                )
        finally:
            self._scratch.give_back(scratch)
        return OpenedFrame(header, inner)

    def _decrypt(
        self, nonce: bytes, body: memoryview, aad: bytes, wrapped: NDArray[np.uint8]
    ) -> None:
        try:
            self._aead.decrypt_into(nonce, body, aad, wrapped.data)
        except InvalidTag:
            raise AuthenticationFailed(
                "a frame was altered on its way, or is not the sender's"
            ) from None


class _Scratch:
    """A buffer kept from frame to frame, since fresh memory costs as much as the XOR into it.

    It holds wrapped bytes only, never a picture's.  Who finds it lent out gets one of their own.
    """

    def __init__(self) -> None:
        self._idle: list[NDArray[np.uint8]] = []  # append and pop are atomic

    def borrow(self, nbytes: int) -> NDArray[np.uint8]:
        """Lend at least `nbytes` uint8 of whatever content."""
        try:
            buffer = self._idle.pop()
        except IndexError:
            return np.empty(nbytes, np.uint8)
        if buffer.size >= nbytes:
            return buffer
        return np.empty(nbytes + nbytes // 8, np.uint8)  # the next may be a little larger

    def give_back(self, buffer: NDArray[np.uint8]) -> None:
        if buffer.size <= _KEPT_NBYTES:
            self._idle.append(buffer)


@cache
def _encrypts_in_place() -> bool:
    """Whether AES-GCM may write where it reads from, tried once in each process.

    OpenSSL promises it of its ciphers; `cryptography`, which lies between, promises nothing.
    """
    aead, nonce, text = AESGCM(bytes(32)), bytes(12), bytes(range(251)) * 257  # 63 KiB, no block's
    view = memoryview(bytearray(text + bytes(_TAG_BYTES)))
    try:
        aead.encrypt_into(nonce, view[: len(text)], b"", view)
    except Exception:  # in whatever way it is refused
        return False
    return view == aead.encrypt(nonce, text, b"")


def _checked(stream: NDArray[np.uint8], nbytes: int) -> NDArray[np.uint8]:
    """Guard the seal against a keystream that breaks its promise."""
    if stream.dtype != np.uint8 or stream.shape != (nbytes,):
        raise BadInput("the keystream gave something else than the bytes it was asked for")
    return stream


def _nonce(salt: bytes, counter: int) -> bytes:
    """`salt ⊕ counter`, 96 bits, as SFrame makes it (RFC 9605 §4.4.3)."""
    return (int.from_bytes(salt, "big") ^ counter).to_bytes(SALT_BYTES, "big")
