"""Which session descriptions (SDP) a link takes: those of one data-channel transport.

Pure.  It reads no more of a description than this needs; aiortc's parser reads the rest.
"""

from __future__ import annotations

import ipaddress

__all__ = ["MAX_SDP_CHARS", "is_ours"]

MAX_SDP_CHARS = 64 * 1024  # a description with a hundred candidates has 10 KB


def is_ours(sdp: str) -> bool:
    """Whether this may be a description of one data-channel transport and of nothing else."""
    lines = sdp.splitlines() if len(sdp) <= MAX_SDP_CHARS else []
    media = [line for line in lines if line.startswith("m=")]
    has_fingerprint = any(line.startswith("a=fingerprint:sha-256 ") for line in lines)
    candidates = [line for line in lines if line.startswith("a=candidate:")]
    return (
        len(media) == 1
        and media[0].startswith("m=application ")
        and has_fingerprint
        and all(_names_no_host(candidate) for candidate in candidates)
    )


def _names_no_host(candidate: str) -> bool:
    """Whether its address is a number (RFC 8839 section 5.1).

    A name would be looked up by multicast DNS, on every network that this machine is in.
    """
    try:
        ipaddress.ip_address(candidate.split()[4])
    except (IndexError, ValueError):
        return False
    return True
