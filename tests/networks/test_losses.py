"""Packets that are lost from the beginning, at the end, or for their size."""

from __future__ import annotations

import pytest

from tests.networks.expectations import STALE_MS, long, of
from tests.networks.sessions import FPS, Outcome

pytestmark = [pytest.mark.xdist_group("networks-losses"), pytest.mark.timeout(240)]


@of("pair20", long("pair10"), long("pair20-to-sender"), long("pair20-to-receiver"), long("pair40"))
def test_two_ends_pair_while_packets_are_lost_or_are_told_how_many(outcome: Outcome) -> None:
    if outcome.statuses != (0, 0):
        assert outcome.receiver.status not in (0, 1, None)
        assert "loses" in outcome.receiver.output
        assert "clock" not in outcome.receiver.output


@of(
    "bye20a", "bye20b", "bye20c", long("bye5a"), long("bye5b"), long("bye5c"), long("bye10a"),
    long("bye10b"), long("bye10c"),
)  # fmt: skip
def test_a_clean_end_is_told_as_one_however_many_packets_are_lost(outcome: Outcome) -> None:
    assert outcome.statuses == (0, 0)
    assert "the sender's source ended" in outcome.receiver.output


@of(
    long("mtu1280"), long("mtu1200"), "mtu600",
    long("icmp1280"), long("icmp1240"), "icmp1200", long("icmp600"),
    long("hole1280"), long("hole1240"), "hole1200", "hole600",
)  # fmt: skip
def test_pictures_get_through_a_path_of_small_packets_whoever_tells_of_them(
    outcome: Outcome,
) -> None:
    if outcome.statuses != (0, 0):
        assert outcome.receiver.status not in (0, 1, None)
        assert "packet size" in outcome.receiver.output
        assert "version" not in outcome.receiver.output
    else:
        assert len(outcome.frames) > FPS // 2
        assert outcome.oldest_ms < 2 * STALE_MS


@of(long("hole-opens"))
def test_pictures_go_on_when_the_path_begins_to_swallow_full_packets(outcome: Outcome) -> None:
    assert outcome.statuses == (0, 0)
    last_s = outcome.frames[-1].at_s
    assert last_s > 8.0  # of 12, with full packets for the first two or three
    assert len([frame for frame in outcome.frames if frame.at_s > last_s - 3.0]) > FPS // 2
