"""The link between the two ends: its interface.  `peer` and `memory` hold the two kinds."""

from __future__ import annotations

from shared.link.link import (
    MAX_CONTROL_BYTES,
    MAX_FRAME_BYTES,
    Fingerprints,
    IceServer,
    Link,
    LinkEnd,
    PathEstimate,
    ReceivedFrame,
)

__all__ = [
    "MAX_CONTROL_BYTES",
    "MAX_FRAME_BYTES",
    "Fingerprints",
    "IceServer",
    "Link",
    "LinkEnd",
    "PathEstimate",
    "ReceivedFrame",
]
