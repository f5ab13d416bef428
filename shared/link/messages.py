"""All bytes of the two channels: packets of frames, reports, pings, and goodbye.

Pure.  The first byte of every message names its kind; probes of the packet size are in
`shared.link.pathmtu`, parity over several frames in `shared.link.redundancy`.  Big-endian.

Frames to packets: symbols of equal size, in blocks, each packet one SCTP packet by itself.  A
frame's cut follows from its length and the size of its symbols, and a packet carries one symbol; so
a packet needs to name only the frame, its length, the block and the number of the symbol.  A
symbol's number below the block's count of source symbols is the frame's own bytes; above, parity
(`shared.link.fec`).  There are two kinds.  `DATA` is of the one size that every version knows: its
symbols have the size that `cut(length)` gives, and anything else is malformed.  `SIZED` is for an
other end that has the feature `packet-sizes`: its symbols have the size that it comes with, so that
a frame fits the path that it leaves on.  Nothing here checks integrity: that is the seal's work.

A report is as RFC 8888 and transport-wide congestion control
(draft-holmer-rmcat-transport-wide-cc) have it: a run of sequence numbers, and for each whether and
when it arrived.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from shared.errors import MalformedFrame
from shared.link.events import MAX_FRAME_BYTES

__all__ = [
    "AGE_UNIT_NS",
    "APP",
    "BYE",
    "DATA",
    "FAREWELL",
    "HEADER",
    "LARGEST_MESSAGE_BYTES",
    "LEAST_MESSAGE_BYTES",
    "MAX_AGE",
    "MAX_MESSAGE_BYTES",
    "MAX_REPORTED",
    "MAX_SOURCE_SYMBOLS",
    "MAX_TOLD",
    "OVERHEAD_BYTES",
    "OVERHEAD_IPV6_BYTES",
    "PACKET_BYTES",
    "PING",
    "PONG",
    "REPORT",
    "SIZED",
    "SYMBOL_BYTES",
    "Cut",
    "Packet",
    "Ping",
    "Pong",
    "Report",
    "cut",
    "pack_app",
    "pack_bye",
    "pack_farewell",
    "pack_packet",
    "pack_ping",
    "pack_pong",
    "pack_report",
    "parse_control",
    "parse_packet",
    "parse_report",
    "parse_small",
    "shape",
    "symbol_limit",
]

# -- packets of frames ----------------------------------------------------------------------------

# First byte of the message; the other kinds are in `shared.link.messages`.
DATA = 1
SIZED = 5
HEADER = struct.Struct(">BIIIHB")  # kind, sequence, frame id, frame's length, block, symbol
# (32 bits of sequence last five days at 10 MB/s: a link does not live so long)

MAX_MESSAGE_BYTES = 1160  # one DATA chunk of one SCTP packet that fits IPv6's least MTU of 1,280
SYMBOL_BYTES = MAX_MESSAGE_BYTES - HEADER.size

# What a message costs on the wire beside its own bytes: SCTP 12 + 16, DTLS 1.2 record with
# AES-GCM 13 + 8 + 16, UDP 8, IPv4 20 or IPv6 40.
OVERHEAD_BYTES = 93
OVERHEAD_IPV6_BYTES = 113
PACKET_BYTES = MAX_MESSAGE_BYTES + OVERHEAD_BYTES  # a full packet on the wire: 1,253

# Sizes of messages that a path may be found to carry: the largest fills Ethernet's 1,500 bytes over
# IPv4 (SCTP pads to 4), the least leaves 43 of the 576 bytes that every IPv4 host takes to tunnels.
LARGEST_MESSAGE_BYTES = (1500 - OVERHEAD_BYTES) // 4 * 4  # 1,404
LEAST_MESSAGE_BYTES = 440

# A frame has some packets at least: fewer would say nothing of the path's rate, and could not be
# repaired for less than a copy of the whole.
LEAST_SYMBOLS = 6
SMALL_SYMBOL_BYTES = 400  # but none so small that headers outweigh it

# Half a small symbol is the least that `cut` makes of a frame of several; smaller ones would cost
# whoever holds them more than their own bytes, so nobody may send them.
LEAST_SYMBOL_BYTES = SMALL_SYMBOL_BYTES // 2
LARGEST_SYMBOL_BYTES = LARGEST_MESSAGE_BYTES - HEADER.size


# Source symbols a block: the work of a decode grows with its square, the strength hardly at all.
MAX_SOURCE_SYMBOLS = 64


def symbol_limit(k: int) -> int:
    """How many different symbols a block of `k` source symbols has; the first `k` are the source.

    More parity than the source itself is no repair any more; the 16 are for the smallest blocks.
    """
    return 2 * k + 16


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
def cut(length: int, message_bytes: int = MAX_MESSAGE_BYTES, spare_bytes: int = 0) -> Cut:
    """The cut of a frame of 1 to `MAX_FRAME_BYTES` bytes into messages of at most `message_bytes`.

    `spare_bytes` of each are left for what a parity symbol over such frames needs beside it.
    Raises `ValueError` for a frame of another length, and for messages that are not
    `LEAST_MESSAGE_BYTES` to `LARGEST_MESSAGE_BYTES`.
    """
    if not 1 <= length <= MAX_FRAME_BYTES:
        raise ValueError(f"a frame is 1 to {MAX_FRAME_BYTES} bytes, not {length}")
    if not LEAST_MESSAGE_BYTES <= message_bytes <= LARGEST_MESSAGE_BYTES:
        raise ValueError(
            f"a message is cut to {LEAST_MESSAGE_BYTES} to {LARGEST_MESSAGE_BYTES} bytes,"
            f" not {message_bytes}"
        )
    few = min(LEAST_SYMBOLS, -(-length // SMALL_SYMBOL_BYTES))
    symbols = max(few, -(-length // (message_bytes - HEADER.size - spare_bytes)))
    return shape(length, -(-length // symbols))


@lru_cache(maxsize=256)
def shape(length: int, symbol_bytes: int) -> Cut:
    """The cut of a frame of `length` bytes into symbols of `symbol_bytes`.

    Raises `MalformedFrame` for a frame that is too large, and for symbols that are: larger than a
    packet holds, or so small that a frame of several would be held in crumbs.
    """
    if not 1 <= length <= MAX_FRAME_BYTES:
        raise MalformedFrame("a packet names an impossible frame length")
    if not min(length, LEAST_SYMBOL_BYTES) <= symbol_bytes <= LARGEST_SYMBOL_BYTES:
        raise MalformedFrame("a packet's symbol has an impossible size")
    symbols = -(-length // symbol_bytes)
    return Cut(length, symbol_bytes, symbols, -(-symbols // MAX_SOURCE_SYMBOLS))


class Packet(NamedTuple):
    """One symbol of one frame; `sequence` counts every packet of the link, repeats too.

    The frame is cut as `shape(length, len(piece))` says.
    """

    sequence: int
    frame_id: int
    length: int
    block: int
    symbol: int
    piece: bytes


def pack_packet(packet: Packet, kind: int = DATA) -> bytes:
    """The message; `kind` is `SIZED` for another cut than `cut(length)`."""
    sequence, frame_id, length, block, symbol, piece = packet
    return HEADER.pack(kind, sequence, frame_id, length, block, symbol) + piece


def parse_packet(message: bytes) -> Packet:
    """Read a packet of either kind; raises `MalformedFrame` for one that can't be true."""
    symbol_bytes = len(message) - HEADER.size
    if symbol_bytes <= 0:
        raise MalformedFrame("a packet has an impossible length")
    kind, sequence, frame_id, length, block, symbol = HEADER.unpack_from(message)
    frame = shape(length, symbol_bytes)
    if kind == DATA:
        if symbol_bytes != cut(length).symbol_bytes:
            raise MalformedFrame("a packet does not fit its place in the frame")
    elif kind != SIZED:
        raise MalformedFrame("not a packet of a frame")
    if block >= frame.blocks or symbol >= symbol_limit(frame.source_symbols(block)):
        raise MalformedFrame("a packet has no place in its frame")
    return Packet(sequence, frame_id, length, block, symbol, message[HEADER.size :])


# -- reports, pings, goodbye ----------------------------------------------------------------------

# frames channel (1 is a packet of a frame)
REPORT = 2
PING = 3
PONG = 4
FAREWELL = 9
# control channel
APP = 0x10
BYE = 0x11

AGE_UNIT_NS = 50_000  # 50 us: finer than any event loop; 16 bits of it reach back 3.2 s
MAX_AGE = 0xFFFF - 1
MAX_REPORTED = 512  # packets that another end's report may tell of
MAX_TOLD = 208  # that ours does: 433 bytes, so that every path carries it (`LEAST_MESSAGE_BYTES`)

_REPORT = struct.Struct(">BIHQ")  # kind, first sequence, how many, time of the report in ns
_PING = struct.Struct(">Bq")
_PONG = struct.Struct(">Bqqq")


@dataclass(frozen=True, slots=True)
class Report:
    """`ages[i]`: 0 where packet `begin + i` has not come, else 1 + its age in `AGE_UNIT_NS`.

    `at_ns` is the reporting end's clock.
    """

    begin: int
    at_ns: int
    ages: tuple[int, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ping:
    """`t1`: when it left, in ns of the asking end's clock."""

    t1: int


@dataclass(frozen=True, slots=True)
class Pong:
    """`t1` as asked; `t2` when the ping came, `t3` when this left, of the answering end's clock."""

    t1: int
    t2: int
    t3: int


def pack_report(report: Report) -> bytes:
    count = len(report.ages)
    header = _REPORT.pack(REPORT, report.begin, count, report.at_ns)
    return header + struct.pack(f">{count}H", *report.ages)


def parse_report(message: bytes) -> Report:
    """Read a report; raises `MalformedFrame`."""
    if len(message) < _REPORT.size:
        raise MalformedFrame("a report is too short")
    kind, begin, count, at_ns = _REPORT.unpack_from(message)
    if kind != REPORT or not 1 <= count <= MAX_REPORTED:
        raise MalformedFrame("not a report, or of too many packets")
    if len(message) != _REPORT.size + 2 * count:
        raise MalformedFrame("a report has another length than it says")
    return Report(begin, at_ns, struct.unpack_from(f">{count}H", message, _REPORT.size))


def pack_ping(t1: int) -> bytes:
    return _PING.pack(PING, t1)


def pack_pong(t1: int, t2: int, t3: int) -> bytes:
    return _PONG.pack(PONG, t1, t2, t3)


def parse_small(message: bytes) -> Ping | Pong:
    """Read a ping or its answer; raises `MalformedFrame`."""
    try:
        match message[:1]:
            case b"\x03":
                return Ping(_PING.unpack(message)[1])
            case b"\x04":
                return Pong(*_PONG.unpack(message)[1:])
    except struct.error:
        pass
    raise MalformedFrame("an unknown or damaged link message")


def pack_farewell() -> bytes:
    """A goodbye on the frames channel, where it waits behind nothing that was lost."""
    return bytes((FAREWELL,))


def pack_app(message: bytes) -> bytes:
    return bytes((APP,)) + message


def pack_bye() -> bytes:
    """A goodbye says nothing: whoever has not paired must not put words on a person's screen."""
    return bytes((BYE,))


def parse_control(message: bytes) -> tuple[int, bytes]:
    """Split a control channel's message into its kind and the rest; raises `MalformedFrame`."""
    if message[:1] == bytes((APP,)) or message == pack_bye():
        return message[0], message[1:]
    raise MalformedFrame("an unknown control message")
