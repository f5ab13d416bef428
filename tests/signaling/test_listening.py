"""A server listens at one address or several, of IPv4, IPv6 or both."""

from __future__ import annotations

import contextlib
import socket

import pytest

from shared.errors import BadInput
from signaling.address import origin_of
from signaling.client import SignalingClient
from signaling.config import ServerConfig
from signaling.listening import bound_sockets
from signaling.server import SignalingServer


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")


async def opens_a_room(url: str) -> bool:
    async with SignalingClient(url) as client:
        return bool((await client.create_room()).nameplate)


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


@needs_ipv6
async def test_two_colons_serve_both_families_at_one_port_and_say_so() -> None:
    async with SignalingServer(ServerConfig(host="::", port=0)) as server:
        port = port_of(server.url)
        assert server.urls == [f"ws://[::]:{port}", f"ws://0.0.0.0:{port}"]
        for host in ("127.0.0.1", "[::1]"):
            assert await opens_a_room(f"ws://{host}:{port}")


@needs_ipv6
async def test_an_ipv6_address_alone_serves_it_alone() -> None:
    async with SignalingServer(ServerConfig(host="::1", port=0)) as server:
        assert server.urls == [f"ws://[::1]:{port_of(server.url)}"]
        assert await opens_a_room(server.url)


async def test_every_ipv4_address_is_served_by_its_own() -> None:
    async with SignalingServer(ServerConfig(host="0.0.0.0", port=0)) as server:
        assert server.urls == [f"ws://0.0.0.0:{port_of(server.url)}"]
        assert await opens_a_room(f"ws://127.0.0.1:{port_of(server.url)}")


async def test_several_addresses_share_one_port_in_the_order_in_which_they_were_given() -> None:
    hosts = ["127.0.0.3", "127.0.0.1", "127.0.0.2"]
    async with SignalingServer(ServerConfig(host=hosts, port=0)) as server:
        port = port_of(server.url)
        assert server.urls == [f"ws://{host}:{port}" for host in hosts]
        for url in server.urls:
            assert await opens_a_room(url)


@needs_ipv6
@pytest.mark.parametrize(
    ("hosts", "bound"),
    [
        (["127.0.0.1", "127.0.0.1"], ["127.0.0.1"]),
        (["0.0.0.0", "127.0.0.1"], ["0.0.0.0"]),
        (["127.0.0.1", "::"], ["::"]),
        (["::", "0.0.0.0", "::1"], ["::"]),
        (["0.0.0.0", "::1"], ["0.0.0.0", "::1"]),
        (["127.0.0.1", "[::1]"], ["127.0.0.1", "::1"]),
        (["localhost", "127.0.0.1"], None),
    ],
)
async def test_what_another_address_covers_is_bound_once(
    hosts: list[str], bound: list[str] | None
) -> None:
    sockets = await bound_sockets(hosts, 0)
    try:
        assert len({sock.getsockname()[1] for sock in sockets}) == 1
        if bound is not None:
            assert [sock.getsockname()[0] for sock in sockets] == bound
        else:
            assert "127.0.0.1" in [sock.getsockname()[0] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


async def test_of_several_addresses_the_one_that_can_not_be_bound_is_named_and_none_stays() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.2", 0))
        taken.listen()
        port = taken.getsockname()[1]
        hosts = ["127.0.0.1", "127.0.0.2"]
        with pytest.raises(BadInput, match=f"port {port} on 127.0.0.2 is in use"):
            async with SignalingServer(ServerConfig(host=hosts, port=port)):
                pytest.fail("it runs at half of its addresses")
        async with SignalingServer(ServerConfig(port=port)) as server:
            assert port_of(server.url) == port


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("192.0.2.1", "can't listen on 192.0.2.1:0: cannot assign requested address"),
        ("2001:db8::7", r"can't listen on \[2001:db8::7\]:0: "),
        ("no-such-host.invalid", "can't listen on no-such-host.invalid:0: no such address"),
        ("fe80::7", "which one is not said"),
        ("", "--host names no address"),
        ("a" * 70 + ".example", "no such address"),
    ],
)
async def test_an_address_that_is_not_this_machine_s_is_named(host: str, message: str) -> None:
    with pytest.raises(BadInput, match=message) as raised:
        async with SignalingServer(ServerConfig(host=["127.0.0.1", host], port=0)):
            pytest.fail("it runs")
    assert "\n" not in str(raised.value)


async def test_a_free_port_is_looked_for_until_it_is_free_everywhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At first another program has, at the second address, the port found at the first."""
    real, blocking = socket.socket, contextlib.ExitStack()
    taken: list[int] = []

    class Socket(real):  # type: ignore[valid-type, misc]
        def bind(self, address: tuple[str, int]) -> None:
            super().bind(address)
            if address == ("127.0.0.1", 0) and len(taken) < 2:
                other = blocking.enter_context(real())
                port = self.getsockname()[1]
                other.bind(("127.0.0.2", port))
                other.listen()
                taken.append(port)

    with blocking:
        monkeypatch.setattr("signaling.listening.socket.socket", Socket)
        sockets = await bound_sockets(["127.0.0.1", "127.0.0.2"], 0)
        ports = {sock.getsockname()[1] for sock in sockets}
        for sock in sockets:
            sock.close()
    assert len(taken) == 2
    assert len(ports) == 1
    assert ports.isdisjoint(taken)


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_clients_are_counted_by_ipv4_address_or_ipv6_network(address: str, origin: str) -> None:
    assert origin_of(address) == origin
