from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import LinkFailed
from shared.link.webrtc.checks import Credentials
from shared.link.webrtc.descriptions import (
    MAX_CANDIDATES,
    MAX_SDP_CHARS,
    Whereabouts,
    cleaned,
    is_ours,
)

HEAD = """v=0
m=application 9 UDP/DTLS/SCTP webrtc-datachannel
a=fingerprint:sha-256 00:11
"""
GOOD = (
    HEAD
    + """a=candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host
a=candidate:2 1 udp 2130706431 2001:db8::1 5000 typ host
"""
)
END = "a=end-of-candidates\n"


def lines(sdp: str) -> list[str]:
    return sdp.splitlines()


def test_one_data_channel_section_is_ours():
    assert is_ours(GOOD)
    assert is_ours(HEAD)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda sdp: "",
        lambda sdp: sdp + "m=audio 9 UDP/TLS/RTP/SAVPF 0\n",
        lambda sdp: sdp.replace("m=application", "m=video"),
        lambda sdp: sdp.replace("sha-256", "sha-1"),
        lambda sdp: sdp + "a=x\n" * (MAX_SDP_CHARS // 4),
        lambda sdp: sdp + "a=\n" * 600,
    ],
)
def test_anything_else_is_not(spoil):
    assert not is_ours(spoil(GOOD))
    assert not is_ours(cleaned(spoil(GOOD)))


@pytest.mark.parametrize(
    "candidate",
    [
        "3 1 udp 2130706431 f7a1.local 5000 typ host",
        "3 1 udp 2130706431 turn.example.org 5000 typ relay",
        "3 1 udp 2130706431 224.0.0.251 5353 typ host",
        "3 1 udp 2130706431 ff02::fb 5353 typ host",
        "3 1 udp 2130706431 ::ffff:224.0.0.251 5353 typ host",
        "3 1 udp 2130706431 0.0.0.0 5000 typ host",
        "3 1 udp 2130706431 0.1.2.3 5000 typ host",
        "3 1 udp 2130706431 :: 5000 typ host",
        "3 1 udp 2130706431 255.255.255.255 5000 typ host",
        "3 1 udp 2130706431 fe80::1%eth0 5000 typ host",
        "3 1 udp 2130706431 192.0.2.7 0 typ host",
        "3 1 udp 2130706431 192.0.2.7 65536 typ host",
        "3 1 udp 2130706431 192.0.2.7 -1 typ host",
        "3 1 udp 99999999999 192.0.2.7 5000 typ host",
        "3 2 udp 2130706431 192.0.2.7 5000 typ host",
        "3 1 tcp 2130706431 192.0.2.7 9 typ host tcptype active",
        "3 1 udp 2130706431 192.0.2.7 5000 typ nonsense",
        "3 1 udp 2130706431 192.0.2.7 5000 typ host raddr 192.0.2.8 rport x",
        "3 1 udp 2130706431 192.0.2.7 5000 typ host " + "x" * 1000,
        "cut",
        "",
    ],
)
def test_a_candidate_that_can_not_be_used_is_left_out_and_others_are_to_be_expected(candidate):
    assert lines(cleaned(GOOD + f"a=candidate:{candidate}\n" + END)) == lines(GOOD)


def test_a_description_of_usable_candidates_stays_as_it_is():
    assert lines(cleaned(GOOD + END)) == lines(GOOD + END)


def test_where_no_address_is_given_others_are_to_be_expected():
    assert lines(cleaned(HEAD + END)) == lines(HEAD)


def test_of_many_candidates_the_first_are_kept():
    many = [f"a=candidate:{n} 1 udp 1 192.0.2.{n} 5000 typ host\n" for n in range(1, 141)]
    assert lines(cleaned(HEAD + "".join(many) + END)) == lines(
        HEAD + "".join(many[:MAX_CANDIDATES])
    )


@given(st.text(st.characters(codec="utf-8"), max_size=300))
def test_no_text_is_too_strange_to_be_looked_at(text):
    is_ours(cleaned(HEAD + "a=candidate:" + text))


WHERE = Whereabouts(Credentials("abcdefgh", "p" * 24), ())
FRAGMENT = str(WHERE) + "a=candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host\r\n"


def test_whereabouts_are_read_as_they_were_written():
    (candidate,) = Whereabouts.parse(FRAGMENT).candidates
    assert (candidate.host, candidate.port, candidate.type) == ("192.0.2.1", 5000, "host")
    again = Whereabouts.parse(str(Whereabouts(WHERE.credentials, (candidate,))))
    assert again.credentials == WHERE.credentials
    assert [str(c) for c in again.candidates] == [str(candidate)]
    assert "p" * 24 not in repr(again)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: text.replace("a=ice-ufrag", "a=x"),
        lambda text: text.replace("abcdefgh", "abc"),
        lambda text: text.replace("abcdefgh", "abc:defgh"),
        lambda text: text.replace("p" * 24, "p" * 21),
        lambda text: text.replace("p" * 24, "p" * 257),
        lambda text: text + text,
        lambda text: text + "a=x\r\n" * 600,
    ],
)
def test_whereabouts_that_are_none_are_refused(spoil):
    with pytest.raises(LinkFailed):
        Whereabouts.parse(spoil(FRAGMENT))
