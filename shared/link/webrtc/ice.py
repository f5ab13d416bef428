"""Everything that the link asks of aiortc and aioice beyond their public interface.

Private names are used in this package and nowhere else; they are listed in `private`, and the tests
check each of them against the installed version.  Everything is set on the objects of one
connection; nothing that other users of aiortc in this process could notice is touched.
"""

from __future__ import annotations

from typing import cast

from aiortc import RTCDtlsTransport, RTCSctpTransport
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from shared.errors import LinkFailed
from shared.link.events import Fingerprints
from shared.link.webrtc.agent import IceAgent

__all__ = ["dtls_fingerprints", "ice_connection", "install_agent"]


def install_agent(sctp: RTCSctpTransport, agent: IceAgent) -> None:
    """Put our ICE agent in the place of aioice's connection, before that has gathered anything.

    What it was told meanwhile (an answering end's role, and the offer's candidates) it hands over.
    """
    transport = sctp.transport.transport
    replaced = transport._connection
    agent.ice_controlling = replaced.ice_controlling
    for candidate in replaced.remote_candidates:
        agent.add_remote(candidate)
    transport.iceGatherer._connection = agent  # type: ignore[assignment]
    transport._connection = agent  # type: ignore[assignment]
    transport._recv = agent.recv
    transport._send = agent.send


def ice_connection(sctp: RTCSctpTransport) -> IceAgent:
    """The ICE agent below an SCTP transport, once installed."""
    return cast("IceAgent", sctp.transport.transport.iceGatherer._connection)


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
