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
        help="For wss://: trust this certificate authority (PEM) instead of the system's.",
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
        "signaling server hands out; the first is used. None is contacted unless given here or "
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


_STUN_URL = re.compile(r"stun:[^:?\s]+(:[0-9]{1,5})?")  # what aiortc reads of RFC 7064


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
