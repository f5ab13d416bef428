"""What an operator gives the server is checked at the start, with a hint and without a secret."""

from __future__ import annotations

import json
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shared.errors import BadInput
from signaling.config import ice_servers
from signaling.messages import IceServerEntry
from signaling.tls import client_context, server_context

TURN = {"urls": ["turn:turn.example.org:3478"], "username": "alice", "credential": "hunter2"}


def test_stun_urls_come_first_and_then_those_of_the_file(tmp_path: Path) -> None:
    config = tmp_path / "ice.json"
    config.write_text(json.dumps([TURN]))
    assert ice_servers(["stun:stun.example.org"], config) == (
        IceServerEntry(["stun:stun.example.org"]),
        IceServerEntry(["turn:turn.example.org:3478"], "alice", "hunter2"),
    )


def test_one_url_may_stand_alone_and_an_ipv6_address_in_brackets(tmp_path: Path) -> None:
    config = tmp_path / "ice.json"
    config.write_text(json.dumps([TURN | {"urls": "turn:[2001:db8::1]:3478"}]))
    (server,) = ice_servers([], config)
    assert server.urls == ["turn:[2001:db8::1]:3478"]
    assert ice_servers(["stun:[2001:db8::1]:3478"]) == (
        IceServerEntry(["stun:[2001:db8::1]:3478"]),
    )


def test_nothing_configured_is_nothing_handed_out() -> None:
    assert ice_servers([]) == ()


@pytest.mark.parametrize("url", ["turn:turn.example.org", "turns:turn.example.org"])
def test_a_turn_server_belongs_into_the_file(url: str) -> None:
    with pytest.raises(BadInput) as raised:
        ice_servers([url])
    assert "--ice-config" in raised.value.hint


@pytest.mark.parametrize(
    "url",
    [
        "",
        "stun.example.org",
        "https://stun.example.org",
        "stun:a b",
        "stun:example.org:port",
        "stun:2001:db8::1",
    ],
)
def test_what_is_no_stun_url_is_refused(url: str) -> None:
    with pytest.raises(BadInput):
        ice_servers([url])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hunter2",
        json.dumps(TURN),
        json.dumps([TURN | {"hunter2": 1}]),
        json.dumps([TURN | {"urls": "turn:x y"}]),
        json.dumps([TURN | {"urls": []}]),
        json.dumps([TURN | {"credential": None}]),
        json.dumps([{"urls": ["turn:x"], "username": "hunter2"}]),
        json.dumps([TURN] * 17),
    ],
)
def test_a_bad_file_is_refused_without_showing_its_secrets(tmp_path: Path, text: str) -> None:
    config = tmp_path / "ice.json"
    config.write_text(text)
    with pytest.raises(BadInput) as raised:
        ice_servers([], config)
    assert "ice.json" in str(raised.value)
    assert "hunter2" not in str(raised.value) + raised.value.hint
    assert raised.value.exit_status == 2


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"ice\.json: No such file"):
        ice_servers([], tmp_path / "ice.json")


def test_more_servers_than_a_peer_can_use_are_refused() -> None:
    with pytest.raises(BadInput, match="more than 16"):
        ice_servers([f"stun:stun{number}.example.org" for number in range(17)])


# -- TLS ----------------------------------------------------------------------------------------


def test_without_files_there_is_no_tls() -> None:
    assert server_context(None, None) is None


def test_a_certificate_and_its_key_make_a_context(certificate: Any) -> None:
    context = server_context(certificate.cert, certificate.key)
    assert context is not None
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_old_tls_is_refused_even_where_the_system_allows_it(
    certificate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = ssl.create_default_context

    def lenient(*args: Any, **kwargs: Any) -> ssl.SSLContext:
        context = make(*args, **kwargs)
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        return context

    monkeypatch.setattr(ssl, "create_default_context", lenient)
    for context in (
        server_context(certificate.cert, certificate.key),
        client_context(certificate.cert),
    ):
        assert context is not None
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_without_authorities_of_its_own_a_client_goes_by_the_systems() -> None:
    assert client_context(None) is None


def test_one_file_alone_is_refused(certificate: Any) -> None:
    for pair in [(certificate.cert, None), (None, certificate.key)]:
        with pytest.raises(BadInput) as raised:
            server_context(*pair)
        assert "--cert" in raised.value.hint
        assert "--key" in raised.value.hint


def test_a_missing_certificate_or_key_is_named(certificate: Any, tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    with pytest.raises(BadInput, match=r"missing\.pem") as raised:
        server_context(missing, certificate.key)
    assert "--cert" in raised.value.hint
    with pytest.raises(BadInput, match=r"missing\.pem") as raised:
        server_context(certificate.cert, missing)
    assert "--key" in raised.value.hint


def test_a_key_of_another_certificate_is_refused(certificate: Any, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(pem(ec.generate_private_key(ec.SECP256R1())))
    with pytest.raises(BadInput, match="does not belong"):
        server_context(certificate.cert, other)


def test_files_that_are_no_pem_are_refused(certificate: Any, tmp_path: Path) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    with pytest.raises(BadInput, match="PEM"):
        server_context(junk, certificate.key)
    with pytest.raises(BadInput, match="PEM"):
        server_context(certificate.cert, junk)
    with pytest.raises(BadInput, match="no certificate"):
        client_context(junk)
    with pytest.raises(BadInput, match="can't read"):
        client_context(tmp_path / "missing.pem")


def test_a_locked_key_is_refused_instead_of_asking(certificate: Any, tmp_path: Path) -> None:
    locked = tmp_path / "locked.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    locked.write_bytes(pem(key, serialization.BestAvailableEncryption(b"passphrase")))
    with pytest.raises(BadInput, match="passphrase"):
        server_context(certificate.cert, locked)


def pem(
    key: ec.EllipticCurvePrivateKey,
    encryption: serialization.KeySerializationEncryption | None = None,
) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        encryption or serialization.NoEncryption(),
    )
