"""STUN and TURN servers as an operator gives them, and as aiortc takes them.

Pure: it contacts none of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiortc import RTCIceServer

from shared.errors import BadInput
from shared.link.link import IceServer
from shared.link.webrtc.ice import is_ice_url

__all__ = ["rtc_ice_server", "usable_ice_servers"]


def usable_ice_servers(
    servers: Sequence[IceServer],
) -> tuple[tuple[IceServer, ...], tuple[IceServer, ...]]:
    """Split into (usable, refused): those that `PeerLink` takes, and those that it can't read.

    For servers that somebody else handed out, whose mistakes must not end a session.
    """
    usable = tuple(server for server in servers if _is_usable(server))
    return usable, tuple(server for server in servers if not _is_usable(server))


def _is_usable(server: IceServer) -> bool:
    urls = _urls(server)
    return bool(urls) and all(is_ice_url(url) for url in urls)


def _urls(server: IceServer) -> list[str]:
    return [server.urls] if isinstance(server.urls, str) else list(server.urls)


def rtc_ice_server(server: IceServer) -> RTCIceServer:
    """As aiortc takes it; raises `BadInput` for one that can't be read."""
    if not _is_usable(server):
        raise BadInput(
            "an ICE server's address can't be used",
            hint="write it as stun:HOST:PORT, turn:HOST:PORT or turns:HOST:PORT?transport=tcp",
        )
    return RTCIceServer(
        urls=_urls(server), username=server.username or None, credential=server.credential or None
    )
