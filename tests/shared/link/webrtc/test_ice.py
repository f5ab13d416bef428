"""The private names of aiortc and aioice that `shared.link.webrtc.ice` relies on, one by one."""

from __future__ import annotations

import asyncio
import inspect
import re
from importlib.metadata import version

import aioice
import pytest
from aiortc import (
    RTCIceGatherer,
    RTCIceTransport,
    RTCPeerConnection,
    rtcpeerconnection,
)
from OpenSSL import SSL

from shared.errors import LinkFailed
from shared.link.webrtc import ice as webrtc
from shared.link.webrtc.agent import IceAgent

CANDIDATE = aioice.Candidate("1", 1, "udp", 2130706431, "192.0.2.9", 5000, "host")


@pytest.fixture
async def sctp():
    connection = RTCPeerConnection()
    connection.createDataChannel("any")
    yield connection.sctp
    await connection.close()


def test_the_version_installed_is_the_one_that_these_names_were_read_in():
    assert version("aiortc").startswith("1.16.")


async def test_the_agent_takes_the_place_of_aioices_connection_and_what_that_was_told(sctp):
    transport = sctp.transport.transport
    replaced = transport._connection
    assert isinstance(replaced, aioice.Connection)
    assert replaced is transport.iceGatherer._connection
    replaced.ice_controlling = True
    await replaced.add_remote_candidate(CANDIDATE)
    agent = IceAgent()
    webrtc.install_agent(sctp, agent)
    assert webrtc.ice_connection(sctp) is transport._connection is agent
    assert agent.ice_controlling
    assert [candidate.host for candidate in agent.remote_candidates] == ["192.0.2.9"]
    assert (transport._recv, transport._send) == (agent.recv, agent.send)


def test_aiortc_asks_of_its_connection_what_the_agent_has():
    used = set()
    for user in (RTCIceTransport, RTCIceGatherer):
        used |= set(re.findall(r"self\._connection\.(\w+)", inspect.getsource(user)))
    used |= set(
        re.findall(r"iceTransport\._connection\.(\w+)", inspect.getsource(rtcpeerconnection))
    )
    agent = IceAgent()
    assert len(used) >= 12
    assert [name for name in sorted(used) if not hasattr(agent, name)] == []


def test_ice_connects_once_and_its_failure_is_a_connection_error():
    source = inspect.getsource(RTCIceTransport.start)
    assert "await self._connection.connect()" in source
    assert "except ConnectionError" in source


async def test_there_are_no_fingerprints_before_the_handshake(sctp):
    assert sctp.transport._ssl is None
    with pytest.raises(LinkFailed):
        webrtc.dtls_fingerprints(sctp.transport)


def test_openssl_gives_the_certificates_of_both_ends():
    for name in ("get_certificate", "get_peer_certificate"):
        assert "as_cryptography" in inspect.signature(getattr(SSL.Connection, name)).parameters


async def test_dtls_and_channels_notice_nothing_of_a_lost_socket_or_an_ice_restart():
    ends = [RTCPeerConnection(), RTCPeerConnection()]
    agents = [IceAgent(host_addresses=["127.0.0.1"]) for _ in ends]
    heard: asyncio.Queue[str] = asyncio.Queue()
    channel = ends[0].createDataChannel("any")
    opened = asyncio.Event()
    channel.on("open", opened.set)
    ends[1].on("datachannel", lambda other: other.on("message", heard.put_nowait))
    webrtc.install_agent(ends[0].sctp, agents[0])
    await ends[0].setLocalDescription(await ends[0].createOffer())
    await ends[1].setRemoteDescription(ends[0].localDescription)
    webrtc.install_agent(ends[1].sctp, agents[1])
    await ends[1].setLocalDescription(await ends[1].createAnswer())
    await ends[0].setRemoteDescription(ends[1].localDescription)
    async with asyncio.timeout(20):
        await opened.wait()
        (base,) = agents[0]._sockets
        agents[0]._drop_socket(base)
        agents[0]._drive()
        channel.send("after the loss")
        assert await heard.get() == "after the loss"
        answer = await agents[0].accept_restart(await agents[1].restart_offer())
        await agents[1].complete_restart(answer)
        channel.send("after the restart")
        assert await heard.get() == "after the restart"
    assert [end.sctp.transport.state for end in ends] == ["connected", "connected"]
    for end in ends:
        await end.close()
