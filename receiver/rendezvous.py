"""How a receiver comes to its sender: through the room of the code, to a link and to shared keys.

What it hears through the signaling server it trusts with nothing: the handshake inside the link
decides who is at the other end.
"""

from __future__ import annotations

import asyncio

from receiver.keystreams import Keystreams
from shared.association import Association, associate
from shared.crypto.handshake import DtlsFingerprints, ReceiverHandshake
from shared.errors import LinkFailed, RoomUnavailable
from shared.link.webrtc.peer import PeerLink
from signaling.client import Relayed, SignalingClient

__all__ = ["agree", "connect"]

OFFER_TIMEOUT_S = 20.0  # the sender makes its offer as soon as it hears of us


async def connect(signaling: SignalingClient, link: PeerLink) -> None:
    """Answer the offer of the sender in the room that was joined, and wait for the link.

    Raises `LinkFailed` and `RoomUnavailable`.
    """
    try:
        async with asyncio.timeout(OFFER_TIMEOUT_S):
            sender, offer = await _first_offer(signaling)
    except TimeoutError:
        raise LinkFailed(
            "the sender did not make an offer in time",
            hint="check that the sender still waits, and try again",
        ) from None
    answer = await link.accept_offer(offer)
    await signaling.send(sender, {"type": "answer", "sdp": answer})
    await link.connected()


async def agree(link: PeerLink, secret: str, keystreams: Keystreams) -> Association:
    """Pair with whoever is at the other end of `link`, if it knows the code's `secret` too.

    Raises `WrongCode`, `CodeUsed`, `Busy`, `NotNow`, `KeystreamMismatch`, `HandshakeFailed` (of
    which `OtherVersion` and `NotSupported` are kinds) and `PeerGone`.
    """
    local, remote = link.fingerprints
    fingerprints = DtlsFingerprints(sender=remote, receiver=local)
    return await associate(link, ReceiverHandshake(secret, fingerprints, keystreams.digest))


async def _first_offer(signaling: SignalingClient) -> tuple[str, str]:
    """Wait for the sender's offer; returns the sender's peer id and the SDP."""
    async for event in signaling.events():
        match event:
            case Relayed(sender_peer=peer, payload={"type": "offer", "sdp": str(sdp)}):
                return peer, sdp
            case _:
                continue
    raise RoomUnavailable(
        "the room was closed before the sender made an offer",
        hint="ask whether the sender still runs, and for a new code",
    )
