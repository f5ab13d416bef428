"""Which proxy leads to a server, and how a client goes through it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import BadInput, SignalingUnreachable
from signaling.client import PeerJoined, SignalingClient
from signaling.config import ServerConfig
from signaling.proxy import Proxy, proxy_for
from signaling.server import SignalingServer
from signaling.tls import client_context, server_context
from tests.signaling.proxies import HttpProxy, running

SERVER = "ws://signal.example.org:8765/ws"
SECURE = "wss://signal.example.org:443/ws"
PROXY = "http://proxy.example.org:3128"


def where(url: str, option: str | None = None, **environment: str) -> str | None:
    proxy = proxy_for(url, option, environment)
    return None if proxy is None else proxy.where


# -- which ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "http_proxy", "HTTP_PROXY"]
)
def test_the_usual_variables_name_the_proxy_of_ws(name: str) -> None:
    proxy = proxy_for(SERVER, None, {name: PROXY})
    assert proxy == Proxy("proxy.example.org", 3128, name)


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
def test_the_usual_variables_name_the_proxy_of_wss(name: str) -> None:
    assert where(SECURE, **{name: PROXY}) == "proxy.example.org:3128"


def test_what_is_for_pages_without_tls_alone_is_not_for_wss() -> None:
    assert where(SECURE, http_proxy=PROXY) is None


def test_the_nearest_variable_wins() -> None:
    every = {"http_proxy": "http://a:1", "https_proxy": "http://b:2", "all_proxy": "http://c:3"}
    assert where(SERVER, **every) == "a:1"
    assert where(SECURE, **every) == "b:2"
    assert where(SECURE, **every, HTTPS_PROXY="http://d:4") == "b:2"
    assert where(SECURE, **every, wss_proxy="http://e:5") == "e:5"


def test_a_variable_in_small_letters_that_is_empty_hides_the_one_in_capitals() -> None:
    assert where(SERVER, http_proxy="", HTTP_PROXY=PROXY) is None


def test_in_a_cgi_program_http_proxy_is_a_stranger_s() -> None:
    assert where(SERVER, HTTP_PROXY=PROXY, REQUEST_METHOD="GET") is None


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.9.9.9", "localhost", "a.localhost", "[::1]", "[::ffff:127.0.0.1]"]
)
def test_variables_do_not_lead_to_this_machine_but_the_option_does(host: str) -> None:
    url = f"ws://{host}:8765/ws"
    assert where(url, all_proxy=PROXY) is None
    assert where(url, PROXY, no_proxy="*") == "proxy.example.org:3128"


@pytest.mark.parametrize("option", ["none", "None", " NONE "])
def test_with_none_the_variables_are_not_looked_at(option: str) -> None:
    assert where(SERVER, option, all_proxy=PROXY, http_proxy="rubbish://") is None


@pytest.mark.parametrize(
    ("listed", "host", "exempt"),
    [
        ("*", "a.example.org", True),
        ("example.org", "a.example.org", True),
        ("example.org", "example.org", True),
        (".example.org", "a.example.org", True),
        ("*.example.org", "a.example.org", True),
        ("EXAMPLE.org", "a.example.org", True),
        ("other.org, example.org", "a.example.org", True),
        ("other.org example.org", "a.example.org", True),
        ("example.org:8765", "a.example.org", True),
        ("example.org:443", "a.example.org", False),
        ("ample.org", "a.example.org", False),
        ("a.example.org.uk", "a.example.org", False),
        ("org.", "a.example.org", True),
        ("", "a.example.org", False),
        (",", "a.example.org", False),
        (".", "a.example.org", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3:8765", "10.1.2.3", True),
        ("10.1.2.3:1", "10.1.2.3", False),
        ("0.1.2.3", "10.1.2.3", False),
        ("2001:db8::/32", "[2001:db8::7]", True),
        ("[2001:db8::7]", "[2001:db8::7]", True),
        ("[2001:db8::7]:8765", "[2001:db8::7]", True),
        ("2001:db8::8", "[2001:db8::7]", False),
    ],
)
def test_no_proxy_names_hosts_domains_networks_and_ports(
    listed: str, host: str, exempt: bool
) -> None:
    found = where(f"ws://{host}:8765/ws", http_proxy=PROXY, NO_PROXY=listed)
    assert (found is None) == exempt


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("proxy:3128", Proxy("proxy", 3128, "--proxy")),
        ("http://proxy", Proxy("proxy", 80, "--proxy")),
        ("https://proxy/", Proxy("proxy", 443, "--proxy", tls=True)),
        ("http://[2001:db8::7]:3128", Proxy("2001:db8::7", 3128, "--proxy")),
    ],
)
def test_a_proxy_is_named_as_in_other_programs(text: str, expected: Proxy) -> None:
    assert proxy_for(SERVER, text, {}) == expected


def test_credentials_are_unquoted_and_shown_nowhere() -> None:
    proxy = proxy_for(SERVER, "http://al%40ice:p%3Ass%20w%C3%B6rd@proxy:3128", {})
    assert proxy is not None
    assert proxy.authorization is not None
    kind, token = proxy.authorization.split()
    assert kind == "Basic"
    assert base64.b64decode(token).decode() == "al@ice:p:ss wörd"
    assert token not in repr(proxy)
    assert proxy.where == "proxy:3128"


@pytest.mark.parametrize(
    "text",
    [
        "", "socks5://secret:secret@proxy:1080", "ftp://proxy", "http://", "http://proxy:port",
        "http://proxy:0", "http://proxy:99999", "http://proxy/path", "http://[::1", "a b",
        "http://se%3Acret:secret@proxy", "http://proxy\x1b:1",
    ],
)  # fmt: skip
def test_what_is_no_proxy_is_refused_by_the_name_of_what_named_it(text: str) -> None:
    with pytest.raises(BadInput, match="--proxy does not name") as raised:
        proxy_for(SERVER, text, {})
    assert "secret" not in str(raised.value) + raised.value.hint
    if text:
        with pytest.raises(BadInput, match="ALL_PROXY does not name"):
            proxy_for(SERVER, None, {"ALL_PROXY": text})


@given(st.text(), st.text())
def test_any_text_is_a_proxy_none_or_refused(text: str, exempt: str) -> None:
    with suppress(BadInput):
        proxy_for(SERVER, None, {"all_proxy": text, "no_proxy": exempt})


# -- through it -----------------------------------------------------------------------------------


@asynccontextmanager
async def behind(proxy: HttpProxy, tls: Any = None) -> AsyncIterator[tuple[SignalingServer, str]]:
    """A server, the proxy that leads to it, and its URL by a name that the proxy alone knows."""
    async with SignalingServer(ServerConfig(port=0, tls=tls)) as server, running(proxy):
        port = int(server.url.rpartition(":")[2])
        proxy.target = ("127.0.0.1", port)
        yield server, f"ws://signal.invalid:{port}"


@pytest.mark.parametrize("name", ["HTTP_PROXY", "https_proxy", "ALL_PROXY"])
async def test_ws_goes_through_a_tunnel_and_its_name_is_the_proxy_s_to_know(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    async with behind(HttpProxy(in_pieces=True)) as (server, url):
        proxy = HttpProxy(target=("127.0.0.1", int(server.url.rpartition(":")[2])))
        async with running(proxy):
            monkeypatch.setenv(name, proxy.url)
            async with SignalingClient(url) as sender, SignalingClient(url) as receiver:
                room = await sender.create_room()
                joined = await receiver.join_room(room.nameplate)
                assert await anext(sender.events()) == PeerJoined(joined.peer)
        target = url.removeprefix("ws://")
        assert proxy.requests == 2 * [[f"CONNECT {target} HTTP/1.1", f"Host: {target}"]]


async def test_an_answer_that_comes_in_pieces_is_read_whole() -> None:
    answer = b"HTTP/1.0 200 OK\r\nVia: 1.1 somewhere\r\nX: " + b"y" * 500 + b"\r\n\r\n"
    async with behind(proxy := HttpProxy(answer, in_pieces=True)) as (_, url):
        async with SignalingClient(url, proxy=proxy.url) as client:
            await client.create_room()


async def test_wss_goes_through_and_the_certificate_is_the_server_s(certificate: Any) -> None:
    tls = server_context(certificate.cert, certificate.key)
    async with behind(proxy := HttpProxy(), tls) as (server, _):
        trusting = client_context(certificate.cert)
        async with SignalingClient(server.url, proxy=proxy.url, ssl_context=trusting) as client:
            await client.create_room()
        async with SignalingClient(server.url, proxy=proxy.url) as client:
            with pytest.raises(SignalingUnreachable, match=r"certificate of the signaling server"):
                await client.create_room()
        async with SignalingClient(
            server.url.replace("127.0.0.1", "signal.invalid"),
            proxy=proxy.url,
            ssl_context=trusting,
        ) as client:
            with pytest.raises(SignalingUnreachable, match=r"certificate of the signaling server"):
                await client.create_room()
        assert proxy.asked_for[0] == f"CONNECT {server.url.removeprefix('wss://')} HTTP/1.1"


async def test_a_server_without_tls_behind_a_proxy_is_named_as_the_reason() -> None:
    async with behind(proxy := HttpProxy()) as (_, url):
        async with SignalingClient(url.replace("ws", "wss", 1), proxy=proxy.url) as client:
            with pytest.raises(SignalingUnreachable, match="does not speak TLS"):
                await client.create_room()


async def test_a_proxy_may_want_tls_itself(
    certificate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = server_context(certificate.cert, certificate.key)
    proxy = HttpProxy()
    async with (
        SignalingServer(ServerConfig(port=0, tls=tls)) as server,
        running(proxy, tls),
    ):
        url = f"https://127.0.0.1:{proxy.port}"
        trusting = client_context(certificate.cert)
        async with SignalingClient(server.url, proxy=url, ssl_context=trusting) as client:
            with pytest.raises(SignalingUnreachable, match="shows a certificate that is not"):
                await client.create_room()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.cert))
        async with SignalingClient(server.url, proxy=url, ssl_context=trusting) as client:
            await client.create_room()
        async with SignalingClient(server.url, proxy=proxy.url) as client:
            with pytest.raises(SignalingUnreachable, match=r"the proxy at"):
                await client.create_room()


async def test_credentials_are_sent_to_the_proxy_alone() -> None:
    async with behind(proxy := HttpProxy()) as (_, url):
        through = proxy.url.replace("//", "//alice:hunter2@")
        async with SignalingClient(url, proxy=through) as client:
            await client.create_room()
    token = base64.b64encode(b"alice:hunter2").decode()
    assert proxy.requests[0][2:] == [f"Proxy-Authorization: Basic {token}"]


def refusing(status: int, reason: str = "No") -> bytes:
    return f"HTTP/1.1 {status} {reason}\r\nContent-Length: 4\r\n\r\nhunt".encode()


@pytest.mark.parametrize(
    ("answer", "credentials", "message"),
    [
        (refusing(407), "", r"asks for credentials \(407\)"),
        (refusing(407), "alice:hunter2@", r"does not accept the credentials \(407\)"),
        (refusing(403), "", r"refuses to connect to signal\.invalid:[0-9]+ \(403\)"),
        (refusing(502), "", r"does not connect to signal\.invalid:[0-9]+: it answers 502"),
        (refusing(302), "", r"it answers 302"),
        (b"HTTP/1.1 200\r\n", "", "does not speak HTTP"),
        (b"220 mail.example.org ESMTP\r\n\r\n", "", "does not speak HTTP"),
        (b"x" * 40_000, "", "does not speak HTTP"),
        (b"", "", "closes the connection"),
    ],
)
async def test_a_refusal_is_told_as_the_proxy_s_without_a_secret(
    answer: bytes, credentials: str, message: str
) -> None:
    if answer == b"HTTP/1.1 200\r\n":
        answer = b"HTTP/1.1 \r\n200\r\n"
    async with behind(proxy := HttpProxy(answer)) as (_, url):
        through = proxy.url.replace("//", f"//{credentials}")
        async with SignalingClient(url, proxy=through) as client:
            with pytest.raises(SignalingUnreachable, match=message) as raised:
                await client.create_room()
    said = str(raised.value) + raised.value.hint
    assert f"the proxy at 127.0.0.1:{proxy.port}" in said
    assert "hunt" not in said
    assert "alice" not in said


async def test_a_proxy_that_is_not_there_is_the_one_that_can_not_be_reached(
    unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://alice:hunter2@127.0.0.1:{unused_tcp_port}")
    async with SignalingClient("wss://signal.invalid") as client:
        with pytest.raises(SignalingUnreachable) as raised:
            await client.create_room()
    assert str(raised.value) == f"the proxy at 127.0.0.1:{unused_tcp_port} can't be reached"
    assert raised.value.hint == "check HTTPS_PROXY; --proxy none goes without a proxy"


async def test_a_proxy_whose_name_is_not_known_is_told_as_such() -> None:
    async with SignalingClient("ws://signal.invalid", proxy="http://proxy.invalid:3128") as client:
        with pytest.raises(SignalingUnreachable, match=r"proxy\.invalid:3128 has no address"):
            await client.create_room()


async def test_a_proxy_that_is_silent_is_the_one_that_does_not_answer() -> None:
    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(keep, "127.0.0.1", 0)
    async with server:
        proxy = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with SignalingClient("ws://signal.invalid", proxy=proxy, connect_s=0.2) as client:
            with pytest.raises(SignalingUnreachable, match=r"the proxy at .* does not answer"):
                await client.create_room()


async def test_a_server_that_is_silent_behind_a_proxy_is_the_one_that_does_not_answer() -> None:
    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(keep, "127.0.0.1", 0)
    target = silent.sockets[0].getsockname()
    async with silent, running(HttpProxy(target=target)) as proxy:
        async with SignalingClient(
            "ws://signal.invalid:1", proxy=proxy.url, connect_s=0.3
        ) as client:
            with pytest.raises(SignalingUnreachable, match=r"the signaling server at .* answer"):
                await client.create_room()
