from __future__ import annotations

import numpy as np
import pytest

from lab.bench.rivals.place import Wire
from lab.bench.rivals.records import Offered, Picture, Shown, StreamRecord
from lab.bench.rivals.rival import Run
from lab.bench.rivals.usage import Usage
from lab.bench.stream_figures import (
    Quality,
    clock_error,
    figures_of,
    gaps_ms,
    quality_of,
    recovery_ms,
    steadiness,
    wanted_pictures,
)
from shared.strip import draw_strip, strip_height

MS = 1_000_000
SECOND = 1000 * MS
NO_QUALITY = Quality(None, None, 0, 0, "pictures")


def steady(
    seconds: int = 10, *, fps: int = 20, latency_ms: int = 40, without: frozenset[int] = frozenset()
) -> StreamRecord:
    """Pictures at even distances, each shown `latency_ms` later but for those `without`."""
    offered = [Offered(i, i * SECOND // fps) for i in range(seconds * fps)]
    shown = [
        Shown(o.index, o.captured_at_ns, o.captured_at_ns + latency_ms * MS)
        for o in offered
        if o.index not in without
    ]
    return StreamRecord(offered, shown)


def run_of(record: StreamRecord, seconds: int = 10, **rest: object) -> Run:
    return Run(record, 0, seconds * SECOND, **rest)  # type: ignore[arg-type]


def test_a_steady_stream_has_its_latency_and_no_freeze() -> None:
    figures = figures_of(run_of(steady()), NO_QUALITY, warmup_s=2)
    assert (figures.offered, figures.shown, figures.shown_share) == (160, 160, 1.0)
    assert figures.latency_p50_ms == figures.latency_max_ms == 40
    assert figures.freezes == 0
    assert figures.longest_gap_ms == 50
    assert figures.shown_fps == pytest.approx(20)


def test_what_was_captured_in_the_warm_up_does_not_count() -> None:
    record = steady(latency_ms=40)
    record.shown[5] = Shown(5, record.shown[5].captured_at_ns, 9 * SECOND)  # very late, but early
    assert figures_of(run_of(record), NO_QUALITY, warmup_s=2).latency_max_ms == 40
    assert figures_of(run_of(record), NO_QUALITY, warmup_s=0).latency_max_ms == 8750


def test_a_picture_counts_as_shown_however_late() -> None:
    record = steady()
    record.shown[-1] = Shown(199, record.shown[-1].captured_at_ns, 15 * SECOND)
    figures = figures_of(run_of(record), NO_QUALITY, warmup_s=2)
    assert figures.shown == figures.offered
    assert figures.latency_max_ms == pytest.approx(5050)


def test_a_picture_shown_twice_counts_once_and_at_its_first_showing() -> None:
    record = steady()
    again = record.shown[100]
    record.shown.append(Shown(100, again.captured_at_ns, again.shown_at_ns + 500 * MS))
    figures = figures_of(run_of(record), NO_QUALITY, warmup_s=2)
    assert (figures.shown, figures.latency_max_ms) == (160, 40)


def test_pictures_never_shown_lower_the_share_and_make_a_freeze() -> None:
    record = steady(without=frozenset(range(100, 110)))
    figures = figures_of(run_of(record), NO_QUALITY, warmup_s=2)
    assert figures.shown_share == 150 / 160
    assert figures.freezes == 1
    assert figures.longest_gap_ms == 550


def test_a_freeze_in_the_warm_up_is_not_counted() -> None:
    record = steady(without=frozenset(range(10, 20)))
    assert figures_of(run_of(record), NO_QUALITY, warmup_s=2).freezes == 0
    assert figures_of(run_of(record), NO_QUALITY, warmup_s=0).freezes == 1


def test_pictures_with_an_unreadable_strip_were_shown_and_tell_no_latency() -> None:
    record = steady(without=frozenset({100}))
    record.unreadable_ns.append(100 * SECOND // 20 + 40 * MS)
    figures = figures_of(run_of(record), NO_QUALITY, warmup_s=2)
    assert (figures.shown, figures.unreadable, figures.longest_gap_ms) == (160, 1, 50)


def test_a_stream_that_shows_nothing_is_one_gap() -> None:
    figures = figures_of(run_of(StreamRecord(steady().offered, [])), NO_QUALITY, warmup_s=2)
    assert (figures.shown, figures.latency_p50_ms, figures.longest_gap_ms) == (0, None, 8000)


@pytest.mark.parametrize(
    ("moments", "expected"),
    [
        ([0, 30, 60, 100], [30, 30, 40]),
        ([-50, 20, 100], [70, 80]),  # it began before, and is counted whole
        ([0, 60], [60, 40]),  # it does not end: counted up to the end
        ([40, 100], [60, 40]),  # nothing at the beginning
        ([-20, -10], [100]),
        ([90, 150], [60, 90]),
    ],
)
def test_gaps_are_those_that_overlap_what_is_evaluated(
    moments: list[int], expected: list[float]
) -> None:
    found = gaps_ms([at * MS for at in moments], 0, 100 * MS)
    assert found == expected


def test_processor_time_is_by_picture_of_the_source_and_memory_the_peak() -> None:
    usage = [Usage(at * SECOND, 0.5 * at, (100 + at) << 20) for at in range(11)]
    wire = Wire(2_500_000, 0, 10.0)
    run = run_of(steady(), usage={"sender": usage, "receiver": []}, wire=wire)
    figures = figures_of(run, NO_QUALITY, warmup_s=2)
    assert figures.sender_cpu_ms == pytest.approx(25)  # 4 s for 160 pictures
    assert figures.receiver_cpu_ms is None
    assert (figures.sender_peak_mib, figures.receiver_peak_mib) == (110, None)
    assert figures.mbit_per_s == 2.0


def test_quality_is_measured_below_the_strip_against_the_clip_in_its_loop() -> None:
    random = np.random.default_rng(1)
    clip = {i: random.integers(0, 256, (64, 320), np.uint8) for i in range(5)}
    same, other = clip[3].copy(), clip[4].copy()
    draw_strip(same, 103, 1)  # the picture 103 is the fourth of a clip of five
    draw_strip(other, 104, 1)
    below = strip_height(320)
    other[below:] ^= 1
    record = steady()
    record.pictures.extend([Picture(103, same), Picture(104, other)])
    assert wanted_pictures(record.pictures, 5) == {3, 4}
    quality = quality_of(run_of(record), clip, 5, warmup_s=2)
    assert (quality.exact, quality.pictures, quality.measured_by) == (1, 2, "pictures")
    assert quality.mean_db == pytest.approx(48.13, abs=0.01)  # an error of 1 everywhere


def test_pictures_of_the_warm_up_are_not_measured() -> None:
    clip = {0: np.zeros((64, 320), np.uint8)}
    record = steady()
    record.pictures.append(Picture(0, np.full((64, 320), 255, np.uint8)))
    assert quality_of(run_of(record), clip, 1, warmup_s=2).pictures == 0


def test_a_picture_that_came_smaller_is_measured_at_the_size_of_the_source() -> None:
    clip = {0: np.full((64, 320), 100, np.uint8)}
    record = steady()
    record.pictures.append(Picture(100, np.full((32, 160), 100, np.uint8)))
    assert quality_of(run_of(record), clip, 1, warmup_s=2).exact == 1


def test_without_pictures_the_senders_own_measure_is_taken() -> None:
    record = steady()
    record.shown[:] = [
        Shown(s.index, s.captured_at_ns, s.shown_at_ns, psnr_db=40.0) for s in record.shown
    ]
    quality = quality_of(run_of(record), {}, 1, warmup_s=2)
    assert (quality.mean_db, quality.pictures, quality.measured_by) == (40.0, 160, "sender")


def test_recovery_is_until_a_picture_captured_after_the_outage_is_shown() -> None:
    record = steady(without=frozenset(range(60, 90)))
    assert recovery_ms(record, 4 * SECOND) == 540  # the picture of 4.5 s, 40 ms later
    assert recovery_ms(record, 20 * SECOND) is None


def test_the_clock_error_is_what_is_told_against_what_the_strip_says() -> None:
    record = StreamRecord(
        [],
        [
            Shown(0, 0, 40 * MS, told_ms=40.5, bound_ms=1.0),
            Shown(1, 0, 40 * MS, told_ms=38.0, bound_ms=1.0),
            Shown(2, 0, 40 * MS),
        ],
    )
    found = clock_error(record)
    assert found["clock_error_max_ms"] == 2.0
    assert found["clock_error_within_bound"] == 0.5
    assert clock_error(steady()) == {}


def test_a_long_stream_tells_how_latency_and_memory_have_moved() -> None:
    record = steady()
    record.shown[:] = [
        Shown(s.index, s.captured_at_ns, s.shown_at_ns + s.index * MS) for s in record.shown
    ]
    usage = {"sender": [Usage(at * SECOND // 2, 0.0, (100 + at) << 20) for at in range(20)]}
    moved = steadiness(run_of(record, usage=usage), warmup_s=0)
    assert moved["latency_p50_change_ms"] == pytest.approx(180)
    assert moved["sender_rss_change_mib"] == pytest.approx(18)
