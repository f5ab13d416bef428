"""Which session descriptions (SDP) a link takes: those of one data-channel transport.

Pure.  It reads no more of a description than this needs; aiortc's parser reads the rest.
"""

from __future__ import annotations

import ipaddress

__all__ = ["MAX_SDP_CHARS", "is_ours", "without_names"]

MAX_SDP_CHARS = 64 * 1024  # a description with a hundred candidates has 10 KB

_CANDIDATE, _END_OF_CANDIDATES = "a=candidate:", "a=end-of-candidates"


def is_ours(sdp: str) -> bool:
    """Whether this may be a description of one data-channel transport and of nothing else.

    Its candidates' addresses are numbers, once `without_names` has been over it.
    """
    lines = sdp.splitlines() if len(sdp) <= MAX_SDP_CHARS else []
    media = [line for line in lines if line.startswith("m=")]
    has_fingerprint = any(line.startswith("a=fingerprint:sha-256 ") for line in lines)
    candidates = [line for line in lines if line.startswith(_CANDIDATE)]
    return (
        len(media) == 1
        and media[0].startswith("m=application ")
        and has_fingerprint
        and all(_is_number(_address(candidate)) for candidate in candidates)
    )


def without_names(sdp: str) -> str:
    """The description without candidates whose address is a name (RFC 8839 section 5.1).

    Browsers hide their addresses behind mDNS names (`….local`); to look one up would ask every
    network that this machine is in.  Its host is found all the same: it knows our addresses, and
    its checks show where they come from (peer-reflexive candidates, RFC 8445 section 7.3.1.3).
    So where a name was left out, or none was given, more candidates are to be expected.
    """
    lines = sdp.splitlines(keepends=True) if len(sdp) <= MAX_SDP_CHARS else []
    kept = [line for line in lines if not _is_name(line)]
    if len(kept) < len(lines) or not any(line.startswith(_CANDIDATE) for line in kept):
        kept = [line for line in kept if not line.startswith(_END_OF_CANDIDATES)]
    return "".join(kept)


def _is_name(line: str) -> bool:
    address = _address(line) if line.startswith(_CANDIDATE) else ""
    return bool(address) and not _is_number(address)


def _address(candidate: str) -> str:
    """The address of a candidate's line, empty where it has none."""
    parts = candidate.split()
    return parts[4] if len(parts) > 4 else ""


def _is_number(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True
