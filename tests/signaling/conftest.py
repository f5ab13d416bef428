"""Doubles for the tests of the rendezvous: a clock to turn, and a network to cut."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from signaling.config import ServerConfig
from signaling.server import SignalingServer

S = 1_000_000_000


@dataclass
class TurnedClock:
    """A clock that stands still until somebody turns it."""

    now_ns: int = 0

    def __call__(self) -> int:
        return self.now_ns

    def turn(self, seconds: float) -> None:
        self.now_ns += round(seconds * S)


@dataclass
class Wire:
    """A TCP relay to a server, which can be cut, deafened and pointed at another server."""

    upstream: int | None = None
    port: int = 0
    writers: set[asyncio.StreamWriter] = field(default_factory=set)
    deaf: bool = False  # swallows what either end says

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def lead_to(self, server: SignalingServer | None) -> None:
        self.upstream = None if server is None else urlsplit(server.url).port

    def cut(self) -> None:
        """Kill every connection without a goodbye."""
        for writer in self.writers:
            writer.transport.abort()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        if self.upstream is None:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        self.writers.add(far_writer)
        await asyncio.gather(self.pass_on(reader, far_writer), self.pass_on(far_reader, writer))

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                if not self.deaf:
                    writer.write(data)
                    await writer.drain()
        writer.transport.abort()


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
async def server(clock: TurnedClock) -> AsyncIterator[SignalingServer]:
    async with SignalingServer(ServerConfig(port=0), clock_ns=clock) as server:
        yield server


@pytest.fixture
async def wire(server: SignalingServer) -> AsyncIterator[Wire]:
    wire = Wire()
    wire.lead_to(server)
    listener = await asyncio.start_server(wire.accept, "127.0.0.1", 0)
    wire.port = listener.sockets[0].getsockname()[1]
    yield wire
    wire.upstream = None
    listener.close()
    wire.cut()


@dataclass(frozen=True)
class CertificateFiles:
    cert: Path
    key: Path


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    """A self-signed certificate for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rendezvous")])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=36_500))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    files = CertificateFiles(folder / "cert.pem", folder / "key.pem")
    files.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http", "https", "all", "ws", "wss", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_PROXY".upper(), raising=False)
