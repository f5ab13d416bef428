"""STUN and TURN servers that work, and all the ways in which they don't, on loopback."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shared.link.webrtc import gathering
from shared.link.webrtc import gathering as module
from shared.link.webrtc.agent import IceAgent
from shared.link.webrtc.iceservers import Failure, parse_ice_url
from tests.shared.link.webrtc.iceservers import PASSWORD, USER, ice_server

pytestmark = pytest.mark.usefixtures("loop_complaints")

LOCAL = ["127.0.0.1"]


def url(text: str, user: str | None = USER, password: str | None = PASSWORD):
    parsed = parse_ice_url(text, user, password)
    assert parsed is not None, text
    return parsed


def unused_port(kind: int = socket.SOCK_DGRAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory):
    """(a server's context, whom to trust for it)"""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "turn.test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("turn")
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return server, ssl.create_default_context(cafile=folder / "cert.pem")


async def gathered(*servers, tls=None) -> IceAgent:
    agent = IceAgent(servers, LOCAL, tls)
    await agent.gather_candidates()
    return agent


def kinds(agent: IceAgent) -> list[str]:
    return [candidate.type for candidate in agent.local_candidates]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_relay_is_had_over_udp_and_tcp(transport):
    async with ice_server(transport=transport) as server:
        agent = await gathered(url(f"turn:127.0.0.1:{server.port}?transport={transport}"))
        assert kinds(agent) == ["host", "relay"]
        assert agent.failures == ()
        await agent.close()
        assert server.requests[-1] == "REFRESH"  # it is given back


async def test_a_relay_keeps_little_for_few_addresses_whose_channel_is_not_bound_yet(monkeypatch):
    monkeypatch.setattr(module, "MAX_CHANNELS", 4)
    async with ice_server(transport="udp") as server:
        agent = await gathered(url(f"turn:127.0.0.1:{server.port}"))
        (relay,) = agent._relays.values()
        for port in range(5000, 5016):
            for _ in range(3 * module.MAX_WAITING):
                relay.send(b"\x17", ("127.0.0.1", port))
        assert len(relay._waiting) == 4
        assert {len(waiting) for waiting in relay._waiting.values()} == {module.MAX_WAITING}
        await agent.close()


async def test_a_relay_is_had_over_tls_from_a_server_of_an_authority_of_ones_own(certificate):
    serving, trusted = certificate
    async with ice_server(transport="tcp", tls=serving) as server:
        agent = await gathered(url(f"turns:127.0.0.1:{server.port}"), tls=trusted)
        assert kinds(agent) == ["host", "relay"]
        await agent.close()


async def test_all_servers_are_asked_and_a_dead_first_one_neither_hides_nor_delays_the_others(
    certificate,
):
    async with (
        ice_server(silent=True) as dead,
        ice_server() as stun,
        ice_server() as udp,
        ice_server(transport="tcp") as tcp,
    ):
        began = time.monotonic()
        agent = await gathered(
            url(f"turn:127.0.0.1:{dead.port}"),
            url(f"stun:127.0.0.1:{dead.port}"),
            url(f"stun:127.0.0.1:{stun.port}"),
            url(f"turn:127.0.0.1:{tcp.port}?transport=tcp"),
            url(f"turn:127.0.0.1:{udp.port}"),
        )
        took_s = time.monotonic() - began
        assert kinds(agent).count("relay") == 2
        assert stun.requests == ["BINDING"]
        assert dead.requests == []
        assert took_s < gathering.RELAY_LIMIT_S  # that of the dead one
        await agent.close()


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        ((486, "quota"), Failure.FULL),
        ((508, "full"), Failure.FULL),
        ((500, "oh"), Failure.ERROR),
        ((403, "forbidden"), Failure.ERROR),
    ],
)
async def test_a_turn_servers_refusal_is_told_as_what_it_was(error, failure):
    async with ice_server(error=error) as server:
        agent = await gathered(url(f"turn:127.0.0.1:{server.port}"))
        (failed,) = agent.failures
        assert failed.failure is failure
        assert failed.detail == f"STUN error {error[0]}"
        await agent.close()


@pytest.mark.parametrize(
    ("user", "password", "failure"),
    [
        (USER, "wrong", Failure.CREDENTIALS),
        ("other", PASSWORD, Failure.CREDENTIALS),
        (None, None, Failure.NO_CREDENTIALS),
    ],
)
async def test_refused_credentials_are_told_and_not_shown(user, password, failure, caplog):
    async with ice_server() as server:
        agent = await gathered(url(f"turn:127.0.0.1:{server.port}", user, password))
        assert [failed.failure for failed in agent.failures] == [failure]
        assert kinds(agent) == ["host"]
        await agent.close()
    (record,) = caplog.records
    assert record.getMessage() == f"the TURN server turn:127.0.0.1:{server.port} {failure.value}"
    assert "wrong" not in repr(agent.failures) + caplog.text


async def test_a_certificate_that_nobody_vouches_for_is_told(certificate):
    serving, _ = certificate
    async with ice_server(transport="tcp", tls=serving) as server:
        agent = await gathered(url(f"turns:127.0.0.1:{server.port}"))
        (failed,) = agent.failures
        assert failed.failure is Failure.UNTRUSTED
        assert "--ca" in failed.hint
        await agent.close()


async def test_a_certificate_of_another_host_is_told_as_that(certificate):
    serving, trusted = certificate
    async with ice_server(transport="tcp", tls=serving) as server:
        agent = await gathered(url(f"turns:localhost:{server.port}"), tls=trusted)
        (failed,) = agent.failures
        assert (failed.failure, failed.detail) == (Failure.UNTRUSTED, "it is another host's")
        await agent.close()


async def test_a_server_without_tls_is_told(monkeypatch):
    monkeypatch.setattr(gathering, "RELAY_LIMIT_S", 1.0)  # it may well say nothing
    async with ice_server(transport="tcp") as server:
        agent = await gathered(url(f"turns:127.0.0.1:{server.port}"))
        assert agent.failures[0].failure in (Failure.TLS, Failure.NO_ANSWER, Failure.ERROR)
        await agent.close()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_nobody_there_is_told_at_once(transport):
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    agent = await gathered(url(f"turn:127.0.0.1:{unused_port(kind)}?transport={transport}"))
    expected = Failure.NO_ANSWER if transport == "udp" else Failure.REFUSED
    assert [failed.failure for failed in agent.failures] == [expected]
    await agent.close()


@pytest.mark.parametrize("scheme", ["turn", "stun"])
async def test_silence_is_told_after_a_time_of_its_own(scheme, monkeypatch):
    monkeypatch.setattr(gathering, "RELAY_LIMIT_S", 0.3)
    async with ice_server(silent=True) as server:
        agent = await gathered(url(f"{scheme}:127.0.0.1:{server.port}"))
        assert [failed.failure for failed in agent.failures] == [Failure.NO_ANSWER]
        await agent.close()


@pytest.mark.parametrize("scheme", ["turn", "turns", "stun"])
async def test_a_name_that_is_nobodys_is_told(scheme, monkeypatch):
    async def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    agent = IceAgent([url(f"{scheme}:nowhere.test")], [])
    agent._sockets = {}
    await agent._gather()
    assert [failed.failure for failed in agent.failures] == [Failure.UNRESOLVED]
    await agent.close()


@pytest.mark.parametrize("text", ["stuns:127.0.0.1:9", "turns:127.0.0.1:9?transport=udp"])
async def test_what_is_not_supported_is_told(text):
    agent = await gathered(url(text))
    assert [failed.failure for failed in agent.failures] == [Failure.UNSUPPORTED]
    await agent.close()


async def test_several_failures_are_one_line_in_the_log(caplog):
    ports = [unused_port(), unused_port()]
    agent = await gathered(*(url(f"turn:127.0.0.1:{port}") for port in ports))
    await agent.close()
    assert len(agent.failures) == 2
    assert len(caplog.records) == 1


async def test_closing_while_it_gathers_leaves_nothing_behind():
    async with ice_server(silent=True) as dead, ice_server(silent=True, transport="tcp") as slow:
        agent = IceAgent(
            [
                url(f"turn:127.0.0.1:{dead.port}"),
                url(f"stun:127.0.0.1:{dead.port}"),
                url(f"turn:127.0.0.1:{slow.port}?transport=tcp"),
            ],
            LOCAL,
        )
        task = asyncio.ensure_future(agent.gather_candidates())
        await asyncio.sleep(0.05)
        await agent.close()
        await asyncio.wait([task], timeout=5)
        assert task.done()
    assert asyncio.all_tasks() == {asyncio.current_task()}
