"""The command line of the rendezvous server: `python -m signaling`, `veilscope signal`."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from pathlib import Path
from typing import Annotated

import typer

from shared.terminal import DebugOption, run_async, stdout, warn
from signaling.config import DEFAULT_HOST, DEFAULT_PORT, ServerConfig, ice_servers
from signaling.limits import Limits
from signaling.server import SignalingServer
from signaling.tls import server_context

__all__ = ["signal"]

_DEFAULTS = Limits()


def signal(
    host: Annotated[
        list[str],
        typer.Option(
            metavar="ADDRESS",
            envvar="VEILSCOPE_SIGNALING_HOST",
            help="Address to listen on; :: for every one of this machine, 0.0.0.0 for every one "
            "of IPv4. Repeatable.",
        ),
    ] = [DEFAULT_HOST],  # noqa: B006 -- typer makes a list of its own of it
    port: Annotated[
        int,
        typer.Option(
            min=0,
            max=65535,
            envvar="VEILSCOPE_SIGNALING_PORT",
            help="Port to listen on; 0 takes any free one and prints it.",
        ),
    ] = DEFAULT_PORT,
    cert: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar="VEILSCOPE_SIGNALING_CERT",
            help="Serve TLS (wss://) with this certificate chain, PEM.",
        ),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar="VEILSCOPE_SIGNALING_KEY",
            help="The certificate's private key, PEM.",
        ),
    ] = None,
    ice_server: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="STUN server to hand to the peers. Repeatable."),
    ] = None,
    ice_config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar="VEILSCOPE_ICE_CONFIG",
            help="JSON list of ICE servers with urls, username and credential, for TURN.",
        ),
    ] = None,
    max_rooms: Annotated[
        int, typer.Option(min=1, max=100_000, help="Rooms open at the same time.")
    ] = _DEFAULTS.rooms,
    peers_per_room: Annotated[
        int, typer.Option(min=2, max=256, help="Peers in a room, its sender included.")
    ] = _DEFAULTS.peers_per_room,
    connections_per_address: Annotated[
        int,
        typer.Option(
            min=1,
            max=100_000,
            help="Connections from one address. Raise it behind a reverse proxy, from whose "
            "address all clients come.",
        ),
    ] = _DEFAULTS.connections_per_address,
    room_idle: Annotated[
        float,
        typer.Option(
            min=1, metavar="SECONDS", help="Close a room in which nothing happened for so long."
        ),
    ] = _DEFAULTS.room_idle_s,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No line for each event.")] = False,
    debug: DebugOption = False,  # noqa: ARG001  (acts by its callback)
) -> None:
    """Run the rendezvous server: senders and receivers meet here by the number of a room.

    It relays offers and answers and sees neither keys nor pictures. Ctrl-C ends it.
    """
    logging.getLogger("signaling").setLevel(logging.WARNING if quiet else logging.INFO)
    config = ServerConfig(
        host=tuple(host),
        port=port,
        limits=dataclasses.replace(
            _DEFAULTS,
            rooms=max_rooms,
            peers_per_room=peers_per_room,
            connections_per_address=connections_per_address,
            room_idle_s=room_idle,
        ),
        ice_servers=ice_servers(ice_server or [], ice_config),
        tls=server_context(cert, key),
    )
    run_async(lambda: _serve(config))


async def _serve(config: ServerConfig) -> None:
    async with SignalingServer(config) as server:
        open_to_all = [host for host in config.hosts if not _loopback(host)]
        if config.tls is None and open_to_all:
            where = ", ".join(open_to_all)
            warn(f"without --cert and --key, the network sees who meets whom at {where}")
        for url in server.urls:
            stdout.print(f"signaling listening on {url}", soft_wrap=True, markup=False)
        stdout.file.flush()
        await asyncio.Event().wait()  # until a signal cancels it


def _loopback(host: str) -> bool:
    return host.strip("[]") in ("localhost", "::1") or host.startswith("127.")
