"""How a receiver comes to its sender: through the room of the code, to a link and to shared keys.

What it hears through the signaling server it trusts with nothing: the handshake inside the link
decides who is at the other end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from shared.association import Association, associate
from shared.crypto.handshake import DtlsFingerprints, ReceiverHandshake
from shared.errors import LinkFailed, PeerGone, RoomUnavailable, VeilscopeError
from shared.keystream.backend import Backend, open_backend
from shared.keystream.network import DEFAULT_FAMILY, load_network, shipped_families
from shared.link import Link
from shared.restart import SILENT_S, Restarts, is_restart
from signaling.client import Relayed, SignalingClient

__all__ = ["Keystreams", "agree", "connect", "find_again"]

_LOG = logging.getLogger(__name__)


class Keystreams:
    """The networks that this end has, by family, and a backend for the one that is used.

    Which one that is becomes known in the handshake.  The likely one is opened before: loading
    torch takes seconds, during which a connected peer would hear nothing of this end.
    """

    def __init__(self, custom: str | None, device: str) -> None:
        self.networks = {family: load_network(family) for family in shipped_families()}
        likely = load_network(custom or DEFAULT_FAMILY)
        self.networks[likely.family] = likely
        self._device = device
        self._likely = likely.family, open_backend(likely, device)

    def digest(self, family: str) -> bytes | None:
        network = self.networks.get(family)
        return None if network is None else network.digest

    def backend(self, family: str) -> Backend:
        likely, backend = self._likely
        return backend if family == likely else open_backend(self.networks[family], self._device)


OFFER_TIMEOUT_S = 20.0  # the sender makes its offer as soon as it hears of us


async def connect(signaling: SignalingClient, link: Link) -> str:
    """Answer the offer of the sender in the room that was joined, and wait for the link.

    Returns the sender's peer id in that room.  Raises `LinkFailed` and `RoomUnavailable`.
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
    return sender


async def agree(link: Link, secret: str, keystreams: Keystreams) -> Association:
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


ASK_TIMEOUT_S = 12.0  # each end may ask STUN and TURN servers for 4.5 s
SERVER_TIMEOUT_S = 3.0  # a connection that takes longer began before the network was back
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 1.5, 8.0


async def find_again(
    association: Association,
    *,
    nameplate: str,
    sender: str,
    open_signaling: Callable[..., SignalingClient],
    on_restart: Callable[[], None],
) -> None:
    """Ask the sender for ICE restarts, through the room, whenever the link falls silent.

    `sender` is its peer id there.  `on_restart` is called when it has answered.  Returns once the
    link is over; what fails is tried again, with growing pauses, for as long as the silence lasts.
    """
    link, pause_s = association.link, SHORTEST_PAUSE_S
    while True:
        try:
            await link.fallen_silent(SILENT_S)
            async with (
                asyncio.timeout(ASK_TIMEOUT_S),
                open_signaling(connect_s=SERVER_TIMEOUT_S) as signaling,
            ):
                await signaling.join_room(nameplate)
                await _restart(signaling, sender, association.restarts)
                on_restart()
        except PeerGone:
            return
        except (VeilscopeError, TimeoutError) as error:
            _LOG.debug("no ICE restart: %s", type(error).__name__)
        await asyncio.sleep(pause_s)  # a new path is checked meanwhile
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S) if link.silent_s else SHORTEST_PAUSE_S


async def _restart(signaling: SignalingClient, sender: str, restarts: Restarts) -> None:
    """Ask for a restart and take the answer.

    A server that lets a receiver only answer hands the request on once the sender has made it an
    offer like any that comes: then it is said again.
    """
    request = {"type": "answer", "sdp": await restarts.ask()}
    await signaling.send(sender, request)
    async for event in signaling.events():
        match event:
            case Relayed(payload={"type": "offer", "sdp": str(answer)}) if is_restart(answer):
                return await restarts.complete(answer)
            case Relayed(payload={"type": "offer"}):
                await signaling.send(sender, request)
            case _:
                continue
    raise RoomUnavailable("the room was closed")
