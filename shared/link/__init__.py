"""The link between the two ends, as the programs use it.

`Link` is all that they know; `webrtc` and `memory` hold the two kinds of transport below it.
"""

from __future__ import annotations

from shared.link.events import (
    MAX_CONTROL_BYTES,
    MAX_FRAME_BYTES,
    Fingerprints,
    IceServer,
    LinkEnd,
    PathEstimate,
    ReceivedFrame,
)
from shared.link.heartbeat import LOST_AFTER_S
from shared.link.link import Link, LinkFactory

__all__ = [
    "LOST_AFTER_S",
    "MAX_CONTROL_BYTES",
    "MAX_FRAME_BYTES",
    "Fingerprints",
    "IceServer",
    "Link",
    "LinkEnd",
    "LinkFactory",
    "PathEstimate",
    "ReceivedFrame",
]
