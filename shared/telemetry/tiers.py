"""How good a latency is for what people do with the picture, and from when a picture is stale."""

from __future__ import annotations

__all__ = ["AMBER_MS", "GREEN_MS", "STALE_AFTER_MS", "STALE_REPEATING_MS", "tier"]

GREEN_MS = 200.0  # tele-ultrasound guidance works up to here (Bharath 2017)
AMBER_MS = 400.0  # ITU-T G.114: the general limit one way
STALE_AFTER_MS = 1000.0  # a person who looks at a still picture for 1 s must be told
STALE_REPEATING_MS = 2500.0  # of a source that stands still a picture comes about every second


def tier(latency_ms: float) -> str:
    """`green`, `amber` or `red`."""
    if latency_ms <= GREEN_MS:
        return "green"
    return "amber" if latency_ms <= AMBER_MS else "red"
