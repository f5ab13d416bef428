"""Which session descriptions (SDP) a link takes: those of one data-channel transport.

Pure.  It reads no more of a description than this needs; aiortc's parser reads the rest.  Besides,
the descriptions of an ICE restart, which say nothing but where an end can be reached now.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from aioice import Candidate

from shared.errors import LinkFailed
from shared.link.webrtc.addresses import is_unicast
from shared.link.webrtc.checks import Credentials

__all__ = ["MAX_CANDIDATES", "MAX_SDP_CHARS", "Whereabouts", "cleaned", "is_ours"]

MAX_SDP_CHARS = 64 * 1024  # a description with a hundred candidates has 10 KB
MAX_SDP_LINES = 512
MAX_CANDIDATES = 16  # who has more interfaces than that is found by one of them

_CANDIDATE, _END_OF_CANDIDATES = "a=candidate:", "a=end-of-candidates"
_MAX_CANDIDATE_CHARS = 512
_UFRAG, _PASSWORD = "a=ice-ufrag:", "a=ice-pwd:"
_TYPES = ("host", "srflx", "prflx", "relay")
_WORD = re.compile(r"[A-Za-z0-9+/]+")  # ice-char, RFC 8839 section 5.4


def is_ours(sdp: str) -> bool:
    """Whether this may be a description of one data-channel transport and of nothing else."""
    lines = _lines(sdp)
    media = [line for line in lines if line.startswith("m=")]
    has_fingerprint = any(line.startswith("a=fingerprint:sha-256 ") for line in lines)
    return len(media) == 1 and media[0].startswith("m=application ") and has_fingerprint


def cleaned(sdp: str) -> str:
    """The description with its first `MAX_CANDIDATES` usable candidates and no others.

    Left out are those of another component or of TCP, and those whose address is no host's number.
    Browsers hide their addresses behind mDNS names (`….local`); to look one up would ask every
    network that this machine is in.  Its host is found all the same: it knows our addresses, and
    its checks show where they come from (peer-reflexive candidates, RFC 8445 section 7.3.1.3).
    So where any was left out, or none was given, more candidates are to be expected.
    """
    lines = _lines(sdp)
    kept, candidates = [], 0
    for line in lines:
        if line.startswith(_CANDIDATE):
            if candidates == MAX_CANDIDATES or _candidate(line) is None:
                continue
            candidates += 1
        kept.append(line)
    if len(kept) < len(lines) or not candidates:
        kept = [line for line in kept if not line.startswith(_END_OF_CANDIDATES)]
    return "".join(line + "\r\n" for line in kept)


def _lines(sdp: str) -> list[str]:
    """Its lines, or none of one that is beyond what a description needs."""
    if len(sdp) > MAX_SDP_CHARS:
        return []
    lines = sdp.splitlines()
    return lines if len(lines) <= MAX_SDP_LINES else []


def _candidate(line: str) -> Candidate | None:
    """The candidate of a line, or None where it can't be used."""
    if len(line) > _MAX_CANDIDATE_CHARS:
        return None
    try:
        candidate = Candidate.from_sdp(line[len(_CANDIDATE) :])
    except ValueError:
        return None
    usable = (
        candidate.component == 1
        and candidate.transport.lower() == "udp"
        and candidate.type in _TYPES
        and 0 < candidate.port < 2**16
        and 0 < candidate.priority < 2**32
        and is_unicast(candidate.host)
    )
    return candidate if usable else None


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where one end can be reached from now on, and by which credentials: an ICE restart.

    Written as RFC 8840 section 9 does, an SDP fragment of a media line and what belongs to it.
    """

    credentials: Credentials
    candidates: tuple[Candidate, ...]

    def __str__(self) -> str:
        head = [
            _UFRAG + self.credentials.ufrag,
            _PASSWORD + self.credentials.password,
            "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
            "a=mid:0",
        ]
        offered = [_CANDIDATE + candidate.to_sdp() for candidate in self.candidates]
        return "".join(line + "\r\n" for line in [*head, *offered, _END_OF_CANDIDATES])

    @classmethod
    def parse(cls, fragment: str) -> Whereabouts:
        """Read the other end's; raises `LinkFailed` for what is none."""
        lines = _lines(fragment)
        ufrag, password = _value(lines, _UFRAG), _value(lines, _PASSWORD)
        # RFC 8839 section 5.4
        good = 4 <= len(ufrag) <= 256 and 22 <= len(password) <= 256
        if not (good and _WORD.fullmatch(ufrag) and _WORD.fullmatch(password)):
            raise LinkFailed("the other end's ICE restart can't be read")
        found = [_candidate(line) for line in lines if line.startswith(_CANDIDATE)]
        usable = [candidate for candidate in found if candidate is not None]
        return cls(Credentials(ufrag, password), tuple(usable[:MAX_CANDIDATES]))


def _value(lines: Sequence[str], name: str) -> str:
    found = [line[len(name) :] for line in lines if line.startswith(name)]
    return found[0] if len(found) == 1 else ""
