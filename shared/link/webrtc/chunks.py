"""SCTP packets as the other end sends them: cut into chunks that can be read without a stumble.

Pure.  aiortc's own reader goes round for ever on a parameter of length 0 and raises whatever it
stumbles over on a short chunk; so each chunk is checked here first, and what is not well formed
(RFC 9260 section 3, RFC 3758, RFC 6525) refuses the packet as a whole.  What a chunk asks for is
not judged here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from google_crc32c import value as crc32c

__all__ = [
    "ChunkType",
    "MalformedPacket",
    "RawChunk",
    "SctpPacket",
    "forward_streams",
    "gap_blocks",
    "packet_bytes",
    "parameters",
    "parse_sctp",
]

HEADER_BYTES = 12
CHUNK_HEADER_BYTES = 4
# The least DATA chunk takes 20 bytes, so an honest packet of 1,500 bytes holds 74.
MAX_CHUNKS = 80

_HEADER = struct.Struct("!HHL")  # ports and verification tag; the checksum follows
_CHUNK = struct.Struct("!BBH")
_CHECKSUM = struct.Struct("<L")  # the only little-endian number of SCTP (RFC 9260 appendix A)
_PARAMETER = struct.Struct("!HH")
_SACK = struct.Struct("!LLHH")  # cumulative TSN, window, how many gap blocks and duplicates


class MalformedPacket(ValueError):
    """A packet that no SCTP stack sends."""


class ChunkType(IntEnum):
    DATA = 0
    INIT = 1
    INIT_ACK = 2
    SACK = 3
    HEARTBEAT = 4
    HEARTBEAT_ACK = 5
    ABORT = 6
    SHUTDOWN = 7
    SHUTDOWN_ACK = 8
    ERROR = 9
    COOKIE_ECHO = 10
    COOKIE_ACK = 11
    SHUTDOWN_COMPLETE = 14
    RE_CONFIG = 130
    FORWARD_TSN = 192


@dataclass(frozen=True, slots=True)
class RawChunk:
    """One chunk; `body` is what follows its header, without padding."""

    type: int
    flags: int
    body: bytes


@dataclass(frozen=True, slots=True)
class SctpPacket:
    """`tag` is the verification tag; unknown chunks are left in, for who counts them."""

    tag: int
    chunks: tuple[RawChunk, ...]


def parse_sctp(data: bytes) -> SctpPacket:
    """Read a packet; raises `MalformedPacket`."""
    if len(data) < HEADER_BYTES + CHUNK_HEADER_BYTES:
        raise MalformedPacket("a packet has no chunk")
    _, _, tag = _HEADER.unpack_from(data)
    if data[8:12] != _CHECKSUM.pack(crc32c(data[:8] + bytes(4) + data[12:])):
        raise MalformedPacket("a packet's checksum is wrong")
    return SctpPacket(tag, tuple(_chunks(data)))


def _chunks(data: bytes) -> Iterator[RawChunk]:
    at, count = HEADER_BYTES, 0
    # The last chunk's padding may be missing, so less than a header may be left over.
    while at + CHUNK_HEADER_BYTES <= len(data):
        kind, flags, length = _CHUNK.unpack_from(data, at)
        count += 1
        if length < CHUNK_HEADER_BYTES or at + length > len(data) or count > MAX_CHUNKS:
            raise MalformedPacket("a chunk's length is wrong, or there are too many")
        body = data[at + CHUNK_HEADER_BYTES : at + length]
        check = _CHECKS.get(kind)
        if check is not None and not check(body):
            raise MalformedPacket("a chunk is not what its type says")
        yield RawChunk(kind, flags, body)
        at += length + -length % 4


def parameters(body: bytes) -> list[tuple[int, bytes]]:
    """The parameters (type, value) of a chunk; raises `MalformedPacket`."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while at < len(body):
        if at + _PARAMETER.size > len(body):
            raise MalformedPacket("a parameter is cut short")
        kind, length = _PARAMETER.unpack_from(body, at)
        # A length of 0 would name the same parameter for ever.
        if length < _PARAMETER.size or at + length > len(body):
            raise MalformedPacket("a parameter's length is wrong")
        found.append((kind, body[at + _PARAMETER.size : at + length]))
        at += length + -length % 4
    return found


def gap_blocks(body: bytes) -> tuple[int, tuple[int, ...]]:
    """A SACK's cumulative TSN and its gap blocks as offsets of it: first, last, first, ..."""
    cumulative, _, gaps, _ = _SACK.unpack_from(body)
    return cumulative, struct.unpack_from(f"!{2 * gaps}H", body, _SACK.size)


def forward_streams(body: bytes) -> tuple[int, dict[int, int]]:
    """A FORWARD TSN's cumulative TSN and, by stream, the last message that is passed over."""
    (cumulative,) = struct.unpack_from("!L", body)
    return cumulative, dict(struct.iter_unpack("!HH", body[4:]))


def packet_bytes(source_port: int, destination_port: int, tag: int, chunk: bytes) -> bytes:
    """A packet of one chunk, which is padded already."""
    head = _HEADER.pack(source_port, destination_port, tag)
    return head + _CHECKSUM.pack(crc32c(head + bytes(4) + chunk)) + chunk


def _well_formed_parameters(body: bytes) -> bool:
    try:
        parameters(body)
    except MalformedPacket:
        return False
    return True


def _is_sack(body: bytes) -> bool:
    if len(body) < _SACK.size:
        return False
    _, _, gaps, duplicates = _SACK.unpack_from(body)
    return bool(len(body) == _SACK.size + 4 * (gaps + duplicates))


def _is_init(body: bytes) -> bool:
    return len(body) >= 16 and _well_formed_parameters(body[16:])


_CHECKS: dict[int, Callable[[bytes], bool]] = {
    ChunkType.DATA: lambda body: len(body) > 12,  # one without any data breaks RFC 9260 too
    ChunkType.INIT: _is_init,
    ChunkType.INIT_ACK: _is_init,
    ChunkType.SACK: _is_sack,
    ChunkType.HEARTBEAT: _well_formed_parameters,
    ChunkType.ERROR: _well_formed_parameters,
    ChunkType.RE_CONFIG: _well_formed_parameters,
    ChunkType.FORWARD_TSN: lambda body: len(body) >= 4 and len(body) % 4 == 0,
}
