"""Where a signaling server is, the one address that a person types; and where its clients are."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from shared.errors import BadInput

__all__ = ["DEFAULT_PORT", "origin_of", "parse_url"]

DEFAULT_PORT = 8765  # of the server as of the clients

_SCHEMES = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}


def parse_url(text: str) -> tuple[str, str]:
    """The WebSocket URL that `text` means, and its "host:port" for people.

    http means ws, https means wss; without a path, /ws is meant.  A bare host or host:port means
    ws, and port 8765 where it names none.

    Raises:
        BadInput: it means none.
    """
    bad = BadInput(
        "that is not the URL of a signaling server",
        hint="it looks like ws://127.0.0.1:8765, or wss://signal.example.org",
    )
    try:
        parts = urlsplit(text.strip() if "://" in text else f"ws://{text.strip()}")
        port = parts.port
    except ValueError:
        raise bad from None
    scheme = _SCHEMES.get(parts.scheme)
    host = (parts.hostname or "").replace("%25", "%")  # before an interface's name, see RFC 6874
    if scheme is None or not host or parts.username is not None or not text.isprintable():
        raise bad
    if port is None and "://" not in text:
        port = DEFAULT_PORT
    elif port is None:
        port = 443 if scheme == "wss" else 80
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    path = parts.path if parts.path not in ("", "/") else "/ws"
    query = f"?{parts.query}" if parts.query else ""
    return f"{scheme}://{where}{path}{query}", where


def origin_of(address: str) -> str:
    """What connections are counted by: an IPv4 address, or the /64 network of an IPv6 address.

    A machine with IPv6 has as many addresses as it wants within that (RFC 7421).  An IPv4 address
    that a socket of both families tells as ::ffff:192.0.2.7 is the IPv4 address.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if found.version == 4:
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((int(found), 64), strict=False))
