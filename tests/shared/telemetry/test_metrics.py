from __future__ import annotations

import tracemalloc

import pytest

from shared.telemetry.metrics import WINDOW_FRAMES, Metrics
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


def test_no_frames_have_no_figures() -> None:
    summary = Metrics().summary(0.0)
    assert summary.frames_shown == 0
    assert summary.latency_ms.p50 is None
    assert summary.psnr_db.mean is None
    assert summary.fps is None


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
    assert snapshot.silence_ms == pytest.approx(100.0)
    assert snapshot.kbit_per_s == pytest.approx(80.0)
    assert metrics.summary(5.4).latency_ms.max == 900.0


def test_psnr_counts_only_frames_that_are_not_exact_or_as_good_as_that() -> None:
    metrics = Metrics()
    for index, psnr in enumerate([40.0, None, 30.0, 100.0]):
        metrics.add_frame(line(index, psnr_db=psnr), index * MS)
    figures = metrics.summary(0.1).psnr_db
    assert figures.mean == pytest.approx(35.0)
    assert figures.min == 30.0


def test_indices_that_never_came_are_counted_as_not_received() -> None:
    metrics = Metrics()
    for index in (10, 11, 14, 20):
        metrics.add_frame(line(index), index * MS)
    metrics.add_drop(DropReason.LATE, 0, 13)
    metrics.add_drop(DropReason.SUPERSEDED, 0, 22)
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
    metrics.add_drop(DropReason.LATE, 0, 12)
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
    metrics.add_drop(DropReason.FROZEN, 660 * MS, 20)
    metrics.add_frame(line(21), 5_000 * MS)
    assert metrics.summary(5.0).freezes == 0
    metrics.add_frame(line(22), 9_000 * MS)
    assert metrics.summary(9.0).freezes == 1


def test_forgeries_and_replays_are_no_dropped_frames() -> None:
    metrics = Metrics()
    metrics.add_frame(line(0), 0)
    metrics.add_frame(line(1), MS)
    for reason in (DropReason.AUTH_FAILURE, DropReason.REPLAYED, DropReason.REPLAYED):
        metrics.add_drop(reason, 0)
    summary = metrics.summary(1.0)
    assert summary.frames_dropped == {}
    assert (summary.auth_failures, summary.replays) == (1, 2)


def test_a_keystream_mismatch_is_counted_on_its_own_and_as_a_drop() -> None:
    metrics = Metrics()
    metrics.add_drop(DropReason.KEYSTREAM_MISMATCH, 0)
    summary = metrics.summary(1.0)
    assert summary.keystream_mismatches == 1
    assert summary.frames_dropped == {DropReason.KEYSTREAM_MISMATCH: 1}


def test_the_frame_rate_alone_is_that_of_the_snapshot() -> None:
    metrics = Metrics()
    assert metrics.fps(0) == 0.0
    for index in range(300):
        metrics.add_frame(line(index), index * 33 * MS)
        now_ns = index * 33 * MS + 5 * MS
        assert metrics.fps(now_ns) == metrics.snapshot(now_ns).fps
    assert metrics.fps(299 * 33 * MS) > 30.0


def test_what_came_while_the_person_held_the_picture_is_no_loss_and_counted_apart() -> None:
    metrics = Metrics()
    metrics.add_frame(line(0), 0)
    for index in (1, 2):
        metrics.add_drop(DropReason.FROZEN, index * MS, index)
    metrics.add_frame(line(4), 4 * MS)
    metrics.set_sender_tally(5, {})
    summary = metrics.summary(1.0)
    assert summary.frames_frozen == 2
    assert summary.frames_dropped == {DropReason.NOT_RECEIVED: 1}
    snapshot = metrics.snapshot(5 * MS)
    assert (snapshot.frozen, snapshot.drops) == (2, {})


def test_the_time_for_which_the_person_held_the_picture_does_not_lower_the_frame_rate() -> None:
    metrics = Metrics()
    for index in range(31):
        metrics.add_frame(line(index), index * 50 * MS)
    metrics.add_drop(DropReason.FROZEN, 1_550 * MS, 31)
    assert metrics.snapshot(9_000 * MS).holding
    for index in range(32, 63):
        metrics.add_frame(line(index), 9_000 * MS + index * 50 * MS)
    assert not metrics.snapshot(13_000 * MS).holding
    assert metrics.summary(13.0).fps == pytest.approx(20.0)


def test_a_short_hold_does_not_lower_the_live_figures_either() -> None:
    metrics = Metrics()
    for index in range(31):
        metrics.add_frame(line(index), index * 50 * MS)
    before = metrics.snapshot(1_500 * MS)
    metrics.add_drop(DropReason.FROZEN, 1_550 * MS, 31)
    for index in range(20):
        metrics.add_frame(line(40 + index), 3_500 * MS + index * 50 * MS)
        now_ns = 3_501 * MS + index * 50 * MS
        after = metrics.snapshot(now_ns)
        assert after.fps == metrics.fps(now_ns) == pytest.approx(before.fps)
        assert after.kbit_per_s == pytest.approx(before.kbit_per_s)
    assert before.kbit_per_s == pytest.approx(160.0)


def test_where_every_gap_was_held_there_is_no_frame_rate() -> None:
    metrics = Metrics()
    metrics.add_frame(line(0), 0)
    metrics.add_drop(DropReason.FROZEN, 10 * MS, 1)
    metrics.add_frame(line(2), 900 * MS)
    assert metrics.summary(1.0).fps is None
    assert metrics.snapshot(900 * MS).fps == 0.0


def test_who_lets_go_of_the_picture_holds_none_though_no_other_has_come_yet() -> None:
    metrics = Metrics()
    for index in range(31):
        metrics.add_frame(line(index), index * 50 * MS)
    metrics.add_drop(DropReason.FROZEN, 1_550 * MS, 31)
    metrics.resume()
    snapshot = metrics.snapshot(4_550 * MS)
    assert not snapshot.holding
    assert snapshot.silence_ms == pytest.approx(3_000.0)
    metrics.add_frame(line(32), 9_000 * MS)
    summary = metrics.summary(9.0)
    assert summary.freezes == 0
    assert summary.fps == pytest.approx(20.0)


def test_while_the_person_holds_the_picture_frames_that_come_break_the_silence() -> None:
    metrics = Metrics()
    metrics.add_frame(line(0), 0)
    metrics.add_drop(DropReason.FROZEN, 5_000 * MS, 1)
    metrics.add_drop(DropReason.LATE, 6_000 * MS, 2)
    snapshot = metrics.snapshot(7_000 * MS)
    assert snapshot.holding
    assert snapshot.silence_ms == pytest.approx(2_000.0)


def test_the_longer_a_session_lasts_the_figures_take_no_more_memory() -> None:
    metrics = Metrics()
    lines = [line(index, latency_ms=5 + index * 0.37 % 300) for index in range(1_800)]

    def stream(minutes: int, began_ns: int) -> int:
        now_ns = began_ns
        for _ in range(minutes):
            for frame in lines:
                now_ns += 33 * MS
                metrics.add_frame(frame, now_ns)
                metrics.add_drop(DropReason.LATE, now_ns, frame.frame)
        return now_ns

    now_ns = stream(2, 0)
    tracemalloc.start()
    try:
        now_ns = stream(1, now_ns)  # what the figures look back on is new
        before, _ = tracemalloc.get_traced_memory()
        stream(10, now_ns)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 5_000  # bytes; 18,000 latencies as floats are 144,000


def test_frames_that_come_all_at_once_are_not_kept() -> None:
    metrics = Metrics()
    for index in range(3 * WINDOW_FRAMES):
        metrics.add_frame(line(index), MS)
    assert len(metrics._recent) == WINDOW_FRAMES


def test_repeated_frames_are_in_no_figure_but_the_bytes() -> None:
    metrics = Metrics()
    for index in range(40):
        metrics.add_frame(line(index), index * 50 * MS)
    before = metrics.summary(2.0)
    for index in range(40, 70):  # half a minute
        still = line(index, latency_ms=30_000.0, psnr_db=20.0).model_copy(update={"repeated": True})
        metrics.add_frame(still, (1950 + (index - 39) * 1000) * MS)
    figures = metrics.snapshot(32_000 * MS)
    assert (figures.frames, figures.repeated) == (40, True)
    assert figures.silence_ms == pytest.approx(50)
    for index in range(70, 110):
        metrics.add_frame(line(index), (32_500 + (index - 70) * 50) * MS)
    after = metrics.summary(35.0)
    assert not metrics.snapshot(34_500 * MS).repeated
    assert after.frames_shown == 80
    assert after.latency_ms == before.latency_ms
    assert after.psnr_db == before.psnr_db
    assert after.fps == pytest.approx(20.0)
    assert after.freezes == 0
    assert after.bytes == 110 * 1000
    assert after.frames_dropped == {}, "they were shown: none is missing"


def test_a_live_rate_is_not_lowered_by_the_time_in_which_the_source_stood_still() -> None:
    metrics = Metrics()
    for index in range(20):
        metrics.add_frame(line(index), index * 50 * MS)
    metrics.add_frame(line(20).model_copy(update={"repeated": True}), 2000 * MS)
    for index in range(21, 41):
        metrics.add_frame(line(index), (2500 + (index - 21) * 50) * MS)
    assert metrics.snapshot(3500 * MS).fps == pytest.approx(20.0)
