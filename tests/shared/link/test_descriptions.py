from __future__ import annotations

import pytest

from shared.link.descriptions import MAX_SDP_CHARS, is_ours

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
