"""Command-line options that both ends have, declared once so that they read the same on both."""

from __future__ import annotations

import ipaddress
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
        metavar="auto|cpu|cuda",
        envvar="VEILSCOPE_DEVICE",
        help="What computes the learned keystream.",
    ),
]
IceServerOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="URL",
        envvar="VEILSCOPE_ICE_SERVERS",
        help="A STUN or TURN server (stun:HOST:PORT), instead of those that the signaling server "
        "hands out; repeatable. None is contacted unless given here or there.",
    ),
]
AddressOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="IP",
        envvar="VEILSCOPE_ADDRESSES",
        help="Offer only this address of this machine to the other end (127.0.0.1: nothing leaves "
        "the machine); repeatable.",
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


@dataclass(frozen=True, slots=True)
class IceServerUrl:
    """A STUN server given by its URL alone; TURN credentials come from the signaling server."""

    urls: str
    username: str | None = None
    credential: str | None = None


def parse_ice_servers(urls: Sequence[str] | None) -> tuple[IceServerUrl, ...] | None:
    """The servers of `--ice-server`, or None where the option was not given."""
    if not urls:
        return None
    for url in urls:
        if not url.startswith(("stun:", "stuns:", "turn:", "turns:")):
            raise BadInput(
                f"not an ICE server: {url}", hint="it looks like stun:HOST:PORT or turn:HOST:PORT"
            )
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
