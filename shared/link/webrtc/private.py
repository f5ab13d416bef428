"""Every private name of aiortc and aioice that this package uses, and why there is no other way.

A table for readers and for `tests/shared/link/webrtc/test_private.py`, which walks the sources: a
private name that is not listed here fails it, as does one listed that nobody uses or that the
installed version does not have.  So an upgrade of either library shows what it breaks at once.
Values are set on the objects of one connection only, never on a class or a module.
"""

from __future__ import annotations

from typing import NamedTuple

from aiortc import (
    RTCCertificate,
    RTCDtlsTransport,
    RTCIceGatherer,
    RTCIceTransport,
    RTCSctpTransport,
)
from aiortc.rtcsctptransport import DataChunk

__all__ = ["PRIVATE_NAMES", "PrivateNames"]


class PrivateNames(NamedTuple):
    """Names of one class that serve one purpose."""

    owner: type
    names: tuple[str, ...]
    reason: str


PRIVATE_NAMES: tuple[PrivateNames, ...] = (
    # -- ICE --------------------------------------------------------------------------------------
    PrivateNames(
        RTCIceGatherer,
        ("_connection",),
        "our ICE agent takes the place of aioice's connection, which aiortc makes by itself",
    ),
    PrivateNames(
        RTCIceTransport,
        ("_connection", "_recv", "_send"),
        "the same, one storey up; and what DTLS has to say leaves in datagrams of our size",
    ),
    # -- DTLS -------------------------------------------------------------------------------------
    PrivateNames(
        RTCDtlsTransport,
        ("_ssl",),
        "frames are sealed and opened without aiortc's queues; the certificates in use are what "
        "the key agreement binds",
    ),
    PrivateNames(
        RTCDtlsTransport,
        ("_RTCDtlsTransport__local_certificate", "_do_handshake"),
        "the size of a handshake's records, and no renegotiation, are set before it begins",
    ),
    PrivateNames(
        RTCCertificate,
        ("_create_ssl_context",),
        "OpenSSL's options are set before the connection is made of them",
    ),
    PrivateNames(
        RTCDtlsTransport,
        ("_recv_next", "_write_ssl"),
        "aiortc reads one record of a datagram, fails on an empty one, and writes 1,500 bytes",
    ),
    PrivateNames(
        RTCDtlsTransport,
        ("_set_state",),
        "a handshake that made aiortc stumble is a failed one",
    ),
    PrivateNames(
        RTCDtlsTransport,
        ("_data_receiver", "_send_data"),
        "what the association above DTLS is handed, and how it sends",
    ),
    # -- SCTP: what comes in ----------------------------------------------------------------------
    PrivateNames(
        RTCSctpTransport,
        ("_handle_data",),
        "every packet is checked before aiortc reads it, and a frame's is taken past it",
    ),
    PrivateNames(
        RTCSctpTransport,
        ("_association_state", "_local_verification_tag", "_set_state"),
        "which packets the association may hear now",
    ),
    PrivateNames(
        RTCSctpTransport,
        ("_receive_chunk", "_receive_reconfig_param", "_data_channel_receive", "_data_channels"),
        "handshake, resets of streams and opening of channels stay aiortc's, once checked",
    ),
    PrivateNames(
        RTCSctpTransport,
        ("_last_received_tsn", "_mark_received", "_sack_duplicates", "_sack_misordered"),
        "aiortc sorts all that came out of order for each packet; ours costs the same for each",
    ),
    PrivateNames(
        RTCSctpTransport,
        ("_sack_needed", "_send_sack"),
        "an acknowledgement fits one packet, and not every frame's packet asks for one",
    ),
    PrivateNames(
        RTCSctpTransport,
        ("_reconfig_deferred", "_reset_deferred_streams"),
        "a stream that is reset drops what is held of it",
    ),
    # -- SCTP: what goes out ----------------------------------------------------------------------
    PrivateNames(
        RTCSctpTransport,
        ("_local_port", "_remote_port", "_remote_verification_tag", "_local_tsn"),
        "the header of a packet, and the number that a frame's message takes",
    ),
    PrivateNames(
        RTCSctpTransport,
        ("_advanced_peer_ack_tsn", "_forward_tsn_chunk", "_update_advanced_peer_ack_point"),
        "what was lost of frames is passed over by the clock (RFC 3758)",
    ),
    PrivateNames(
        RTCSctpTransport,
        ("_send", "_outbound_stream_seq"),
        "control messages are cut for the path, not to 1,160 bytes",
    ),
    PrivateNames(
        DataChunk,
        ("_abandoned", "_acked", "_book_size", "_expiry", "_in_flight", "_max_retransmits"),
        "what aiortc keeps of a chunk that it is to send, which we make in its place",
    ),
    PrivateNames(
        DataChunk,
        ("_misses", "_retransmit"),
        "what aiortc keeps of a chunk that it is to send, which we make in its place",
    ),
    PrivateNames(
        DataChunk,
        ("_sent_count", "_sent_time"),
        "round trips are measured by the monotonic clock; aiortc takes the time of day",
    ),
    PrivateNames(
        RTCSctpTransport,
        ("_rto", "_srtt", "_rttvar", "_update_rto", "_get_timestamp"),
        "timeouts that a person can wait for, by the monotonic clock",
    ),
    PrivateNames(
        RTCSctpTransport,
        ("_cwnd", "_transmit"),
        "after a loss aiortc has one packet under way",
    ),
    PrivateNames(
        RTCSctpTransport,
        ("_send_chunk",),
        "aiortc sends in tasks that nobody waits for; without a connection each would complain",
    ),
    PrivateNames(
        RTCSctpTransport,
        ("_last_sacked_tsn", "_outbound_queue", "_receive_sack_chunk", "_sent_queue"),
        "an acknowledgement is held against what was sent, and costs no more than that",
    ),
    PrivateNames(
        RTCSctpTransport,
        ("_data_channel_queue", "_data_channel_send"),
        "what waits for a peer that acknowledges nothing is bounded",
    ),
    PrivateNames(
        RTCSctpTransport,
        ("_t1_expired", "_t1_failures", "_t1_handle", "_t3_cancel", "_t3_expired"),
        "no silence ends the association, and after one nothing waits for a timer",
    ),
    PrivateNames(
        RTCSctpTransport,
        ("_reconfig_failures", "_reconfig_handle", "_reconfig_request", "_reconfig_timer_expired"),
        "the same for a stream's reset, which has a timer of its own",
    ),
)
