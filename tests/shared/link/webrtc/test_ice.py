"""The private names of aiortc and aioice that `shared.link.webrtc.ice` relies on, one by one."""

from __future__ import annotations

import asyncio
import inspect
import socket
from importlib.metadata import version

import aioice
import aioice.ice
import pytest
from aiortc import RTCIceTransport, RTCPeerConnection, RTCSctpTransport, rtcsctptransport
from OpenSSL import SSL

from shared.errors import LinkFailed
from shared.link.webrtc import ice as webrtc


@pytest.fixture
async def sctp():
    connection = RTCPeerConnection()
    connection.createDataChannel("any")
    yield connection.sctp
    await connection.close()


class FakeTransport:
    def __init__(self, udp):
        self.udp = udp

    def get_extra_info(self, name):
        return self.udp if name == "socket" else None


def test_the_version_installed_is_the_one_that_these_names_were_read_in():
    assert version("aiortc").startswith("1.16.")


async def test_the_ice_connection_below_sctp_is_aioices(sctp):
    assert isinstance(webrtc.ice_connection(sctp), aioice.Connection)


def test_candidates_are_gathered_through_the_method_that_is_wrapped():
    wrapped = inspect.signature(aioice.Connection.get_component_candidates).parameters
    assert list(wrapped) == ["self", "component", "addresses", "timeout"]
    source = inspect.getsource(aioice.Connection.gather_candidates)
    assert "self.get_component_candidates(component=component, addresses=addresses)" in source
    assert "get_host_addresses(" in source


def test_ice_connects_through_the_method_that_is_wrapped():
    source = inspect.getsource(RTCIceTransport.start)
    assert "await self._connection.connect()" in source
    assert "except ConnectionError" in source


async def test_a_connection_closed_while_connecting_stops_its_consent_checks(sctp):
    connection = webrtc.ice_connection(sctp)
    assert connection._closing is False
    assert connection._query_consent_task is None

    async def connect_late() -> None:
        connection._closing = True
        connection._query_consent_task = asyncio.ensure_future(asyncio.sleep(3600))

    connection.connect = connect_late
    webrtc.prepare_ice(connection, None)
    with pytest.raises(ConnectionError):
        await connection.connect()
    task, connection._query_consent_task = connection._query_consent_task, None
    await asyncio.wait([task])
    assert task.cancelled()


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("stun:host.test", True),
        ("turn:host.test:3478?transport=tcp", True),
        ("turn:host.test:port", False),
        ("host.test:3478", False),
        ("", False),
    ],
)
def test_ice_addresses_are_read_as_aiortc_reads_them(url, good):
    assert webrtc.is_ice_url(url) is good


async def test_the_sockets_of_a_connection_are_reached_and_enlarged(sctp):
    connection = webrtc.ice_connection(sctp)
    webrtc.prepare_ice(connection, ["127.0.0.1"])
    await connection.gather_candidates()
    assert [candidate.host for candidate in connection.local_candidates] == ["127.0.0.1"]
    (protocol,) = connection._protocols
    udp = protocol.transport.get_extra_info("socket")
    plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, webrtc.SOCKET_BUFFER_BYTES)
        most = plain.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)  # what this kernel allows
    assert udp.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == most


async def test_a_transport_without_a_socket_is_left_as_it_is():
    webrtc._enlarge_buffers(FakeTransport(None).get_extra_info("socket"))


async def test_without_any_address_of_its_own_a_machine_talks_to_itself(sctp, monkeypatch):
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda **_: [])
    connection = webrtc.ice_connection(sctp)
    webrtc.prepare_ice(connection, None)
    await connection.gather_candidates()
    assert [candidate.host for candidate in connection.local_candidates] == ["127.0.0.1"]


async def test_by_default_the_addresses_of_this_machine_are_used(sctp, monkeypatch):
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda **_: ["127.0.0.2"])
    connection = webrtc.ice_connection(sctp)
    webrtc.prepare_ice(connection, None)
    await connection.gather_candidates()
    assert [candidate.host for candidate in connection.local_candidates] == ["127.0.0.2"]


async def test_the_wrapped_connection_alone_is_changed(sctp):
    original = aioice.Connection.get_component_candidates
    update_rto, transmit = RTCSctpTransport._update_rto, RTCSctpTransport._transmit
    webrtc.prepare_ice(webrtc.ice_connection(sctp), ["127.0.0.1"])
    webrtc.tune_sctp(sctp)
    assert aioice.Connection.get_component_candidates is original
    assert RTCSctpTransport._update_rto is update_rto
    assert RTCSctpTransport._transmit is transmit
    assert rtcsctptransport.SCTP_RTO_MIN == 1


async def test_the_retransmission_timeout_starts_at_one_second(sctp):
    assert sctp._rto == rtcsctptransport.SCTP_RTO_INITIAL == 3.0
    webrtc.tune_sctp(sctp)
    assert sctp._rto == 1.0


async def test_the_retransmission_timeout_follows_the_round_trip_down_to_its_minimum(sctp):
    webrtc.tune_sctp(sctp)
    for _ in range(100):
        sctp._update_rto(0.01)
    assert sctp._rto == webrtc.RTO_MIN_S
    for _ in range(100):
        sctp._update_rto(0.5)
    assert sctp._srtt == pytest.approx(0.5, rel=0.01)
    assert 0.5 < sctp._rto < 0.6
    sctp._update_rto(10_000.0)
    assert sctp._rto == webrtc.RTO_MAX_S


async def test_the_congestion_window_never_stays_below_its_floor(sctp):
    webrtc.tune_sctp(sctp)
    sctp._cwnd = 1
    await sctp._transmit()
    assert sctp._cwnd == webrtc.MIN_CONGESTION_WINDOW_BYTES
    sctp._cwnd = 1_000_000
    await sctp._transmit()
    assert sctp._cwnd == 1_000_000


def test_aiortc_sends_through_the_method_that_is_wrapped():
    for name in ("_receive_sack_chunk", "_t3_expired", "_send"):
        assert "self._transmit()" in inspect.getsource(getattr(RTCSctpTransport, name))
    assert "self._cwnd" in inspect.getsource(RTCSctpTransport._transmit)
    assert rtcsctptransport.USERDATA_MAX_LENGTH == 1160


def test_aiortc_updates_the_timeout_through_the_method_that_is_wrapped():
    source = inspect.getsource(RTCSctpTransport._receive_sack_chunk)
    assert "self._update_rto(" in source
    assert "self._rto" in inspect.getsource(RTCSctpTransport._t3_start)


async def test_there_are_no_fingerprints_before_the_handshake(sctp):
    assert sctp.transport._ssl is None
    with pytest.raises(LinkFailed):
        webrtc.dtls_fingerprints(sctp.transport)


def test_openssl_gives_the_certificates_of_both_ends():
    for name in ("get_certificate", "get_peer_certificate"):
        assert "as_cryptography" in inspect.signature(getattr(SSL.Connection, name)).parameters
