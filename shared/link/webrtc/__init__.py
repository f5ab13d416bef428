"""The link over WebRTC: aiortc and aioice, and all that is asked of them.

Private names of the two libraries are used in this package and nowhere else.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence

from shared.link.connection import Connection
from shared.link.events import IceServer
from shared.link.heartbeat import LOST_AFTER_S, PEER_SILENCE_S
from shared.link.link import Link
from shared.link.webrtc.iceservers import usable_ice_servers
from shared.link.webrtc.transport import WebRtcTransport

__all__ = ["usable_ice_servers", "webrtc_link"]


def webrtc_link(
    *,
    ice_servers: Sequence[IceServer] = (),
    host_addresses: Sequence[str] | None = None,
    tls: ssl.SSLContext | None = None,
    silence_s: float = PEER_SILENCE_S,
    lost_after_s: float = LOST_AFTER_S,
) -> Link:
    """One end of a link over the network; see `WebRtcTransport` for what it takes and raises."""
    transport = WebRtcTransport(ice_servers=ice_servers, host_addresses=host_addresses, tls=tls)
    return Link(transport, Connection(silence_s=silence_s, lost_after_s=lost_after_s))
