from __future__ import annotations

import pytest

from shared.errors import BadInput
from shared.link.webrtc.iceservers import parse_ice_url
from shared.options import IceServerUrl, parse_addresses, parse_ice_servers


@pytest.mark.parametrize("given", [None, [], ()])
def test_an_option_that_was_not_given_is_none(given):
    assert parse_ice_servers(given) is None
    assert parse_addresses(given) is None


def test_stun_servers_are_kept_in_their_order():
    urls = ["stun:stun.example.org:3478", "stun:192.0.2.1", "stun:[2001:db8::1]:3478"]
    assert parse_ice_servers(urls) == tuple(IceServerUrl(url) for url in urls)
    assert all(parse_ice_url(url) for url in urls)


@pytest.mark.parametrize("url", ["turn:t.example.org:3478", "turns:t.example.org"])
def test_turn_servers_are_referred_to_the_signaling_server(url):
    with pytest.raises(BadInput) as caught:
        parse_ice_servers(["stun:stun.example.org", url])
    assert "--ice-config" in caught.value.hint


@pytest.mark.parametrize(
    "url",
    [
        "",
        "stun:",
        "stun.example.org",
        "stun:a:b:c",
        "stun:a:port",
        "stuns:a",
        "http://a",
        "stun:a ",
    ],
)
def test_what_is_no_stun_server_is_refused(url):
    with pytest.raises(BadInput, match="not a STUN server"):
        parse_ice_servers([url])


def test_addresses_are_kept_in_their_order():
    assert parse_addresses(["192.0.2.7", "::1"]) == ("192.0.2.7", "::1")


@pytest.mark.parametrize("address", ["", "localhost", "192.0.2", "192.0.2.7:80", "300.1.1.1"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(BadInput, match="not an IP address"):
        parse_addresses(["127.0.0.1", address])
