"""An ICE restart (RFC 8445 section 9) that somebody else carries: the signaling server.

Where neither end's packets reach the other any more, each must learn where the other is now.  The
receiver, which left the server once it had paired, asks through it, and the sender answers.  What
they say is sealed under keys of their handshake: the server learns no address, and neither it nor
anybody in the room can start a restart, alter one, or repeat one.

Each request has a number, counted from 1, and the answer to it has the same.  AES-256-GCM with a
key for each direction, the number as nonce: no number is sealed twice, as the sender answers each
once and only ones above the last.
"""

from __future__ import annotations

import base64
import binascii
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.crypto.agreement import SessionKeys
from shared.errors import AuthenticationFailed, LinkFailed
from shared.link import Link

__all__ = ["SILENT_S", "Restarts", "is_restart"]

# Of a path that had not answered for 0.4 s before; most are found again by then.
SILENT_S = 0.6

_WORD = "restart:"  # a session description begins with v=0
_LABEL = b"veilscope 1 restart"

EVERY_NS = 1_000_000_000  # 1 s between two that are answered: each asks all servers
_NUMBER = struct.Struct(">Q")


def is_restart(text: str) -> bool:
    """Whether this says that it belongs to a restart, and is no session description."""
    return text.startswith(_WORD)


class Restarts:
    """The restarts of one link, at either of its ends; `keys` are those of its handshake."""

    def __init__(self, link: Link, keys: SessionKeys) -> None:
        self._link = link
        self._sealer = AESGCM(keys.restart_send)
        self._opener = AESGCM(keys.restart_receive)
        self._number = 0  # of the newest request
        self._answered_ns: int | None = None

    async def ask(self) -> str:
        """Begin a restart; the text for the other end.  Raises `LinkFailed`, `PeerGone`."""
        offer = await self._link.restart_offer()
        self._number += 1
        return self._seal(self._number, offer)

    async def complete(self, answer: str) -> None:
        """Take the other end's answer to the newest request.

        Raises `AuthenticationFailed` for what is none, `LinkFailed` for one that can't be used.
        """
        number, answered = self._open(answer)
        if number != self._number:
            raise AuthenticationFailed("an answer to another restart than the last one asked for")
        await self._link.complete_restart(answered)

    def opens(self, text: str) -> bool:
        """Whether this is a request of the other end, and a newer one than any that was taken."""
        try:
            return self._open(text)[0] > self._number
        except AuthenticationFailed:
            return False

    async def answer(self, request: str) -> str:
        """Take a request that `opens`; the text for the other end.

        Raises `AuthenticationFailed` for what is none, and `LinkFailed` for one that can't be used
        or comes within `EVERY_NS` of the last: each asks all STUN and TURN servers.
        """
        number, offer = self._open(request)
        if number <= self._number:
            raise AuthenticationFailed("a request for a restart came twice")
        now_ns = self._link.now_ns()
        if self._answered_ns is not None and now_ns - self._answered_ns < EVERY_NS:
            raise LinkFailed("ICE restarts are asked for too often")
        self._number, self._answered_ns = number, now_ns
        return self._seal(number, await self._link.accept_restart(offer))

    def _seal(self, number: int, fragment: str) -> str:
        head = _NUMBER.pack(number)
        sealed = self._sealer.encrypt(number.to_bytes(12, "big"), fragment.encode(), _LABEL)
        return _WORD + base64.b64encode(head + sealed).decode()

    def _open(self, text: str) -> tuple[int, str]:
        try:
            data = base64.b64decode(text.removeprefix(_WORD), validate=True)
            (number,) = _NUMBER.unpack_from(data)
            opened = self._opener.decrypt(number.to_bytes(12, "big"), data[_NUMBER.size :], _LABEL)
            return number, opened.decode()
        except (ValueError, binascii.Error, struct.error, InvalidTag):
            raise AuthenticationFailed(
                "what should be of a restart is not the other end's"
            ) from None
