"""How good a latency is for what people do with the picture: green, amber or red."""

from __future__ import annotations

__all__ = ["AMBER_MS", "GREEN_MS", "tier"]

GREEN_MS = 200.0  # tele-ultrasound guidance works up to here (Bharath 2017)
AMBER_MS = 400.0  # ITU-T G.114: the general limit one way


def tier(latency_ms: float) -> str:
    """`green`, `amber` or `red`."""
    if latency_ms <= GREEN_MS:
        return "green"
    return "amber" if latency_ms <= AMBER_MS else "red"
