from __future__ import annotations

import pytest

from shared.link.sending import (
    FIRST_INTERVAL_NS,
    FIRST_SHARE,
    MOST_INTERVAL_NS,
    USE_MEMORY_NS,
    UsageMeter,
)

MS = 1_000_000
S = 1_000_000_000


def test_before_the_first_frame_it_says_what_is_usual():
    meter = UsageMeter()
    assert meter.interval_ns == FIRST_INTERVAL_NS
    assert meter.payload_share == FIRST_SHARE
    assert meter.rate(S) == 0


def test_the_interval_follows_that_of_the_frames():
    meter = UsageMeter()
    for i in range(60):
        meter.on_frame(1, S + i * 100 * MS)
    assert meter.interval_ns == pytest.approx(100 * MS, rel=0.01)


def test_a_pause_is_no_frame_rate():
    meter = UsageMeter()
    for i in range(60):
        meter.on_frame(1, S + i * 33 * MS)
    before = meter.interval_ns
    meter.on_frame(1, 60 * S)
    meter.on_frame(1, 60 * S + before)
    assert meter.interval_ns == before
    meter.on_frame(1, 120 * S)
    assert meter.interval_ns == before


def test_frames_that_always_come_late_are_a_frame_rate_of_the_longest_interval():
    meter = UsageMeter()
    for i in range(100):
        meter.on_frame(1, S + i * 60 * S)
    assert 0.9 * MOST_INTERVAL_NS < meter.interval_ns <= MOST_INTERVAL_NS


def test_the_rate_is_that_of_what_was_sent_lately():
    meter = UsageMeter()
    for i in range(200):
        meter.on_sent(1_000, S + i * 10 * MS)
    now = S + 2_000 * MS
    assert meter.rate(now) == pytest.approx(100_000, rel=0.05)
    assert meter.rate(now + USE_MEMORY_NS) == pytest.approx(meter.rate(now) / 2.718, rel=0.01)


def test_the_payloads_share_is_that_of_recent_frames():
    meter = UsageMeter()

    def frames(count: int, payload: int, wire: int) -> None:
        for _ in range(count):
            meter.on_frame(payload, S)
            meter.on_sent(wire - 100, S)
            meter.on_sent(100, S)

    frames(20, 800, 1_000)
    assert meter.payload_share == pytest.approx(0.8)
    frames(200, 600, 1_000)
    assert meter.payload_share == pytest.approx(0.6, abs=0.01)


def test_a_frame_of_which_nothing_left_does_not_count():
    meter = UsageMeter()
    meter.on_frame(800, S)
    meter.on_sent(1_000, S)
    meter.on_frame(5_000_000, S)
    meter.on_frame(800, S)
    assert meter.payload_share == pytest.approx(0.8)
