"""Paths that are long, lopsided, or deliver packets twice or in another order."""

from __future__ import annotations

import pytest

from tests.networks.expectations import long, of
from tests.networks.sessions import FPS, Outcome

pytestmark = [pytest.mark.xdist_group("networks-paths"), pytest.mark.timeout(240)]


@of(long("rtt600"), long("rtt1500"), long("one-way-slow"))
def test_pictures_come_over_a_path_as_long_as_by_satellite(outcome: Outcome) -> None:
    assert outcome.statuses == (0, 0)
    assert len(outcome.frames) > FPS


@of(long("reordering"), long("duplicates"), long("jitter"))
def test_packets_that_come_twice_or_in_another_order_cost_no_session(outcome: Outcome) -> None:
    assert outcome.statuses == (0, 0)
    assert len(outcome.frames) > FPS
    assert [frame.frame for frame in outcome.frames] == sorted(f.frame for f in outcome.frames)


@of(long("lossy-to-receiver"), long("lossy-to-sender"))
def test_a_path_that_loses_in_one_direction_only_carries_pictures(outcome: Outcome) -> None:
    assert outcome.statuses == (0, 0)
    assert len(outcome.frames) > FPS


@of(long("narrow"))
def test_a_path_that_is_narrow_carries_fewer_or_smaller_pictures(outcome: Outcome) -> None:
    assert outcome.statuses == (0, 0)
    assert len(outcome.frames) > FPS
