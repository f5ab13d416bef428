"""STUN and TURN servers as an operator gives them, read into values; and how each one failed.

Pure: it contacts none of them.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from shared.errors import BadInput
from shared.link.events import IceServer

__all__ = [
    "Failure",
    "ServerFailure",
    "ServerUrl",
    "ServerTransport",
    "parse_ice_url",
    "server_urls",
    "usable_ice_servers",
]

MAX_URLS = 32  # of all servers together; more are not asked

# RFC 7064 section 3.1 and RFC 7065 section 3.1; a literal IPv6 address stands in brackets.
_URL = re.compile(
    r"(?P<scheme>stuns?|turns?):(?P<host>\[[0-9A-Fa-f:.]+\]|[^?:\[\]@/\s]+)"
    r"(:(?P<port>[0-9]{1,5}))?(\?transport=(?P<transport>udp|tcp))?",
    re.IGNORECASE,
)


class ServerTransport(enum.Enum):
    """What carries the messages to a server."""

    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"
    DTLS = "dtls"


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """One address of one server, with what it takes to use it.  As text it shows no secret."""

    url: str
    relays: bool  # TURN; else STUN
    host: str
    port: int
    transport: ServerTransport
    username: str | None = field(default=None, repr=False)
    credential: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"the {'TURN' if self.relays else 'STUN'} server {self.url}"


class Failure(enum.Enum):
    """How a server failed; what was seen of it, not what may have been the cause."""

    UNRESOLVED = "has a name that can't be resolved"
    NO_ANSWER = "did not answer"
    REFUSED = "refused the connection"
    UNREACHABLE = "can't be reached from here"
    CREDENTIALS = "refused the credentials"
    NO_CREDENTIALS = "asks for credentials, and none are given"
    UNTRUSTED = "has a certificate that is not trusted"
    TLS = "did not agree on a TLS connection"
    FULL = "has no room for another relay"
    UNSUPPORTED = "is to be asked in a way that is not supported"
    ERROR = "answered with an error"


@dataclass(frozen=True, slots=True)
class ServerFailure:
    """Which server failed, and how; `detail` in the words of the system or of the protocol."""

    server: ServerUrl
    failure: Failure
    detail: str = ""

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.server} {self.failure.value}{detail}"

    @property
    def hint(self) -> str:
        """What can be done about it, if that is known."""
        return _HINTS.get(self.failure, "")


_HINTS = {
    Failure.CREDENTIALS: "check user name and password in the signaling server's --ice-config",
    Failure.NO_CREDENTIALS: "give user name and password in the signaling server's --ice-config",
    Failure.UNTRUSTED: "name an authority of your own with --ca FILE",
    Failure.UNRESOLVED: "check its host name in the signaling server's --ice-config",
}


def parse_ice_url(
    url: str, username: str | None = None, credential: str | None = None
) -> ServerUrl | None:
    """Read a STUN or TURN server's URL; None for what is none."""
    match = _URL.fullmatch(url)
    if match is None:
        return None
    scheme, host = match["scheme"].lower(), match["host"].strip("[]")
    if match["host"].startswith("["):
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            return None
    relays, secure = scheme.startswith("turn"), scheme.endswith("s")
    if match["transport"] and not relays:
        return None
    over_tcp = (match["transport"] or ("tcp" if secure else "udp")).lower() == "tcp"
    port = int(match["port"] or (5349 if secure else 3478))
    if not 0 < port < 2**16:
        return None
    if secure:
        transport = ServerTransport.TLS if over_tcp else ServerTransport.DTLS
    else:
        transport = ServerTransport.TCP if over_tcp else ServerTransport.UDP
    return ServerUrl(url, relays, host, port, transport, username or None, credential or None)


def usable_ice_servers(
    servers: Sequence[IceServer],
) -> tuple[tuple[IceServer, ...], tuple[IceServer, ...]]:
    """Split into (usable, refused): those that `webrtc_link` takes, and those that it can't read.

    For servers that somebody else handed out, whose mistakes must not end a session.
    """
    usable = tuple(server for server in servers if _is_usable(server))
    return usable, tuple(server for server in servers if not _is_usable(server))


def _is_usable(server: IceServer) -> bool:
    urls = _urls(server)
    return bool(urls) and all(parse_ice_url(url) is not None for url in urls)


def _urls(server: IceServer) -> list[str]:
    return [server.urls] if isinstance(server.urls, str) else list(server.urls)


def server_urls(servers: Sequence[IceServer]) -> tuple[ServerUrl, ...]:
    """All addresses of all servers, each once; raises `BadInput` for one that can't be read."""
    found: dict[ServerUrl, None] = {}
    for server in servers:
        parsed = [parse_ice_url(url, server.username, server.credential) for url in _urls(server)]
        if not parsed or None in parsed:
            raise BadInput(
                "an ICE server's address can't be used",
                hint="write it as stun:HOST:PORT, turn:HOST:PORT or turns:HOST:PORT?transport=tcp",
            )
        found.update((url, None) for url in parsed if url is not None)
    return tuple(found)[:MAX_URLS]
