"""How an operator sets the server up: its address, limits and ICE servers.

Whatever can't be used as given is refused at once with a `BadInput` that says what to do; no
error text holds a credential.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from shared.errors import BadInput
from signaling.address import DEFAULT_PORT
from signaling.limits import Limits
from signaling.messages import IceServerEntry

__all__ = ["DEFAULT_HOST", "DEFAULT_PORT", "ServerConfig", "ice_servers"]

DEFAULT_HOST = "127.0.0.1"

_ICE_SERVERS = TypeAdapter(Annotated[list[IceServerEntry], Field(max_length=16)])
_ICE_EXAMPLE = (
    'it holds a list such as [{"urls": ["turn:turn.example.org:3478"], '
    '"username": "…", "credential": "…"}]'
)


@dataclass(frozen=True)
class ServerConfig:
    """All that a server needs to know.

    `host` is an address of this machine or a name of it, or several.  `::` means every address,
    of IPv4 too, 0.0.0.0 every one of IPv4.  Port 0 takes any free port, the same one at each.
    """

    host: str | Sequence[str] = DEFAULT_HOST
    port: int = DEFAULT_PORT
    limits: Limits = field(default_factory=Limits)
    ice_servers: tuple[IceServerEntry, ...] = ()
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    @property
    def hosts(self) -> tuple[str, ...]:
        return (self.host,) if isinstance(self.host, str) else tuple(self.host)


def ice_servers(urls: Sequence[str], config: Path | None = None) -> tuple[IceServerEntry, ...]:
    """The ICE servers to hand to the peers: `urls` without credentials, then those of a JSON file.

    Raises:
        BadInput: a URL is not `stun:host` or `stun:host:port`, or the file can't be read or holds
            something else.
    """
    servers: list[IceServerEntry] = []
    for url in urls:
        if url.startswith(("turn:", "turns:")):
            raise BadInput(
                "a TURN server needs a user name and a credential",
                hint="put it into a file for --ice-config, so that they stay off the command line",
            )
        try:
            servers += _ICE_SERVERS.validate_json(json.dumps([{"urls": [url]}]))
        except ValidationError:
            raise BadInput(
                f"{url!r} is not the URL of a STUN server",
                hint="write it as stun:host:port, an IPv6 address as stun:[2001:db8::1]:port",
            ) from None
    if config is not None:
        servers += _read_ice_config(config)
    if len(servers) > 16:
        raise BadInput("more than 16 ICE servers", hint="two or three are enough for any peer")
    return tuple(servers)


def _read_ice_config(path: Path) -> list[IceServerEntry]:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise BadInput(
            f"can't read the ICE configuration {path}: {error.strerror}",
            hint=_ICE_EXAMPLE,
        ) from None
    try:
        servers = _ICE_SERVERS.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        entry = next((part for part in first["loc"] if isinstance(part, int)), None)
        place = "" if entry is None else f", in entry {entry + 1}"
        kind = first["type"].replace("_", " ")
        raise BadInput(
            f"the ICE configuration {path} is not valid{place} ({kind})",
            hint=_ICE_EXAMPLE,
        ) from None
    for number, server in enumerate(servers, start=1):
        relay = any(url.startswith(("turn:", "turns:")) for url in server.urls)
        if relay and (server.username is None or server.credential is None):
            raise BadInput(
                f"entry {number} of the ICE configuration {path} lacks its username or credential",
                hint=_ICE_EXAMPLE,
            )
    return servers
