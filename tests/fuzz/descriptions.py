"""Session descriptions and ICE restarts, up to what aiortc's own parser makes of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from aiortc.sdp import SessionDescription

from shared.errors import LinkFailed
from shared.link.webrtc.descriptions import MAX_CANDIDATES, Whereabouts, cleaned, is_ours


def one(data: bytes) -> None:
    sdp = data.decode("utf-8", "replace")
    kept = cleaned(sdp)
    assert kept.count("a=candidate:") <= max(MAX_CANDIDATES, sdp.count("a=candidate:") - 1)
    if is_ours(kept):
        with contextlib.suppress(Exception):  # whatever it raises, the link says that it can't read
            SessionDescription.parse(kept)
    with contextlib.suppress(LinkFailed):
        whereabouts = Whereabouts.parse(sdp)
        assert len(whereabouts.candidates) <= MAX_CANDIDATES
        assert str(Whereabouts.parse(str(whereabouts))) == str(whereabouts)


_OFFER = """v=0\r
o=- 3890011111 3890011111 IN IP4 0.0.0.0\r
s=-\r
t=0 0\r
a=group:BUNDLE 0\r
a=msid-semantic:WMS *\r
m=application 50000 UDP/DTLS/SCTP webrtc-datachannel\r
c=IN IP4 192.0.2.1\r
a=mid:0\r
a=sctp-port:5000\r
a=max-message-size:65536\r
a=candidate:1 1 udp 2130706431 192.0.2.1 50000 typ host\r
a=candidate:2 1 udp 1694498815 2001:db8::1 50001 typ srflx raddr 192.0.2.1 rport 50000\r
a=candidate:3 1 udp 2130706431 4f1c2b9e.local 50002 typ host\r
a=candidate:4 1 tcp 2105524479 192.0.2.1 9 typ host tcptype active\r
a=end-of-candidates\r
a=ice-ufrag:abcd\r
a=ice-pwd:abcdefghijklmnopqrstuv\r
a=fingerprint:sha-256 AB:CD:EF\r
a=setup:actpass\r
"""


def seeds() -> Iterator[tuple[str, bytes]]:
    yield "offer", _OFFER.encode()
    yield "many", (_OFFER + "a=candidate:1 1 udp 1 192.0.2.1 1 typ host\r\n" * 40).encode()
    restart = [line for line in _OFFER.splitlines() if "ice-" in line or "candidate" in line]
    yield "restart", "\r\n".join(restart).encode()
