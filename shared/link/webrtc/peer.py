"""The link over WebRTC: two data channels of an aiortc peer connection.

The sending program makes the offer and the channels; the receiving one answers.  Offer and answer
travel through the signaling server.  By default it contacts nothing but the addresses in the other
end's description: no STUN server, no TURN server.  It takes nothing but one data-channel section
from the other end, and no channel but the two that it knows.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from aiortc import (
    RTCConfiguration,
    RTCDataChannel,
    RTCPeerConnection,
    RTCSctpTransport,
    RTCSessionDescription,
)

from shared.errors import BadInput, LinkFailed
from shared.link.endpoint import Endpoint
from shared.link.heartbeat import PEER_SILENCE_S
from shared.link.link import Fingerprints, IceServer, LinkEnd
from shared.link.webrtc.descriptions import is_ours, without_names
from shared.link.webrtc.ice import (
    dtls_fingerprints,
    ice_connection,
    prepare_ice,
    tune_sctp,
)
from shared.link.webrtc.iceservers import rtc_ice_server
from shared.link.webrtc.sctp import UnreliablePath

__all__ = ["LinkFactory", "PeerLink"]

_LOG = logging.getLogger(__name__)

_T = TypeVar("_T")


class PeerLink(Endpoint):
    """One end of a WebRTC link; see `shared.link.Link` for what it does once connected.

    Made inside a running event loop.  The offering end calls `create_offer` and `accept_answer`,
    the other `accept_offer`; then both `connected()`.  Use it as `async with`, or `close()` it.

    `ice_servers`: STUN and TURN servers; of each kind aiortc uses the first.  `host_addresses`:
    the addresses of this machine to use, all of them by default; where they are all loopback
    addresses, no server is contacted and nothing leaves the machine.  `silence_s`: after how long
    without a sign of life the other end counts as gone.  Raises `BadInput` for what can't be used
    (see `usable_ice_servers`).
    """

    def __init__(
        self,
        *,
        ice_servers: Sequence[IceServer] = (),
        host_addresses: Sequence[str] | None = None,
        silence_s: float = PEER_SILENCE_S,
    ) -> None:
        super().__init__(silence_s=silence_s)
        self._host_addresses = _checked_addresses(host_addresses)
        servers = [rtc_ice_server(server) for server in ice_servers]
        if servers and _stays_inside(self._host_addresses):
            _LOG.warning("no STUN or TURN server is contacted: only loopback addresses are used")
            servers = []
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        self._negotiation: asyncio.Task[Any] | None = None
        self._control: RTCDataChannel | None = None
        self._frames_channel: RTCDataChannel | None = None
        self._frames_path: UnreliablePath | None = None
        self._connection.on("datachannel", self._adopt_channel)
        self._connection.on("connectionstatechange", self._connection_changed)

    # -- offer and answer -------------------------------------------------------------------------

    async def create_offer(self) -> str:
        """Make the channels and return the description (SDP) to hand to the other end.

        Raises `LinkFailed` where this machine has no network address.
        """
        return await self._negotiate(self._create_offer)

    async def accept_offer(self, sdp: str) -> str:
        """Take the other end's offer and return the answer to hand back; raises `LinkFailed`."""
        return await self._negotiate(lambda: self._accept_offer(sdp))

    async def accept_answer(self, sdp: str) -> None:
        """Take the other end's answer; raises `LinkFailed`."""
        await self._negotiate(lambda: self._set_remote("answer", sdp))

    async def _negotiate(self, step: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Run a step to its end even if our caller is cancelled: `_release` waits for it.

        A step cut short would leave sockets behind that aiortc does not know of yet.
        """
        self._lifetime.raise_if_over()
        task = asyncio.get_running_loop().create_task(step())
        self._negotiation = task
        return await asyncio.shield(task)

    async def _create_offer(self) -> str:
        self._control = self._connection.createDataChannel("control")
        self._frames_channel = self._connection.createDataChannel(
            "frames", ordered=False, maxRetransmits=0
        )
        self._watch(self._control)
        self._watch(self._frames_channel)
        self._prepare_transport()
        await self._connection.setLocalDescription(await self._connection.createOffer())
        return self._local_description()

    async def _accept_offer(self, sdp: str) -> str:
        await self._set_remote("offer", sdp)
        self._prepare_transport()
        await self._connection.setLocalDescription(await self._connection.createAnswer())
        return self._local_description()

    async def _set_remote(self, kind: str, sdp: str) -> None:
        sdp = without_names(sdp)
        if not is_ours(sdp):
            raise LinkFailed(f"the other end's {kind} is not one of Veilscope's")
        try:
            await self._connection.setRemoteDescription(RTCSessionDescription(sdp=sdp, type=kind))
        except Exception:  # aiortc's parser raises whatever it stumbles over
            raise LinkFailed(f"the other end's {kind} can't be read") from None
        if kind == "answer":
            return  # who answers has our addresses: its own show with its first check
        if not self._sctp().transport.transport.getRemoteCandidates():
            raise LinkFailed(
                "the other end gave no network address",
                hint="is it connected to a network?",
            )

    def _prepare_transport(self) -> None:
        sctp = self._sctp()
        prepare_ice(ice_connection(sctp), self._host_addresses)
        tune_sctp(sctp)
        self._frames_path = UnreliablePath(sctp, self._on_frames_message)
        sctp.transport.on("statechange", self._dtls_changed)

    def _local_description(self) -> str:
        if not self._sctp().transport.transport.iceGatherer.getLocalCandidates():
            raise LinkFailed(
                "this machine has no network address that can be used",
                hint="connect it to a network, or check the host addresses given",
            )
        return self._connection.localDescription.sdp

    def _sctp(self) -> RTCSctpTransport:
        if self._connection.sctp is None:
            raise LinkFailed("the link has no transport yet")
        return self._connection.sctp

    # -- channels and their transport -------------------------------------------------------------

    def _adopt_channel(self, channel: RTCDataChannel) -> None:
        if _is_control(channel) and self._control is None:
            self._control = channel
        elif _is_frames(channel) and self._frames_channel is None:
            self._frames_channel = channel
        else:
            channel.close()
            return
        self._watch(channel)
        self._channel_opened()

    def _watch(self, channel: RTCDataChannel) -> None:
        if channel is self._frames_channel:
            channel.on("message", self._frames_arrived)
        else:
            channel.on("message", self._control_arrived)
        channel.on("open", self._channel_opened)
        channel.on("close", self._channel_closed)

    def _frames_arrived(self, message: bytes | str) -> None:
        self._on_frames_message(message if isinstance(message, bytes) else b"")

    def _control_arrived(self, message: bytes | str) -> None:
        self._on_control_message(message if isinstance(message, bytes) else b"")

    def _channel_opened(self) -> None:
        channels = (self._control, self._frames_channel)
        if all(channel is not None and channel.readyState == "open" for channel in channels):
            if self._frames_path is not None and self._frames_channel is not None:
                self._frames_path.stream = self._frames_channel.id
            self._on_open()

    def _channel_closed(self) -> None:
        self._on_transport_closed(LinkEnd("peer"))

    def _dtls_changed(self) -> None:
        state = self._sctp().transport.state
        if state == "closed":  # by the other end's close_notify, else our own end came first
            self._on_transport_closed(LinkEnd("peer"))
        elif state == "failed":
            self._on_transport_closed(LinkEnd("lost", "their secure connection (DTLS) failed"))

    def _connection_changed(self) -> None:
        if self._connection.connectionState == "failed":
            self._on_transport_closed(LinkEnd("lost", "there is no network path between them"))

    # -- what Endpoint needs ----------------------------------------------------------------------

    @property
    def fingerprints(self) -> Fingerprints:
        """(ours, theirs) of the DTLS certificates in use; raises `LinkFailed` if not connected."""
        return dtls_fingerprints(self._sctp().transport)

    def _post_frames(self, *messages: bytes) -> None:
        if self._frames_path is not None and not self._transport_closed:
            self._frames_path.send(*messages)

    def _post_control(self, message: bytes) -> None:
        # A channel that is closing reports that by itself.
        channel = self._control
        if channel is not None and channel.readyState == "open" and not self._transport_closed:
            channel.send(message)

    async def _release(self) -> None:
        if self._negotiation is not None:
            await asyncio.wait([self._negotiation])
            if not self._negotiation.cancelled():
                self._negotiation.exception()  # retrieved, should our caller have been cancelled
        await self._connection.close()
        await asyncio.sleep(0)  # aiortc cancels its reader without waiting for it to end


def _is_control(channel: RTCDataChannel) -> bool:
    reliable = channel.maxRetransmits is None and channel.maxPacketLifeTime is None
    return channel.label == "control" and channel.ordered and reliable


def _is_frames(channel: RTCDataChannel) -> bool:
    sent_once = channel.maxRetransmits == 0 and channel.maxPacketLifeTime is None
    return channel.label == "frames" and not channel.ordered and sent_once


class LinkFactory(Protocol):
    """Makes a session's links: `PeerLink` itself, or what a test puts in its place."""

    def __call__(
        self, *, ice_servers: Sequence[IceServer], host_addresses: Sequence[str] | None
    ) -> PeerLink: ...


def _checked_addresses(addresses: Sequence[str] | None) -> list[str] | None:
    if addresses is None:
        return None
    try:
        return [str(ipaddress.ip_address(address)) for address in addresses]
    except ValueError:
        raise BadInput("a host address must be an IPv4 or IPv6 address") from None


def _stays_inside(addresses: list[str] | None) -> bool:
    """Whether a link from these addresses can reach this machine alone."""
    if not addresses:
        return False
    return all(ipaddress.ip_address(address).is_loopback for address in addresses)
