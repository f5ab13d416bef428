"""Everything that the link asks of aiortc and aioice beyond their public interface.

Private names are used in this package and nowhere else,
and `tests/shared/link/webrtc` checks each of them against the installed
version.  Everything is set on the objects of one connection; nothing that other users of aiortc in
this process could notice is touched.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence

import aioice
from aiortc import RTCDtlsTransport, RTCSctpTransport
from aiortc.rtcicetransport import parse_stun_turn_uri
from aiortc.rtcsctptransport import USERDATA_MAX_LENGTH
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from shared.errors import LinkFailed
from shared.link.link import Fingerprints

__all__ = ["dtls_fingerprints", "ice_connection", "is_ice_url", "prepare_ice", "tune_sctp"]

LOOPBACK = "127.0.0.1"

# A frame of 250 KB arrives as 215 datagrams at once; the kernel's default of 208 KiB drops some of
# them, and each drop is a retransmission.  The kernel caps this at net.core.rmem_max.
SOCKET_BUFFER_BYTES = 4 * 1024 * 1024

RTO_INITIAL_S = 1.0  # RFC 9260 section 16; aiortc still has the 3 s of RFC 4960
RTO_MIN_S = 0.3  # not the RFC's 1 s: a lost control message should not hold a session up so long;
# above the 0.2 s of TCP stacks, because a Python peer may itself stall that long
RTO_MAX_S = 60.0  # RFC 9260 section 16

# After a loss aiortc goes down to one packet in flight.  Ten is what TCP and QUIC start with on a
# path of which they know nothing (RFC 6928), and more than control messages ever need.
MIN_CONGESTION_WINDOW_BYTES = 10 * USERDATA_MAX_LENGTH


def prepare_ice(connection: aioice.Connection, host_addresses: Sequence[str] | None) -> None:
    """Restrict one ICE connection to `host_addresses`, before it gathers its candidates.

    With None it uses every address of this machine, and 127.0.0.1 where there is none at all (two
    programs on a laptop without a network).  A STUN server is asked from those addresses; the way
    to a TURN server the system chooses, as aioice binds no address for it.  The sockets get large
    buffers, best effort.
    """
    gather = connection.get_component_candidates
    connect = connection.connect

    async def gather_chosen(
        component: int, addresses: list[str], timeout: int = 5
    ) -> list[aioice.Candidate]:
        chosen = addresses or [LOOPBACK]
        if host_addresses is not None:
            chosen = list(host_addresses)
        candidates = await gather(component, chosen, timeout)
        for protocol in connection._protocols:
            _enlarge_buffers(protocol.transport.get_extra_info("socket"))
        return candidates

    async def connect_unless_closed() -> None:
        await connect()
        if connection._closing and connection._query_consent_task is not None:
            # Closed while its last check was under way: aioice would go on checking for ever.
            connection._query_consent_task.cancel()
            raise ConnectionError("closed while connecting")

    connection.get_component_candidates = gather_chosen  # type: ignore[method-assign]
    connection.connect = connect_unless_closed  # type: ignore[method-assign]


def _enlarge_buffers(udp: socket.socket | None) -> None:
    if udp is None:  # a TURN allocation has no socket of its own
        return
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        with contextlib.suppress(OSError):
            udp.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)


def ice_connection(sctp: RTCSctpTransport) -> aioice.Connection:
    """The ICE connection below an SCTP transport."""
    return sctp.transport.transport.iceGatherer._connection


def is_ice_url(url: str) -> bool:
    """Whether aiortc can read it as a STUN or TURN server (RFC 7064, RFC 7065)."""
    try:
        parse_stun_turn_uri(url)
    except ValueError:
        return False
    return True


def tune_sctp(sctp: RTCSctpTransport) -> None:
    """Shorten one association's retransmission timeouts and floor its congestion window.

    Before it starts.
    """
    sctp._rto = RTO_INITIAL_S
    update_estimates = sctp._update_rto
    transmit_chunks = sctp._transmit

    def update_rto(rtt_s: float) -> None:
        update_estimates(rtt_s)
        if sctp._srtt is not None and sctp._rttvar is not None:
            sctp._rto = min(max(RTO_MIN_S, sctp._srtt + 4 * sctp._rttvar), RTO_MAX_S)

    async def transmit() -> None:
        sctp._cwnd = max(sctp._cwnd, MIN_CONGESTION_WINDOW_BYTES)
        await transmit_chunks()

    sctp._update_rto = update_rto  # type: ignore[method-assign, assignment]
    sctp._transmit = transmit  # type: ignore[method-assign]


def dtls_fingerprints(dtls: RTCDtlsTransport) -> Fingerprints:
    """SHA-256 of the two certificates as presented in the handshake that took place.

    Not those written in the session descriptions: aiortc compares the two, but what a key agreement
    binds must be what is in use (RFC 8844).  Raises `LinkFailed` while there is no connection.
    """
    if dtls.state != "connected" or dtls._ssl is None:
        raise LinkFailed("the link is not connected")
    local = dtls._ssl.get_certificate(as_cryptography=True)
    remote = dtls._ssl.get_peer_certificate(as_cryptography=True)
    return _sha256(local), _sha256(remote)


def _sha256(certificate: x509.Certificate | None) -> bytes:
    if certificate is None:
        raise LinkFailed("the link has no DTLS certificate")
    return certificate.fingerprint(SHA256())
