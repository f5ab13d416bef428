"""Sealed messages over a reliable, ordered channel, once the handshake has given both keys.

AES-256-GCM with an implicit 96-bit record counter in each direction (as TLS 1.3 numbers its
records, RFC 8446 §5.3): a record that is dropped, repeated, reordered, reflected or altered fails
its tag.  No retransmission, no resynchronisation: after one gap the channel is of no more use.
"""

from __future__ import annotations

import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.errors import AuthenticationFailed, BadInput

__all__ = ["RECORD_OVERHEAD", "SecureChannel"]

RECORD_OVERHEAD = 16  # bytes of the GCM tag
_LABEL = b"veilscope 1 control"


class SecureChannel:
    """One end of the channel; the other end holds the same two 32-byte keys the other way round."""

    def __init__(self, send_key: bytes, receive_key: bytes) -> None:
        if len(send_key) != 32 or len(receive_key) != 32:
            raise BadInput("a secure channel takes two keys of 32 bytes")
        if hmac.compare_digest(send_key, receive_key):
            raise BadInput("a secure channel takes a key of its own for each direction")
        self._sealer = AESGCM(send_key)
        self._opener = AESGCM(receive_key)
        self._sent = 0
        self._received = 0

    def seal(self, plaintext: bytes) -> bytes:
        """Seal the next record; it is `RECORD_OVERHEAD` bytes longer than `plaintext`."""
        nonce = self._sent.to_bytes(12, "big")
        self._sent += 1
        return self._sealer.encrypt(nonce, plaintext, _LABEL)

    def open(self, record: bytes) -> bytes:
        """Open the next record; raise `AuthenticationFailed` if it is not the next one sent."""
        try:
            plaintext = self._opener.decrypt(self._received.to_bytes(12, "big"), record, _LABEL)
        except InvalidTag:
            raise AuthenticationFailed(
                "a control message was lost, repeated or altered on its way"
            ) from None
        self._received += 1
        return plaintext
