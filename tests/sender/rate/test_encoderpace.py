"""The frame rate falls to what the machine keeps up with, and rises again."""

from __future__ import annotations

from fractions import Fraction

from sender.rate.plan import BUSY_FROM, BUSY_OVER, RATES, STEP_UP_NS, WARM_UP, EncoderPace

FPS = 30.0
MS = 1_000_000


def warm() -> EncoderPace:
    pace = EncoderPace()
    for _ in range(WARM_UP):
        pace.took(1000 * MS)
    return pace


def fill(pace: EncoderPace, busy_ms: int) -> None:
    for _ in range(BUSY_OVER):
        pace.took(busy_ms * MS)


def test_the_first_frames_of_a_stream_tell_nothing_however_slow() -> None:
    pace = warm()
    assert pace.busy_ns == 0
    fill(pace, 10)
    assert pace.settle(0, FPS) is None
    assert pace.share == 1


def test_few_frames_tell_nothing() -> None:
    pace = warm()
    for _ in range(BUSY_FROM - 1):
        pace.took(100 * MS)
    assert pace.settle(0, FPS) is None
    assert pace.share == 1


def test_a_slow_encoder_costs_one_step_and_is_then_measured_anew() -> None:
    pace = warm()
    fill(pace, 31)
    assert pace.settle(0, FPS) == "frame rate lowered: encoder slow"
    assert pace.share == Fraction(2, 3)
    assert pace.settle(1, FPS) is None, "nothing is known of the new rate yet"


def test_one_slow_frame_is_none() -> None:
    pace = warm()
    fill(pace, 10)
    pace.took(500 * MS)
    assert pace.settle(0, FPS) is None
    assert pace.busy_ns == 10 * MS


def test_it_rises_when_the_next_step_would_leave_room_for_a_while() -> None:
    pace = warm()
    fill(pace, 31)
    pace.settle(0, FPS)
    fill(pace, 27)  # four fifths of the interval at full rate: too much
    assert pace.settle(0, FPS) is None
    assert pace.settle(STEP_UP_NS, FPS) is None
    fill(pace, 10)
    assert pace.settle(2 * STEP_UP_NS, FPS) is None
    assert pace.settle(3 * STEP_UP_NS, FPS) == "frame rate raised: encoder keeps up"
    assert pace.share == 1


def test_there_is_a_slowest_rate() -> None:
    pace = warm()
    for at in range(10):
        fill(pace, 1000)
        pace.settle(at, FPS)
    assert pace.share == RATES[-1]
