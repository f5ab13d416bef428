from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.telemetry.metrics import FreezeDetector

MS = 1_000_000  # ns


@given(st.lists(st.integers(1, 1500), min_size=1, max_size=120))
def test_freezes_follow_the_webrtc_rule(gaps_ms: list[int]) -> None:
    detector = FreezeDetector()
    detector.add(0)
    at = 0
    expected = 0
    for position, gap in enumerate(gaps_ms):
        at += gap * MS
        before = gaps_ms[max(0, position - 30) : position]
        frozen = False
        if len(before) >= 5:
            mean = sum(before) / len(before)
            frozen = gap >= max(3 * mean, mean + 150)
        # mean is exact in ms and in ns alike up to rounding: leave the very edge alone
        edge = len(before) >= 5 and abs(gap - max(3 * mean, mean + 150)) < 1e-6
        found = detector.add(at)
        assert edge or found == frozen
        expected += found
    assert detector.count == expected


def test_a_gap_just_at_the_limit_is_a_freeze_and_just_below_is_none() -> None:
    for gap_ms, frozen in ((190, True), (189, False)):
        detector = FreezeDetector()
        for index in range(10):
            detector.add(index * 40 * MS)
        assert detector.add(9 * 40 * MS + gap_ms * MS) is frozen


def test_a_slow_but_steady_stream_never_freezes() -> None:
    detector = FreezeDetector()
    for index in range(50):
        detector.add(index * 1000 * MS)
    assert detector.count == 0
