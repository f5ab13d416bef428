"""A frame's log line is put together from what comes at different times."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.ledger import MAX_PENDING, Ledger
from receiver.pipeline import Receipt
from shared.clock import ClockEstimate
from shared.control import TimingRow
from shared.wire import FrameMetadata

MS = 1_000_000
CLOCK = ClockEstimate(offset_ns=500 * MS, bound_ns=2 * MS, rtt_ns=4 * MS)
BEGAN_NS = 10 * MS


def arrival(index: int, *, counter: int | None = None, captured_ms: int = 1000) -> Receipt:
    """Captured at `captured_ms` on the sender's clock, which is 500 ms ahead of ours."""
    ours_ns = captured_ms * MS - CLOCK.offset_ns
    return Receipt(
        key=(1, index if counter is None else counter),
        metadata=FrameMetadata(
            index=index,
            captured_at_ns=captured_ms * MS,
            codec="jpeg",
            width=64,
            height=48,
            channels=1,
            psnr_db=41.5,
            stages_us={"capture": 100, "mask": 200, "encode": 3000},
        ),
        sealed_bytes=777,
        received_at_ns=ours_ns + 10 * MS,
        opened_at_ns=ours_ns + 11 * MS,
        released_at_ns=ours_ns + 12 * MS,
        decoded_at_ns=ours_ns + 13 * MS,
    )


def timing(counter: int, epoch: int = 1) -> TimingRow:
    return TimingRow(counter=counter, epoch=epoch, keystream_us=50, seal_us=150, send_us=1500)


def shown_at(captured_ms: int = 1000) -> int:
    return captured_ms * MS - CLOCK.offset_ns + 20 * MS


def test_a_line_is_whole_once_shown_and_timed_in_either_order() -> None:
    ledger = Ledger(BEGAN_NS)
    ledger.arrived(arrival(0))
    assert ledger.take() == []
    assert ledger.shown(0, shown_at(), CLOCK) is not None
    assert ledger.take() == []
    ledger.timed([timing(0)])
    [line] = ledger.take()
    assert line.frame == 0
    assert ledger.take() == []

    ledger.timed([timing(1)])  # may come before the frame itself
    ledger.arrived(arrival(1))
    ledger.shown(1, shown_at(), CLOCK)
    assert [line.frame for line in ledger.take()] == [1]


def test_latency_is_capture_to_shown_on_one_clock() -> None:
    ledger = Ledger(BEGAN_NS)
    ledger.arrived(arrival(0))
    at_once = ledger.shown(0, shown_at(), CLOCK)
    assert at_once is not None
    assert at_once.latency_ms == pytest.approx(20.0)
    assert at_once.latency_bound_ms == pytest.approx(2.0)
    assert at_once.at_s == pytest.approx((shown_at() - BEGAN_NS) / 1e9)


def test_the_stages_add_up_to_the_latency() -> None:
    ledger = Ledger(BEGAN_NS)
    ledger.arrived(arrival(0))
    ledger.shown(0, shown_at(), CLOCK)
    ledger.timed([timing(0)])
    [line] = ledger.take()
    stages = line.stages_ms
    assert sum(stages.model_dump().values()) == pytest.approx(line.latency_ms, abs=1e-9)
    assert stages.keystream == pytest.approx(0.05)
    assert stages.seal == pytest.approx(0.15)
    assert stages.send == pytest.approx(1.5)
    assert stages.network == pytest.approx(10 - 5.0)
    assert (stages.open, stages.hold, stages.decode) == pytest.approx((1.0, 1.0, 1.0))
    assert stages.show == pytest.approx(7.0)


def test_without_the_senders_late_figures_they_are_null_and_the_rest_still_adds_up() -> None:
    ledger = Ledger(BEGAN_NS)
    ledger.arrived(arrival(0))
    ledger.shown(0, shown_at(), CLOCK)
    [line] = ledger.take(everything=True)
    stages = line.stages_ms.model_dump()
    assert stages["keystream"] is stages["seal"] is stages["send"] is None
    assert sum(value for value in stages.values() if value is not None) == pytest.approx(20.0)


def test_a_frame_that_was_never_shown_gets_no_line() -> None:
    ledger = Ledger(BEGAN_NS)
    ledger.arrived(arrival(0))
    ledger.timed([timing(0)])
    assert ledger.take(everything=True) == []
    assert ledger.forget(0)
    assert not ledger.forget(0)
    assert ledger.shown(0, shown_at(), CLOCK) is None
    assert ledger.take(everything=True) == []


def test_a_frame_counts_as_shown_once_and_then_can_not_be_forgotten() -> None:
    ledger = Ledger(BEGAN_NS)
    ledger.arrived(arrival(0))
    assert ledger.shown(0, shown_at(), CLOCK) is not None
    assert ledger.shown(0, shown_at() + MS, CLOCK) is None
    assert not ledger.forget(0)
    [line] = ledger.take(everything=True)
    assert line.latency_ms == pytest.approx(20.0)


def test_lines_whose_timing_never_comes_do_not_pile_up() -> None:
    ledger = Ledger(BEGAN_NS)
    lines = []
    for index in range(MAX_PENDING + 5):
        ledger.arrived(arrival(index))
        ledger.shown(index, shown_at(), CLOCK)
        lines += ledger.take()
    assert [line.frame for line in lines] == list(range(MAX_PENDING + 1))


@given(st.integers(1, 30), st.randoms(use_true_random=False))
def test_every_shown_frame_gets_one_line_however_its_pieces_are_ordered(
    count: int, dice: random.Random
) -> None:
    ledger = Ledger(BEGAN_NS)
    timings = [timing(counter) for counter in range(count)]
    dice.shuffle(timings)
    lines = []
    for index in range(count):
        ledger.arrived(arrival(index))
        ledger.shown(index, shown_at(), CLOCK)
        if dice.random() < 0.7:
            ledger.timed([timings.pop()])
        lines += ledger.take()
    ledger.timed(timings)
    lines += ledger.take(everything=True)
    assert sorted(line.frame for line in lines) == list(range(count))
    assert all(line.stages_ms.seal is not None for line in lines)


def test_a_repeated_frame_is_as_old_as_its_picture_and_is_marked() -> None:
    ledger = Ledger(BEGAN_NS)
    hour = 3600 * 1000
    told = arrival(0, captured_ms=100 * hour)
    stages = {"capture": 2**32 - 1, "mask": 200, "encode": 3000}
    ledger.arrived(replace(told, metadata=replace(told.metadata, repeated=True, stages_us=stages)))
    line = ledger.shown(0, shown_at(102 * hour), CLOCK)
    assert line is not None
    assert line.repeated
    assert line.latency_ms == pytest.approx(2 * hour + 20)
    [whole] = ledger.take(everything=True)
    assert whole.stages_ms.network is None, "the wire has no room for how long it waited"
