"""A frame that leaves, or may need repair: its symbols, and what is known of each.

Pure.  It keeps the books of `shared.link.sendqueue`, which decides what leaves.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared.link.fec import parity
from shared.link.packets import HEADER, OVERHEAD_BYTES, Cut

__all__ = ["Block", "OutgoingFrame"]


@dataclass(slots=True)
class Block:
    """What is known of one block at the other end; there are `k` source symbols.

    Sets of symbols are bitmaps: one that was called lost, sent again and came twice counts once.
    """

    k: int
    there: int = 0
    flying: int = 0
    unsent: int = 0  # those that have not left for the first time
    waiting: int = 0  # repairs that are queued and not sent
    fresh: int = 0  # the first symbol number that was never used

    @property
    def whole(self) -> bool:
        return self.there.bit_count() >= self.k

    @property
    def coming(self) -> int:
        """The symbols that are there, or will be if nothing more is lost."""
        return self.there | self.flying | self.unsent | self.waiting


class OutgoingFrame:
    """A frame that leaves, or may need repair."""

    __slots__ = (
        "blocks", "cut", "data", "frame_id", "last_sent_ns", "packet_bytes", "to_send", "unfinished"
    )  # fmt: skip

    def __init__(self, frame_id: int, data: bytes, shape: Cut) -> None:
        self.frame_id = frame_id
        self.data = data
        self.cut = shape
        self.packet_bytes = HEADER.size + shape.symbol_bytes + OVERHEAD_BYTES  # on the wire
        self.blocks = [Block(shape.source_symbols(i)) for i in range(shape.blocks)]
        self.unfinished = shape.blocks
        self.to_send = 0  # packets that have not left for the first time
        self.last_sent_ns = 0

    def source(self, block: int, symbol: int) -> bytes:
        size = self.cut.symbol_bytes
        start = (self.cut.first_symbol(block) + symbol) * size
        piece = self.data[start : start + size]
        return piece if len(piece) == size else piece + bytes(size - len(piece))

    def symbol(self, block: int, symbol: int) -> bytes:
        k = self.blocks[block].k
        if symbol < k:
            return self.source(block, symbol)
        return parity([self.source(block, i) for i in range(k)], [symbol])[0]
