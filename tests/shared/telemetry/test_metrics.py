from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import (
    AuthenticationFailed,
    DecodeFailed,
    FrameRejected,
    KeystreamDisagreed,
    MalformedFrame,
    Replayed,
    UnknownEpoch,
)
from shared.telemetry.metrics import (
    FreezeDetector,
    Metrics,
    drop_reason,
    latency_figures,
    tier,
)
from shared.telemetry.records import DropReason, FrameLine, ShownStages

MS = 1_000_000  # ns


def line(index: int, *, latency_ms: float = 20.0, psnr_db: float | None = 40.0) -> FrameLine:
    return FrameLine(
        at_s=0.0,
        frame=index,
        epoch=2,
        codec="jpeg",
        width=64,
        height=48,
        channels=3,
        bytes=1000,
        latency_ms=latency_ms,
        latency_bound_ms=0.5,
        psnr_db=psnr_db,
        lossless=psnr_db is None,
        stages_ms=ShownStages(),
    )


def interpolated(values: list[float], percent: float) -> float:
    """The percentile by its definition: linear between the two closest ranks."""
    ordered = sorted(values)
    rank = (len(ordered) - 1) * percent / 100
    low = int(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)


@given(st.lists(st.floats(0, 5000), min_size=1, max_size=80))
def test_percentiles_follow_their_definition(latencies: list[float]) -> None:
    figures = latency_figures(latencies)
    assert figures.p50 == pytest.approx(interpolated(latencies, 50))
    assert figures.p95 == pytest.approx(interpolated(latencies, 95))
    assert figures.p99 == pytest.approx(interpolated(latencies, 99))
    assert figures.max == max(latencies)


def test_no_frames_have_no_figures() -> None:
    summary = Metrics().summary(0.0)
    assert summary.frames_shown == 0
    assert summary.latency_ms.p50 is None
    assert summary.psnr_db.mean is None
    assert summary.fps is None


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


def test_the_rate_is_that_of_the_gaps_between_frames() -> None:
    metrics = Metrics()
    for index in range(31):
        metrics.add_frame(line(index), index * 50 * MS)
    assert metrics.snapshot(1500 * MS).fps == pytest.approx(20.0)
    assert metrics.summary(1.5).fps == pytest.approx(20.0)


def test_live_figures_forget_what_is_older_than_five_seconds() -> None:
    metrics = Metrics()
    metrics.add_frame(line(0, latency_ms=900.0), 0)
    for index in range(1, 4):
        metrics.add_frame(line(index, latency_ms=10.0), (5000 + index * 100) * MS)
    snapshot = metrics.snapshot(5400 * MS)
    assert snapshot.latency_p95_ms == pytest.approx(10.0)
    assert snapshot.frames == 4
    assert snapshot.age_ms == pytest.approx(100.0)
    assert snapshot.kbit_per_s == pytest.approx(80.0)
    assert metrics.summary(5.4).latency_ms.max == 900.0


def test_psnr_counts_only_frames_that_are_not_bit_exact() -> None:
    metrics = Metrics()
    for index, psnr in enumerate([40.0, None, 30.0]):
        metrics.add_frame(line(index, psnr_db=psnr), index * MS)
    figures = metrics.summary(0.1).psnr_db
    assert figures.mean == pytest.approx(35.0)
    assert figures.min == 30.0


def test_indices_that_never_came_are_counted_as_not_received() -> None:
    metrics = Metrics()
    for index in (10, 11, 14, 20):
        metrics.add_frame(line(index), index * MS)
    metrics.add_drop(DropReason.LATE, 13)
    metrics.add_drop(DropReason.SUPERSEDED, 22)
    dropped = metrics.summary(1.0).frames_dropped
    assert dropped == {
        DropReason.LATE: 1,
        DropReason.SUPERSEDED: 1,
        DropReason.NOT_RECEIVED: 7,  # 12, 15 to 19, 21
    }


def test_what_the_sender_says_it_dropped_is_not_held_against_the_network() -> None:
    metrics = Metrics()
    for index in (0, 5, 9):
        metrics.add_frame(line(index), index * MS)
    metrics.set_sender_tally(1, {"link_busy": 3})
    metrics.set_sender_tally(5, {"link_busy": 5})  # totals, not news
    dropped = metrics.summary(1.0).frames_dropped
    assert dropped == {DropReason.LINK_BUSY: 5, DropReason.NOT_RECEIVED: 2}


def test_what_was_lost_before_the_first_frame_and_after_the_last_is_counted_by_the_tally() -> None:
    metrics = Metrics()
    metrics.set_sender_tally(30, {"sender_busy": 4})
    assert metrics.summary(1.0).frames_dropped == {
        DropReason.SENDER_BUSY: 4,
        DropReason.NOT_RECEIVED: 30,
    }
    for index in range(10, 20):
        metrics.add_frame(line(index), index * MS)
    metrics.add_drop(DropReason.LATE, 12)
    metrics.set_link_drops(DropReason.SUPERSEDED, 3)
    assert metrics.summary(1.0).frames_dropped[DropReason.NOT_RECEIVED] == 30 - 10 - 1 - 3


def test_an_old_tally_does_not_hide_what_the_gaps_show() -> None:
    metrics = Metrics()
    metrics.set_sender_tally(2, {})
    for index in (0, 1, 9):
        metrics.add_frame(line(index), index * MS)
    assert metrics.summary(1.0).frames_dropped == {DropReason.NOT_RECEIVED: 7}


def test_a_reason_that_this_version_does_not_know_is_still_counted() -> None:
    metrics = Metrics()
    metrics.set_sender_tally(0, {"sunspots": 3, "link_busy": 1})
    assert metrics.summary(1.0).frames_dropped == {
        DropReason.NOT_RECEIVED: 3,
        DropReason.LINK_BUSY: 1,
    }


def test_a_gap_in_which_the_person_held_the_picture_is_no_freeze() -> None:
    metrics = Metrics()
    for index in range(20):
        metrics.add_frame(line(index), index * 33 * MS)
    metrics.add_drop(DropReason.FROZEN, 20)
    metrics.add_frame(line(21), 5_000 * MS)
    assert metrics.freezes == 0
    metrics.add_frame(line(22), 9_000 * MS)
    assert metrics.freezes == 1


def test_forgeries_and_replays_are_no_dropped_frames() -> None:
    metrics = Metrics()
    metrics.add_frame(line(0), 0)
    metrics.add_frame(line(1), MS)
    for reason in (DropReason.AUTH_FAILURE, DropReason.REPLAYED, DropReason.REPLAYED):
        metrics.add_drop(reason)
    summary = metrics.summary(1.0)
    assert summary.frames_dropped == {}
    assert (summary.auth_failures, summary.replays) == (1, 2)


def test_a_keystream_mismatch_is_counted_on_its_own_and_as_a_drop() -> None:
    metrics = Metrics()
    metrics.add_drop(DropReason.KEYSTREAM_MISMATCH)
    summary = metrics.summary(1.0)
    assert summary.keystream_mismatches == 1
    assert summary.frames_dropped == {DropReason.KEYSTREAM_MISMATCH: 1}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AuthenticationFailed("x"), DropReason.AUTH_FAILURE),
        (Replayed("x"), DropReason.REPLAYED),
        (KeystreamDisagreed("x"), DropReason.KEYSTREAM_MISMATCH),
        (UnknownEpoch("x"), DropReason.UNKNOWN_EPOCH),
        (DecodeFailed("x"), DropReason.DECODE_FAILED),
        (MalformedFrame("x"), DropReason.MALFORMED),
    ],
)
def test_each_rejection_has_its_reason(error: FrameRejected, reason: DropReason) -> None:
    assert drop_reason(error) is reason


def test_latency_tiers_end_at_200_and_400_ms() -> None:
    assert [tier(ms) for ms in (0, 200, 200.1, 400, 400.1)] == [
        "green", "green", "amber", "amber", "red",
    ]  # fmt: skip


def test_the_frame_rate_alone_is_that_of_the_snapshot() -> None:
    metrics = Metrics()
    assert metrics.fps(0) == 0.0
    for index in range(300):
        metrics.add_frame(line(index), index * 33 * MS)
        now_ns = index * 33 * MS + 5 * MS
        assert metrics.fps(now_ns) == metrics.snapshot(now_ns).fps
    assert metrics.fps(299 * 33 * MS) > 30.0
