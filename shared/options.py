"""Command-line options that both ends have, declared once so that they read the same on both."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from shared.errors import BadInput

__all__ = [
    "AddressOption",
    "CaOption",
    "DeviceOption",
    "IceServerOption",
    "IceServerUrl",
    "LogOption",
    "GraceOption",
    "ProxyOption",
    "SignalingOption",
    "parse_addresses",
    "parse_ice_servers",
    "parse_size",
]

SignalingOption = Annotated[
    str,
    typer.Option(
        metavar="URL", envvar="VEILSCOPE_SIGNALING", help="The signaling server, ws:// or wss://."
    ),
]
CaOption = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        metavar="FILE",
        dir_okay=False,
        envvar="VEILSCOPE_CA",
        help="For wss:// and TURN over TLS: trust this certificate authority (PEM) alone.",
    ),
]
ProxyOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL|none",
        envvar="VEILSCOPE_PROXY",
        help="Reach the signaling server through this HTTP proxy, such as http://HOST:3128 or "
        "http://USER:PASSWORD@HOST:3128 (others on this machine can see it here, so rather set the "
        "variable), or through none. By default the variables HTTPS_PROXY, HTTP_PROXY, ALL_PROXY "
        "and NO_PROXY decide. Pictures never go through it.",
    ),
]
GraceOption = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        min=1.0,
        max=3600.0,
        envvar="VEILSCOPE_GRACE",
        help="Nothing heard of the other end for so long: it is gone. Until then the session "
        "goes on by itself as soon as the network does.",
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        metavar="auto|cpu|cuda|triton|onnx",
        envvar="VEILSCOPE_DEVICE",
        help="What computes the learned keystream.",
    ),
]
IceServerOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="URL",
        envvar="VEILSCOPE_ICE_SERVERS",
        help="A STUN server (stun:HOST:PORT), instead of the STUN and TURN servers that the "
        "signaling server hands out; all are asked. None is contacted unless given here or "
        "there.",
    ),
]
AddressOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="IP",
        envvar="VEILSCOPE_ADDRESSES",
        help="Link to the other end from this address of this machine only; repeatable. With "
        "loopback addresses alone (127.0.0.1) the link stays inside the machine, and no STUN or "
        "TURN server is contacted. With others a TURN server, if the signaling server hands one "
        "out, may be reached from another address of this machine.",
    ),
]
LogOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        dir_okay=False,
        help="Write a log of every frame to this file (JSON lines).",
    ),
]


_STUN_URL = re.compile(r"stun:(\[[0-9A-Fa-f:.]+\]|[^:?\[\]\s]+)(:[0-9]{1,5})?")  # RFC 7064


@dataclass(frozen=True, slots=True)
class IceServerUrl:
    """A STUN server given by its URL alone, as it needs no credentials."""

    urls: str
    username: str | None = None
    credential: str | None = None


def parse_ice_servers(urls: Sequence[str] | None) -> tuple[IceServerUrl, ...] | None:
    """The STUN servers of `--ice-server`, or None where the option was not given.

    Raises `BadInput` for anything else; TURN servers too, as they need credentials, and those have
    no place on a command line that others on this machine can read.
    """
    if not urls:
        return None
    for url in urls:
        if url.startswith(("turn:", "turns:")):
            raise BadInput(
                "a TURN server can't be given here: it needs credentials",
                hint="give it to the signaling server instead, in the file of its --ice-config",
            )
        if not _STUN_URL.fullmatch(url):
            raise BadInput(f"not a STUN server: {url}", hint="it looks like stun:HOST:PORT")
    return tuple(IceServerUrl(url) for url in urls)


def parse_addresses(addresses: Sequence[str] | None) -> tuple[str, ...] | None:
    """The addresses of `--address`, or None where the option was not given."""
    if not addresses:
        return None
    for address in addresses:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise BadInput(f"not an IP address: {address}", hint="give it as 192.0.2.7") from None
    return tuple(addresses)


def parse_size(size: str | None) -> tuple[int, int] | None:
    """Width and height.  Raises `BadInput` where the text is not of two numbers."""
    if size is None:
        return None
    try:
        width, height = (int(part) for part in size.lower().split("x"))
    except ValueError:
        raise BadInput(f"not a size: {size}", hint="write it as 640x480") from None
    return width, height
