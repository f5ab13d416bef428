from __future__ import annotations

import pytest

from shared.link.webrtc.descriptions import MAX_SDP_CHARS, is_ours, without_names

GOOD = """v=0
m=application 9 UDP/DTLS/SCTP webrtc-datachannel
a=fingerprint:sha-256 00:11
a=candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host
a=candidate:2 1 udp 2130706431 2001:db8::1 5000 typ host
"""


def test_one_data_channel_section_with_numeric_addresses_is_ours():
    assert is_ours(GOOD)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda sdp: "",
        lambda sdp: sdp + "m=audio 9 UDP/TLS/RTP/SAVPF 0\n",
        lambda sdp: sdp.replace("m=application", "m=video"),
        lambda sdp: sdp.replace("sha-256", "sha-1"),
        lambda sdp: sdp.replace("192.0.2.1", "somewhere.local"),
        lambda sdp: sdp + "a=candidate:3\n",
        lambda sdp: sdp + "a=x\n" * (MAX_SDP_CHARS // 4),
    ],
)
def test_anything_else_is_not(spoil):
    assert not is_ours(spoil(GOOD))


END = "a=end-of-candidates\n"
NAMED = "a=candidate:3 1 udp 2130706431 f7a1.local 5000 typ host\n"


def test_a_candidate_that_is_a_name_is_left_out_and_others_are_to_be_expected():
    assert without_names(GOOD + NAMED + END) == GOOD
    assert is_ours(without_names(GOOD + NAMED + END))


def test_a_description_without_names_stays_as_it_is():
    assert without_names(GOOD + END) == GOOD + END


def test_where_no_address_is_given_others_are_to_be_expected():
    bare = "".join(line for line in GOOD.splitlines(keepends=True) if "candidate" not in line)
    assert without_names(bare + END) == bare
    assert is_ours(bare)


def test_what_is_no_candidate_is_not_left_out_but_refused():
    assert not is_ours(without_names(GOOD + "a=candidate:3\n"))


def test_a_description_beyond_the_limit_is_none():
    assert not is_ours(without_names(GOOD + "a=x\n" * (MAX_SDP_CHARS // 4)))
