"""The transport over WebRTC: two data channels of an aiortc peer connection.

The sending program makes the offer and the channels; the receiving one answers.  Offer and answer
travel through the signaling server.  By default it contacts nothing but the addresses in the other
end's description: no STUN server, no TURN server.  It takes nothing but one data-channel section
from the other end, and no channel but the two that it knows.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import ssl
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from aiortc import (
    RTCConfiguration,
    RTCDataChannel,
    RTCPeerConnection,
    RTCSctpTransport,
    RTCSessionDescription,
)

from shared.errors import BadInput, LinkFailed
from shared.link.events import Fingerprints, IceServer, LinkEnd
from shared.link.messages import OVERHEAD_BYTES, OVERHEAD_IPV6_BYTES
from shared.link.transport import Timer, Transport, TransportUser
from shared.link.webrtc.addresses import only_loopback
from shared.link.webrtc.agent import IceAgent, IcePath
from shared.link.webrtc.descriptions import cleaned, is_ours
from shared.link.webrtc.ice import dtls_fingerprints, install_agent
from shared.link.webrtc.iceservers import server_urls
from shared.link.webrtc.sctp import UnreliablePath

__all__ = ["WebRtcTransport"]

_LOG = logging.getLogger(__name__)

_T = TypeVar("_T")

# What comes to the end that offers, which sends the frames: reports and pings, some hundred a
# second at most.  A stall of either program or of the network brings those of its whole length.
MESSAGES_PER_S = 2_000.0
MESSAGES_AT_ONCE = 20_000.0

MAX_TOLD = 3  # failed servers in one message

# Of a datagram, beside the message: SCTP 12 + 16, a DTLS 1.2 record with AES-GCM 13 + 8 + 16.
DATAGRAM_OVERHEAD_BYTES = 65
TURN_CHANNEL_BYTES = 4  # RFC 8656 section 12.4
LEAST_DATAGRAM_BYTES = 544  # what every path carries: 576 bytes without IPv4 and UDP, and some


class LoopClock:
    """`time.monotonic_ns`, with alarms of the running event loop."""

    now_ns = staticmethod(time.monotonic_ns)

    def call_at(self, at_ns: int, action: Callable[[], None]) -> Timer:
        # Whole milliseconds, rounded up: event loops wake no finer, and for the rest of one uvloop
        # would come back at once, again and again.  Its alarms may still be some of one early.
        wait_ms = max(0, -((time.monotonic_ns() - at_ns) // 1_000_000))
        return asyncio.get_running_loop().call_later(wait_ms / 1e3, action)


class WebRtcTransport(Transport):
    """One end over the network; made inside a running event loop.

    `ice_servers`: STUN and TURN servers, all of which are asked.  `host_addresses`: the addresses
    of this machine to use, all of them by default; where they are all loopback addresses, no server
    is contacted and nothing leaves the machine.  `tls`: whom to trust for TURN over TLS, the
    system's authorities by default.  Raises `BadInput` for what can't be used (see
    `usable_ice_servers`).
    """

    def __init__(
        self,
        *,
        ice_servers: Sequence[IceServer] = (),
        host_addresses: Sequence[str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.clock = LoopClock()
        self._user: TransportUser | None = None
        self._open = self._closed = False
        addresses = _checked_addresses(host_addresses)
        servers = server_urls(ice_servers)
        if servers and only_loopback(addresses):
            _LOG.warning("no STUN or TURN server is contacted: only loopback addresses are used")
            servers = ()
        self.ice = IceAgent(servers, addresses, tls)
        self.ice.on_path_changed = self._path_changed
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._negotiations: set[asyncio.Task[Any]] = set()
        self._negotiating = asyncio.Lock()  # one step at a time
        self._control: RTCDataChannel | None = None
        self._frames_channel: RTCDataChannel | None = None
        self._frames_path: UnreliablePath | None = None
        self._connection.on("datachannel", self._adopt_channel)
        self._connection.on("connectionstatechange", self._connection_changed)

    def attach(self, user: TransportUser) -> None:
        """From now on report to `user`."""
        self._user = user

    def explained(self, error: LinkFailed) -> LinkFailed:
        """The same error, with the servers that failed meanwhile."""
        failures = self.ice.why_unreachable()
        if not failures:
            return error
        told = "; ".join(str(failure) for failure in failures[:MAX_TOLD])
        hint = next((failure.hint for failure in failures if failure.hint), error.hint)
        return LinkFailed(f"{error}; {told}", hint=hint)

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

    async def restart_offer(self) -> str:
        """Begin an ICE restart; what to hand to the other end (an SDP fragment, RFC 8840)."""
        return await self._negotiate(self.ice.restart_offer)

    async def accept_restart(self, offer: str) -> str:
        """Take the other end's offer of a restart and return what to hand back."""
        return await self._negotiate(lambda: self.ice.accept_restart(offer))

    async def complete_restart(self, answer: str) -> None:
        """Take the other end's answer."""
        await self._negotiate(lambda: self.ice.complete_restart(answer))

    @property
    def silent_s(self) -> float:
        """For how long the path has answered nothing, and no other was found."""
        return self.ice.silent_s

    async def _negotiate(self, step: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Run a step to its end even if our caller is cancelled: `close` waits for it.

        A step cut short would leave sockets behind that aiortc does not know of yet.
        """

        async def in_turn() -> _T:
            async with self._negotiating:
                return await step()

        task = asyncio.get_running_loop().create_task(in_turn())
        self._negotiations.add(task)
        task.add_done_callback(self._negotiated)
        return await asyncio.shield(task)

    def _negotiated(self, task: asyncio.Task[Any]) -> None:
        self._negotiations.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved, should our caller have been cancelled

    async def _create_offer(self) -> str:
        self._control = self._connection.createDataChannel("control")
        self._frames_channel = self._connection.createDataChannel(
            "frames", ordered=False, maxRetransmits=0
        )
        self._watch(self._control)
        self._watch(self._frames_channel)
        self._prepare_transport().allow_messages(MESSAGES_PER_S, MESSAGES_AT_ONCE)
        await self._connection.setLocalDescription(await self._connection.createOffer())
        return self._local_description()

    async def _accept_offer(self, sdp: str) -> str:
        await self._set_remote("offer", sdp)
        self._prepare_transport()
        await self._connection.setLocalDescription(await self._connection.createAnswer())
        return self._local_description()

    async def _set_remote(self, kind: str, sdp: str) -> None:
        sdp = cleaned(sdp)
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

    def _prepare_transport(self) -> UnreliablePath:
        sctp = self._sctp()
        install_agent(sctp, self.ice)
        # Straight to the user: it hears of every packet, and takes none once it is closed.
        came = self._frames_came if self._user is None else self._user.on_frames_message
        self._frames_path = UnreliablePath(sctp, came, self._broken)
        sctp.transport.on("statechange", self._dtls_changed)
        return self._frames_path

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
        self._frames_came(message if isinstance(message, bytes) else b"")

    def _frames_came(self, message: bytes) -> None:
        if self._user is not None and not self._closed:
            self._user.on_frames_message(message)

    def _control_arrived(self, message: bytes | str) -> None:
        if self._user is not None and not self._closed:
            self._user.on_control_message(message if isinstance(message, bytes) else b"")

    def _channel_opened(self) -> None:
        channels = (self._control, self._frames_channel)
        if all(channel is not None and channel.readyState == "open" for channel in channels):
            if self._frames_path is not None and self._frames_channel is not None:
                self._frames_path.stream = self._frames_channel.id
            if self._user is not None and not self._open:
                self._open = True
                self._user.on_open()

    def _close_for(self, end: LinkEnd) -> None:
        if self._user is not None and not self._closed:
            self._closed = True
            self._user.on_closed(end)

    def _channel_closed(self) -> None:
        self._close_for(LinkEnd("peer"))

    def _broken(self, what: str) -> None:
        self._close_for(LinkEnd("lost", f"it {what}"))

    def _path_changed(self, _: IcePath) -> None:
        if self._user is not None and self._open:
            self._user.on_path_changed()

    def _dtls_changed(self) -> None:
        state = self._sctp().transport.state
        if state == "closed":  # by the other end's close_notify, else our own end came first
            self._close_for(LinkEnd("peer"))
        elif state == "failed":
            self._close_for(LinkEnd("lost", "their secure connection (DTLS) failed"))

    def _connection_changed(self) -> None:
        if self._connection.connectionState == "failed":
            self._close_for(LinkEnd("lost", "there is no network path between them"))

    # -- what the link asks -----------------------------------------------------------------------

    @property
    def fingerprints(self) -> Fingerprints:
        """(ours, theirs) of the DTLS certificates in use; raises `LinkFailed` if not connected."""
        return dtls_fingerprints(self._sctp().transport)

    def post_frames(self, messages: Sequence[bytes]) -> None:
        """Send messages on the frames channel now."""
        if self._frames_path is not None and not self._closed:
            self._frames_path.send(*messages)

    def post_control(self, message: bytes) -> None:
        """Send one message on the control channel."""
        # A channel that is closing reports that by itself.
        channel = self._control
        if channel is not None and channel.readyState == "open" and not self._closed:
            channel.send(message)

    @property
    def overhead_bytes(self) -> int:
        """By IPv4 or IPv6, and with the header of a TURN channel where the path is relayed."""
        path = self.ice.path
        if path is None:
            return OVERHEAD_BYTES
        # Of the way to the relay, where there is one: beyond it the family may be another.
        overhead = OVERHEAD_IPV6_BYTES if ":" in path.protocol.local_host else OVERHEAD_BYTES
        return overhead + TURN_CHANNEL_BYTES * path.relayed

    def carries(self, message_bytes: int) -> None:
        """The path carries messages of that size, and larger ones may ask whether it does more."""
        if self._frames_path is not None and not self._closed:
            self._frames_path.set_whole(True)
            datagram_bytes = message_bytes + DATAGRAM_OVERHEAD_BYTES
            self._frames_path.set_datagram_bytes(max(LEAST_DATAGRAM_BYTES, datagram_bytes))

    async def close(self) -> None:
        """Free everything; called once."""
        self._closed = True
        if self._negotiations:
            await asyncio.wait(self._negotiations)
        await self._connection.close()
        await asyncio.sleep(0)  # aiortc cancels its reader without waiting for it to end


def _is_control(channel: RTCDataChannel) -> bool:
    reliable = channel.maxRetransmits is None and channel.maxPacketLifeTime is None
    return channel.label == "control" and channel.ordered and reliable


def _is_frames(channel: RTCDataChannel) -> bool:
    sent_once = channel.maxRetransmits == 0 and channel.maxPacketLifeTime is None
    return channel.label == "frames" and not channel.ordered and sent_once


def _checked_addresses(addresses: Sequence[str] | None) -> list[str] | None:
    if addresses is None:
        return None
    try:
        return [str(ipaddress.ip_address(address)) for address in addresses]
    except ValueError:
        raise BadInput("a host address must be an IPv4 or IPv6 address") from None
