"""Frames to packets: symbols of equal size, in blocks, each packet one SCTP packet by itself.

Pure.  How a frame is cut follows from its length alone (`cut`), so a packet needs to name only the
frame, its length, the block and the number of the symbol; a piece of any other size is malformed.
A symbol's number below the block's count of source symbols is the frame's own bytes; above, parity
(`shared.link.fec`).  Nothing here checks integrity: that is the seal's work.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import lru_cache

from shared.errors import MalformedFrame
from shared.link.fec import MAX_SOURCE_SYMBOLS, symbol_limit
from shared.link.link import MAX_FRAME_BYTES

__all__ = [
    "DATA",
    "HEADER",
    "MAX_MESSAGE_BYTES",
    "OVERHEAD_BYTES",
    "PACKET_BYTES",
    "SYMBOL_BYTES",
    "Cut",
    "Packet",
    "cut",
    "pack_packet",
    "parse_packet",
]

DATA = 1  # first byte of the message; the other kinds are in `shared.link.messages`
HEADER = struct.Struct(">BIIIHB")  # kind, sequence, frame id, frame's length, block, symbol
# (32 bits of sequence last five days at 10 MB/s: a link does not live so long)

MAX_MESSAGE_BYTES = 1160  # one DATA chunk of one SCTP packet that fits IPv6's least MTU of 1,280
SYMBOL_BYTES = MAX_MESSAGE_BYTES - HEADER.size

# A frame has some packets at least: fewer would say nothing of the path's rate, and could not be
# repaired for less than a copy of the whole.
LEAST_SYMBOLS = 6
SMALL_SYMBOL_BYTES = 400  # but none so small that headers outweigh it

# What a message costs on the wire beside its own bytes: SCTP 12 + 16, DTLS 1.2 record with
# AES-GCM 13 + 8 + 16, UDP 8, IPv4 20.
OVERHEAD_BYTES = 93
PACKET_BYTES = MAX_MESSAGE_BYTES + OVERHEAD_BYTES  # a full packet on the wire: 1,253


@dataclass(frozen=True, slots=True)
class Cut:
    """How a frame of `length` bytes is cut: `symbols` of `symbol_bytes` each, in `blocks`."""

    length: int
    symbol_bytes: int
    symbols: int
    blocks: int

    def source_symbols(self, block: int) -> int:
        """How many source symbols a block has; they differ by at most one."""
        return self.symbols // self.blocks + (block < self.symbols % self.blocks)

    def first_symbol(self, block: int) -> int:
        """How many symbols of the frame come before this block's."""
        return block * (self.symbols // self.blocks) + min(block, self.symbols % self.blocks)


@lru_cache(maxsize=256)
def cut(length: int) -> Cut:
    """The cut of a frame of 1 to `MAX_FRAME_BYTES` bytes; raises `ValueError` for another."""
    if not 1 <= length <= MAX_FRAME_BYTES:
        raise ValueError(f"a frame is 1 to {MAX_FRAME_BYTES} bytes, not {length}")
    few = min(LEAST_SYMBOLS, -(-length // SMALL_SYMBOL_BYTES))
    symbols = max(few, -(-length // SYMBOL_BYTES))
    return Cut(length, -(-length // symbols), symbols, -(-symbols // MAX_SOURCE_SYMBOLS))


@dataclass(frozen=True, slots=True)
class Packet:
    """One symbol of one frame; `sequence` counts every packet of the link, repeats too."""

    sequence: int
    frame_id: int
    length: int
    block: int
    symbol: int
    piece: bytes = field(repr=False)


def pack_packet(packet: Packet) -> bytes:
    header = HEADER.pack(
        DATA, packet.sequence, packet.frame_id, packet.length, packet.block, packet.symbol
    )
    return header + packet.piece


def parse_packet(message: bytes) -> Packet:
    """Read a packet; raises `MalformedFrame` for one that can't be true."""
    if not HEADER.size < len(message) <= MAX_MESSAGE_BYTES:
        raise MalformedFrame("a packet has an impossible length")
    kind, sequence, frame_id, length, block, symbol = HEADER.unpack_from(message)
    if kind != DATA:
        raise MalformedFrame("not a packet of a frame")
    if not 1 <= length <= MAX_FRAME_BYTES:
        raise MalformedFrame("a packet names an impossible frame length")
    frame = cut(length)
    if block >= frame.blocks or symbol >= symbol_limit(frame.source_symbols(block)):
        raise MalformedFrame("a packet has no place in its frame")
    piece = message[HEADER.size :]
    if len(piece) != frame.symbol_bytes:
        raise MalformedFrame("a packet does not fit its place in the frame")
    return Packet(sequence, frame_id, length, block, symbol, piece)
