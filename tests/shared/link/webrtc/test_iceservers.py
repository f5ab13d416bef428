from __future__ import annotations

from dataclasses import dataclass

import pytest

from shared.errors import BadInput
from shared.link.webrtc.addresses import LOOPBACK, is_unicast, machine_addresses
from shared.link.webrtc.iceservers import (
    MAX_URLS,
    Failure,
    ServerFailure,
    ServerTransport,
    parse_ice_url,
    server_urls,
)


@dataclass(frozen=True)
class Server:
    urls: object
    username: str | None = None
    credential: str | None = None


@pytest.mark.parametrize(
    ("url", "relays", "host", "port", "transport"),
    [
        ("stun:host.test", False, "host.test", 3478, ServerTransport.UDP),
        ("stun:192.0.2.1:9", False, "192.0.2.1", 9, ServerTransport.UDP),
        ("stun:[2001:db8::1]:9", False, "2001:db8::1", 9, ServerTransport.UDP),
        ("stuns:host.test", False, "host.test", 5349, ServerTransport.DTLS),
        ("turn:host.test", True, "host.test", 3478, ServerTransport.UDP),
        ("TURN:host.test?transport=UDP", True, "host.test", 3478, ServerTransport.UDP),
        ("turn:[::1]?transport=tcp", True, "::1", 3478, ServerTransport.TCP),
        ("turns:host.test", True, "host.test", 5349, ServerTransport.TLS),
        ("turns:host.test:443?transport=tcp", True, "host.test", 443, ServerTransport.TLS),
        ("turns:host.test?transport=udp", True, "host.test", 5349, ServerTransport.DTLS),
    ],
)
def test_a_url_is_read_as_the_rfcs_have_it(url, relays, host, port, transport):
    read = parse_ice_url(url)
    assert (read.relays, read.host, read.port) == (relays, host, port)
    if relays or url.startswith("stun:"):
        assert read.transport is transport


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host.test:3478",
        "http://host.test",
        "stun:",
        "stun:host:port",
        "stun:host:0",
        "stun:host:65536",
        "stun:a:b:c",
        "stun:2001:db8::1",
        "stun:[2001:db8::1",
        "stun:[1.2.3]",
        "stun:[:::]",
        "stun:host?transport=udp",
        "turn:host?transport=sctp",
        "turn:user@host",
        "turn://host",
        "turn:host ",
    ],
)
def test_what_is_no_url_of_one_is_not_read(url):
    assert parse_ice_url(url) is None
    with pytest.raises(BadInput):
        server_urls([Server([url])])


def test_all_urls_of_all_servers_are_taken_each_once():
    servers = [
        Server("stun:a.test"),
        Server(["turn:b.test", "turns:b.test"], "u", "c"),
        Server(["turn:b.test"], "u", "c"),
    ]
    assert [url.url for url in server_urls(servers)] == [
        "stun:a.test",
        "turn:b.test",
        "turns:b.test",
    ]
    assert len(server_urls([Server([f"stun:h{n}" for n in range(100)])])) == MAX_URLS


def test_no_secret_is_shown():
    (server,) = server_urls([Server("turn:b.test", "alice", "hunter2")])
    failure = ServerFailure(server, Failure.CREDENTIALS)
    for shown in (repr(server), str(server), repr(failure), str(failure)):
        assert "alice" not in shown
        assert "hunter2" not in shown
    assert str(failure) == "the TURN server turn:b.test refused the credentials"
    assert "--ice-config" in failure.hint


@pytest.mark.parametrize(
    ("address", "good"),
    [
        ("192.0.2.1", True),
        ("2001:db8::1", True),
        ("fe80::1", True),
        ("127.0.0.1", True),
        ("", False),
        ("name.local", False),
        ("0.1.2.3", False),
        ("224.0.0.1", False),
        ("ff02::1", False),
        ("255.255.255.255", False),
        ("fe80::1%eth0", False),
        ("::ffff:192.0.2.1", False),
        ("1.2.3", False),
        ("0x7f000001", False),
    ],
)
def test_one_hosts_number_is_told_from_all_else(address, good):
    assert is_unicast(address) is good


@dataclass
class Adapter:
    name: str
    ips: list


@dataclass
class Ip:
    ip: object


@pytest.mark.parametrize(
    ("ips", "link_local", "found"),
    [
        ([], False, [LOOPBACK]),
        (["127.0.0.1", ("::1", 0, 0)], False, [LOOPBACK]),
        (["192.0.2.9", ("fe80::1", 0, 2)], False, ["192.0.2.9"]),
        (["192.0.2.9", ("fe80::1", 0, 2)], True, ["192.0.2.9", "fe80::1%eth0"]),
        ([("fe80::1", 0, 2)], False, ["fe80::1%eth0"]),
        ([("2001:db8::9", 0, 0), ("fe80::1%eth0", 0, 2)], False, ["2001:db8::9"]),
    ],
)
def test_the_machines_addresses_are_those_that_others_can_use(ips, link_local, found, monkeypatch):
    adapters = [Adapter("eth0", [Ip(ip) for ip in ips])]
    monkeypatch.setattr("shared.link.webrtc.addresses.ifaddr.get_adapters", lambda: adapters)
    assert machine_addresses(link_local) == found
