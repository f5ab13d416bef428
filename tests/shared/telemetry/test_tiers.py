from __future__ import annotations

from shared.telemetry.tiers import tier


def test_latency_tiers_end_at_200_and_400_ms() -> None:
    assert [tier(ms) for ms in (0, 200, 200.1, 400, 400.1)] == [
        "green", "green", "amber", "amber", "red",
    ]  # fmt: skip
