from __future__ import annotations

import pytest

from shared.link.arrivals import JITTER_MOST_NS, JITTER_NS, TRAIN_LEAST, TRAIN_MOST, Trains
from shared.link.flight import Arrival, Sent

MS = 1_000_000
S = 1_000_000_000


def feed(
    trains: Trains,
    frame: int,
    packets: int,
    *,
    spacing_ns: int = MS,
    delay_ns: int = 20 * MS,
    repair: bool = False,
) -> None:
    """A frame that leaves at once and arrives spread over the bottleneck's pace."""
    for i in range(packets):
        sent = Sent(100 * frame + i, frame * 33 * MS, 1_000, frame, 0, i, repair)
        trains.add(Arrival(sent, sent.at_ns + delay_ns + i * spacing_ns))


def test_a_train_arrives_at_the_rate_of_the_path():
    trains = Trains()
    for frame in range(5):
        feed(trains, frame, 20)
    assert trains.ceiling() == pytest.approx(1e6)  # a packet of 1,000 bytes a millisecond


def test_too_few_packets_are_no_train():
    trains = Trains()
    for frame in range(5):
        feed(trains, frame, TRAIN_LEAST - 1)
    assert trains.ceiling() is None


def test_repairs_are_no_part_of_a_train():
    trains = Trains()
    for frame in range(5):
        feed(trains, frame, 20, repair=True)
    assert trains.ceiling() is None


def test_a_large_frame_teaches_before_it_ends():
    trains = Trains()
    feed(trains, 0, TRAIN_MOST + 1)
    assert trains.ceiling() == pytest.approx(1e6)


def test_a_path_that_became_faster_shows_with_its_latest_trains():
    trains = Trains()
    for frame in range(12):
        feed(trains, frame, 20)
    for frame in range(12, 15):
        feed(trains, frame, 20, spacing_ns=MS // 4)
    assert trains.ceiling() == pytest.approx(4e6)


def test_what_is_cleared_or_too_old_is_not_believed():
    trains = Trains()
    for frame in range(3):
        feed(trains, frame, 20)
    feed(trains, 3, 1)
    assert trains.ceiling() is not None
    trains.clear()
    assert trains.ceiling() is None
    for frame in range(4, 7):
        feed(trains, frame, 20)
    feed(trains, 200, 1)
    assert trains.ceiling() is None


def test_delay_that_wavers_from_train_to_train_is_jitter_up_to_a_limit():
    steady, wavering, wild = Trains(), Trains(), Trains()
    for frame in range(60):
        feed(steady, frame, 3)
        feed(wavering, frame, 3, delay_ns=(20 + 4 * (frame % 2)) * MS)
        feed(wild, frame, 3, delay_ns=(20 + 500 * (frame % 2)) * MS)
    # The very first delay has nothing before it to differ from.
    assert steady.jitter_ns == pytest.approx(JITTER_NS, rel=0.1)
    assert wavering.jitter_ns == pytest.approx(JITTER_NS + 6 * MS, rel=0.1)
    assert wild.jitter_ns == JITTER_NS + JITTER_MOST_NS
