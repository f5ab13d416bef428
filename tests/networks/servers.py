"""Servers of others that a network has: a TURN server, an HTTP proxy, and their certificates."""

from __future__ import annotations

import datetime
import ipaddress
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.networks.hosts import ROUTER_V4, Host

__all__ = ["Certificate", "certificate", "ice_config", "proxy_server", "turn_server"]

PROXY = "http://10.77.2.254:3128"  # the router, as the receiver sees it


@dataclass(frozen=True)
class Certificate:
    """A private authority, and a certificate of the router's by it; all PEM."""

    authority: Path
    chain: Path
    key: Path


def certificate(folder: Path) -> Certificate:
    """Make them; nobody trusts them who was not told to."""
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority of tests")])
    now = datetime.datetime.now(datetime.UTC)

    def begun(name: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(authority_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=2))
        )

    authority = (
        begun(authority_name, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    router = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ROUTER_V4)])
    addresses = [x509.IPAddress(ipaddress.ip_address(a)) for a in (ROUTER_V4, "10.77.2.254")]
    own = (
        begun(router, key.public_key())
        .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    made = Certificate(*(folder / name for name in ("ca.pem", "chain.pem", "key.pem")))
    pem = serialization.Encoding.PEM
    made.authority.write_bytes(authority.public_bytes(pem))
    made.chain.write_bytes(own.public_bytes(pem))
    made.key.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return made


@contextmanager
def turn_server(host: Host, folder: Path, own: Certificate) -> Iterator[None]:
    """A TURN server for the user `u` with the password `p`: 3478 by UDP and TCP, 5349 by TLS."""
    with host.serving(
        "turnserver -n --log-file=stdout --no-cli -v --listening-ip=10.77.1.254 "
        "--listening-ip=10.77.2.254 --relay-ip=10.77.1.254 --min-port=49152 --max-port=49999 "
        f"--listening-port=3478 --tls-listening-port=5349 --cert={own.chain} --pkey={own.key} "
        f"--lt-cred-mech --realm=test --user=u:p --pidfile={folder}/turn.pid "
        f"--userdb={folder}/turn.db",
        folder / "turn.out",
        ready="admin thread",
    ):
        yield


def ice_config(folder: Path, servers: Sequence[str | Sequence[str]], **changed: str) -> Path:
    """The file for the signaling server's `--ice-config`: an entry for each of `servers`, which is
    one URL or a list of them."""
    entry: Mapping[str, Any] = {"username": "u", "credential": "p", **changed}
    path = folder / "ice.json"
    path.write_text(json.dumps([{"urls": urls, **entry} for urls in servers]))
    return path


@contextmanager
def proxy_server(host: Host, folder: Path) -> Iterator[None]:
    """An HTTP proxy at `PROXY`, for everybody and everything."""
    config = folder / "squid.conf"
    config.write_text(
        f"http_port {PROXY.removeprefix('http://')}\n"
        "http_access allow all\ncache deny all\npid_filename none\ncoredump_dir none\n"
        "access_log none\ncache_log /dev/null\npinger_enable off\nshutdown_lifetime 0 seconds\n"
        "visible_hostname proxy.test\n"
    )
    with host.serving(f"squid -N -d 1 -f {config}", folder / "squid.out", ready="Accepting HTTP"):
        yield
