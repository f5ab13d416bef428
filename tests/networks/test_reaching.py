"""Ways to reach each other: TURN servers, proxies, addresses of either family."""

from __future__ import annotations

import pytest

from tests.networks.expectations import long, of
from tests.networks.sessions import Outcome

pytestmark = [pytest.mark.xdist_group("networks-reaching"), pytest.mark.timeout(240)]


@of(long("turn-udp"), long("turn-tcp"), "turn-urls-a-string")
def test_a_turn_server_carries_what_can_not_go_directly(outcome: Outcome) -> None:
    assert outcome.statuses == (0, 0)


@of("turn-udp-blocked-list", long("turn-udp-blocked-two"), long("turn-one-side-udp-blocked"))
def test_a_turn_server_is_reached_over_tcp_where_udp_does_not_get_through(outcome: Outcome) -> None:
    assert outcome.statuses == (0, 0)


@of("turn-second-server")
def test_the_second_turn_server_carries_what_the_first_does_not_answer(outcome: Outcome) -> None:
    assert outcome.statuses == (0, 0)


@of("turn-tls-ca-option", long("turn-tls-ca-variable"))
def test_a_turn_server_s_certificate_may_be_of_an_authority_that_one_names(
    outcome: Outcome,
) -> None:
    assert outcome.statuses == (0, 0)


@of(long("turn-tls-no-ca"))
def test_a_turn_server_whose_certificate_nobody_trusts_is_said_to_be_that(outcome: Outcome) -> None:
    assert outcome.receiver.status not in (0, 1, None)
    assert names(outcome.receiver.output, "trusted", "10.77.1.254:5349")
    assert "certificate" in outcome.receiver.output


@of("turn-wrong-credentials")
def test_a_turn_server_that_refuses_the_credentials_is_said_to_do_so(outcome: Outcome) -> None:
    assert outcome.receiver.status not in (0, 1, None)
    assert names(outcome.receiver.output, "refused the credentials", "10.77.1.254:3478")


@of(long("turn-dead"))
def test_a_turn_server_that_does_not_answer_is_named(outcome: Outcome) -> None:
    assert outcome.receiver.status not in (0, 1, None)
    assert names(outcome.receiver.output, "answer", "10.77.1.254:3999")


@of(
    "turn-ipv6-literal-direct", long("turn-refused-direct"), long("turn-blackhole-direct"),
    long("turn-no-such-name-direct"), long("turn-untrusted-direct"),
)  # fmt: skip
def test_a_turn_server_out_of_reach_disturbs_nothing_where_there_is_a_direct_way(
    outcome: Outcome,
) -> None:
    assert outcome.statuses == (0, 0)


@of(
    "proxy-http", long("proxy-http-lower-case"), "proxy-https", long("proxy-all"),
    long("proxy-option"),
)  # fmt: skip
def test_the_signaling_server_is_reached_by_way_of_a_proxy(outcome: Outcome) -> None:
    assert outcome.statuses == (0, 0)


@of("proxy-not-for-this-host", long("proxy-none"))
def test_a_proxy_is_not_asked_for_a_host_that_is_excepted(outcome: Outcome) -> None:
    assert not outcome.live
    assert outcome.receiver.status == 4
    assert names(outcome.receiver.output, "reached")


@of("ipv6-only")
def test_two_ends_without_ipv4_meet(outcome: Outcome) -> None:
    assert outcome.statuses == (0, 0)


@of("link-local-only")
def test_two_ends_on_one_cable_meet_or_are_told_that_they_have_no_address_for_it(
    outcome: Outcome,
) -> None:
    if outcome.statuses != (0, 0):
        assert outcome.receiver.status not in (0, 1, None)
        assert names(outcome.receiver.output, "address")
        assert "firewall" not in outcome.receiver.output


@of(long("ipv4-and-dead-ipv6"), long("ipv6-and-dead-ipv4"))
def test_the_family_that_works_is_used_where_the_other_is_dead(outcome: Outcome) -> None:
    assert outcome.statuses == (0, 0)


@of("captive-portal-page", long("captive-portal-redirect"))
def test_a_captive_portal_in_the_server_s_place_is_not_taken_for_it(outcome: Outcome) -> None:
    assert outcome.receiver.status == 4
    assert error_of(outcome.receiver.output)
    assert "Traceback" not in outcome.receiver.output
    assert "<html>" not in outcome.receiver.output


@of(long("no-such-name"))
def test_a_name_that_nobody_knows_is_said_to_be_that(outcome: Outcome) -> None:
    assert outcome.receiver.status == 4
    assert names(outcome.receiver.output, "signaling.invalid")


def error_of(output: str) -> str:
    """The error that a person was shown, and what they were told to do."""
    return output.partition("error: ")[2]


def names(output: str, *words: str) -> bool:
    return all(word in error_of(output) for word in words)
