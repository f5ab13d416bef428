"""The path moves under a session: it follows, where there is one to follow."""

from __future__ import annotations

from statistics import median

import pytest

from tests.networks.expectations import after, long, of
from tests.networks.sessions import FPS, Outcome

pytestmark = [pytest.mark.xdist_group("networks-paths"), pytest.mark.timeout(240)]


@of("two-if-down")
def test_a_session_goes_over_to_the_second_interface_when_the_first_goes_down(
    outcome: Outcome,
) -> None:
    follows(outcome)


@of("addr-change", long("addr-change-receiver"))
def test_a_session_follows_a_host_whose_address_changes(outcome: Outcome) -> None:
    follows(outcome)


@of(long("addr-change-both"))
def test_two_hosts_whose_addresses_change_at_once_find_each_other(outcome: Outcome) -> None:
    follows(outcome)


@of("nat-rebind")
def test_a_session_follows_a_nat_that_shows_the_other_end_at_a_new_port(outcome: Outcome) -> None:
    follows(outcome)


@of(long("ipv4-dies"), long("ipv6-dies"))
def test_a_session_goes_over_to_the_other_family_when_one_dies(outcome: Outcome) -> None:
    follows(outcome)


@of("docker")
def test_interfaces_of_containers_at_the_same_addresses_disturb_nothing(outcome: Outcome) -> None:
    assert outcome.statuses == (0, 0)
    assert outcome.longest_gap_s <= after(0)


def follows(outcome: Outcome) -> None:
    """The picture is back within a second, and then comes at its old pace."""
    assert outcome.statuses == (0, 0)
    assert outcome.longest_gap_s <= after(0)
    # Not counted from the longest gap: where the path is followed at once, that may be any.
    assert len(outcome.gaps_s) > 4 * FPS
    assert median(outcome.gaps_s[-4 * FPS :]) < 3 / FPS
