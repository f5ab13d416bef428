"""What the application makes of a link: how often a frame comes, how many bytes leave for it.

Pure.  It says nothing of what the path could carry (`shared.link.congestion`).
"""

from __future__ import annotations

import math

__all__ = ["UsageMeter"]

USE_MEMORY_NS = 300_000_000  # over which use is averaged: ten frames at 30 fps
OVERHEAD_MEMORY = 32  # frames over which the share of repair is averaged

# Between two frames: 30 a second until that is known.  One that comes later than the longest
# interval ends a pause, which is no frame rate; the second such in a row is one.
FIRST_INTERVAL_NS = 33_000_000
MOST_INTERVAL_NS = 500_000_000
INTERVAL_MEMORY = 8  # frames

FIRST_SHARE = 0.9  # of the wire, for payload, until it is known


class UsageMeter:
    """Tell it of each frame (`on_frame`) and of each packet, repairs too (`on_sent`)."""

    def __init__(self) -> None:
        self._used = 0.0  # bytes sent lately, the older the less
        self._used_at_ns = 0
        self._handed_bytes = 0  # of the newest frame
        self._sent_bytes = 0  # on the wire since, for it and for repairs
        self._payload_bytes = 0.0  # both summed over recent frames, the older the less
        self._wire_bytes = 0.0
        self._handed_at_ns: int | None = None
        self._interval_ns = FIRST_INTERVAL_NS
        self._paused = False  # before the newest frame

    @property
    def interval_ns(self) -> int:
        """Between two frames, on average."""
        return self._interval_ns

    @property
    def payload_share(self) -> float:
        """Of the bytes on the wire, how many are the frames' own: 0 to 1."""
        return self._payload_bytes / self._wire_bytes if self._wire_bytes else FIRST_SHARE

    def rate(self, now_ns: int) -> float:
        """Bytes a second sent lately, on the wire."""
        return self._left(now_ns) / USE_MEMORY_NS * 1e9

    def on_frame(self, nbytes: int, now_ns: int) -> None:
        """A frame of `nbytes` is handed over."""
        if self._handed_at_ns is not None:
            self._on_interval(now_ns - self._handed_at_ns)
        self._handed_at_ns = now_ns
        if self._sent_bytes:
            fresh = 1 - 1 / OVERHEAD_MEMORY
            self._payload_bytes = self._payload_bytes * fresh + self._handed_bytes
            self._wire_bytes = self._wire_bytes * fresh + self._sent_bytes
        self._sent_bytes, self._handed_bytes = 0, nbytes

    def on_sent(self, nbytes: int, now_ns: int) -> None:
        """A packet of `nbytes` on the wire leaves."""
        self._used = self._left(now_ns) + nbytes
        self._used_at_ns = now_ns
        self._sent_bytes += nbytes

    def _on_interval(self, interval_ns: int) -> None:
        paused, self._paused = self._paused, interval_ns > MOST_INTERVAL_NS
        if paused or not self._paused:
            interval_ns = min(interval_ns, MOST_INTERVAL_NS)
            self._interval_ns += (interval_ns - self._interval_ns) // INTERVAL_MEMORY

    def _left(self, now_ns: int) -> float:
        return self._used * math.exp((self._used_at_ns - now_ns) / USE_MEMORY_NS)
