"""What the path loses, and how much parity goes with a frame for that.

Pure.  `LossMeter` says how much is lost, and how bunched.  `parity_count` weighs what parity costs
in bits against what it saves in frames: a block that parity can't restore waits a round trip for a
re-request, and all frames that come meanwhile wait with it, since each builds on the one before.
With k source symbols, r of parity, B blocks in a frame, a frame every T and D from a loss to its
repair (the round trip and `REPAIR_WORK_NS`),

    cost(r) = N * P(more than r of k + r are lost) + PRICE * r / k,     N = B * max(1, floor(D / T))

is what r parity symbols a block cost a viewer, and the least decides.  The chance is that of the
Gilbert channel (Gilbert, "Capacity of a burst-noise channel", 1960), worked out exactly, packet by
packet (Elliott, "Estimates of error rates for codes on burst-noise channels", 1963).

It knows nothing of time, and parity that follows its block at once is lost in the same burst.  So
where the other end takes it, each parity symbol is over the newest frames together
(`WindowParity`): what a burst took of one frame, the parity of the next ones brings.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from shared.errors import MalformedFrame
from shared.link.fec import MAX_WINDOW_SYMBOLS, ROWS
from shared.link.flight import MAX_REMEMBERED_LOST
from shared.link.messages import HEADER as PACKET_HEADER
from shared.link.messages import LARGEST_MESSAGE_BYTES, Cut, shape

__all__ = [
    "LEAST_SHARE",
    "SHORT_RTT_NS",
    "WINDOW_FRAMES",
    "WINDOW_PARITY",
    "LossMeter",
    "WindowParity",
    "pack_window_parity",
    "parity_count",
    "parse_window_parity",
    "unrestored",
    "window_header_bytes",
]

WINDOW_PARITY = 6  # first byte of the message
# kind, sequence, first frame id, row, frames; then a cut each
_HEADER = struct.Struct(">BIIBB")
_CUT = struct.Struct(">BHH")  # a frame's length in 24 bits (a block has 90 kB), symbol bytes

# How many frames, the newest included, a parity symbol is over: what an older one lacks a
# re-request has brought by then, and each frame more makes every missing symbol one unknown more.
WINDOW_FRAMES = 4

MEMORY_PACKETS = 1_000  # over which loss is averaged: ten losses at 1 %
RUN_MEMORY = 16  # runs over which their mean length is averaged
KEPT = 1.0 - 1.0 / RUN_MEMORY  # of the older runs, at each new one
MAX_RUN = 64.0

# Frames that one gives for twice the bits.  x264 gains some 5 dB from those, so that a decibel is
# worth one frame in 125.
PRICE = 0.04

# Round trips up to here leave repair to re-requests: such a repair costs a viewer nothing visible.
SHORT_RTT_NS = 25_000_000
MAX_PARITY_SHARE = 0.5  # of the source: a burst that takes more of a frame is better waited out
REPAIR_WORK_NS = 15_000_000  # from the loss to its report, and two event loops, over the round trip

GRID = 1.2  # figures are rounded to its powers: they are known no better, and seldom change so
LEAST_SHARE = 1e-5
MOST_SHARE = 0.5  # beyond, the path is broken rather than lossy


def parity_count(
    k: int, share: float, run: float, rtt_ns: int, interval_ns: int, blocks: int = 1
) -> int:
    """Parity symbols to send with each of a frame's `blocks` of `k` source symbols.

    At most `MAX_PARITY_SHARE` of them, or one.  `share` of packets is lost, `run` in a row on
    average; the round trip takes `rtt_ns`, and a frame comes every `interval_ns`.
    """
    if rtt_ns <= SHORT_RTT_NS or share < LEAST_SHARE:
        return 0
    stopped = max(1, (rtt_ns + REPAIR_WORK_NS) // max(1, interval_ns))
    return _cheapest(k, _rounded(min(share, MOST_SHARE)), _rounded(max(1.0, run)), blocks * stopped)


def _rounded(figure: float) -> float:
    return float(GRID ** round(math.log(figure, GRID)))


@lru_cache(maxsize=4096)
def _cheapest(k: int, share: float, run: float, frames: int) -> int:
    """`frames` are not shown for each block that is not restored."""
    most = max(1, math.floor(MAX_PARITY_SHARE * k))
    chances = unrestored(k, share, run, most)
    return min(range(most + 1), key=lambda r: frames * chances[r] + PRICE * r / k)


def unrestored(k: int, share: float, run: float, most: int) -> list[float]:
    """P(more than r of k + r packets in a row are lost), for each r from 0 to `most`.

    `share` of packets is lost, `run` in a row on average, but never less than losses that know
    nothing of each other make: 1 / (1 - share).
    """
    again = max(1.0 - 1.0 / run, share)  # a loss after a loss
    first = share * (1.0 - again) / (1.0 - share)  # a loss after none
    # [i]: i were lost so far, and the last packet was not (arrived), or was (lost).
    arrived, lost = [1.0 - share] + [0.0] * most, [0.0, share] + [0.0] * max(0, most - 1)
    chances = []
    for n in range(1, k + most + 1):
        if n >= k:
            r = n - k
            chances.append(max(0.0, 1.0 - math.fsum(arrived[: r + 1]) - math.fsum(lost[: r + 1])))
        both = list(zip(arrived, lost, strict=False))
        arrived = [a * (1.0 - first) + b * (1.0 - again) for a, b in both]
        lost = [0.0, *(a * first + b * again for a, b in both[:-1])]
    return chances


@dataclass(slots=True)
class _Run:
    """Packets lost in a row: the how manieth such, and how many of it are lost still."""

    number: int
    lost: int = 0


class LossMeter:
    """Fed with each packet's fate in the order of sending."""

    def __init__(self) -> None:
        self.share = 0.0  # of the packets sent lately, how many were lost: 0 to 1
        self._seen = 0
        self._lost = 1.0  # in recent runs, the older the less; one of one to begin with
        self._runs = 1.0
        self._run = _Run(0)  # the newest
        self._last_lost = -2
        self._counted: dict[int, _Run] = {}  # losses that may yet turn out to be late

    @property
    def run(self) -> float:
        """Packets lost in a row, on average: 1 or more."""
        return max(1.0, min(MAX_RUN, self._lost / self._runs))

    def on_fates(self, arrived: int, lost: list[int]) -> None:
        """So many arrived; those sequence numbers (ascending) did not."""
        total = arrived + len(lost)
        if not total:
            return
        self._seen = min(MEMORY_PACKETS, self._seen + total)
        weight = min(1.0, total / max(self._seen, 100))
        self.share += (len(lost) / total - self.share) * weight
        for sequence in lost:
            if sequence != self._last_lost + 1 or not self._run.lost:
                self._lost, self._runs = self._lost * KEPT, self._runs * KEPT + 1.0
                self._run = _Run(self._run.number + 1)
            self._lost += 1.0
            self._run.lost += 1
            self._last_lost = sequence
            self._counted[sequence] = self._run
        while len(self._counted) > MAX_REMEMBERED_LOST:
            del self._counted[next(iter(self._counted))]

    def on_late(self, sequences: Iterable[int]) -> int:
        """Those have come after all; returns how many of them had been counted as lost."""
        undone = 0
        for sequence in sequences:
            run = self._counted.pop(sequence, None)
            if run is None:
                continue
            undone += 1
            weight = KEPT ** (self._run.number - run.number)
            run.lost -= 1
            self._lost -= weight
            if not run.lost:
                self._runs -= weight
        self.share = max(0.0, self.share - undone / max(self._seen, 100))
        return undone


# -- parity over several frames ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WindowParity:
    """A parity symbol over all source symbols of frames that follow each other.

    `sequence` is of the same count as the packets'; `cuts` are those of the frames from
    `first_id` on, of `MAX_WINDOW_SYMBOLS` in all; `row` is that of `shared.link.fec.combine`, for
    which shorter symbols are filled up with zeros.
    """

    sequence: int
    first_id: int
    cuts: tuple[Cut, ...]
    row: int
    piece: bytes = field(repr=False)


def window_spare_bytes() -> int:
    """How much more than a packet's header such a symbol needs at most."""
    return window_header_bytes(WINDOW_FRAMES) - PACKET_HEADER.size


def window_header_bytes(frames: int) -> int:
    """Of the message, beside the symbol itself."""
    return _HEADER.size + frames * _CUT.size


def pack_window_parity(parity: WindowParity) -> bytes:
    header = _HEADER.pack(
        WINDOW_PARITY,
        parity.sequence,
        parity.first_id,
        parity.row,
        len(parity.cuts),
    )
    cuts = (_CUT.pack(c.length >> 16, c.length & 0xFFFF, c.symbol_bytes) for c in parity.cuts)
    return b"".join((header, *cuts, parity.piece))


def parse_window_parity(message: bytes) -> WindowParity:
    """Read a parity symbol over several frames; raises `MalformedFrame`."""
    if not _HEADER.size < len(message) <= LARGEST_MESSAGE_BYTES:
        raise MalformedFrame("a parity symbol has an impossible length")
    kind, sequence, first_id, row, count = _HEADER.unpack_from(message)
    if kind != WINDOW_PARITY or row >= ROWS or first_id + count > 1 << 32:
        raise MalformedFrame("not a parity symbol over frames")
    if not 1 <= count <= WINDOW_FRAMES:
        raise MalformedFrame("a parity symbol is over too many frames, or none")
    piece = message[window_header_bytes(count) :]
    if len(message) <= window_header_bytes(count):
        raise MalformedFrame("a parity symbol has an impossible length")
    named = _CUT.iter_unpack(message[_HEADER.size : window_header_bytes(count)])
    cuts = tuple(shape(high << 16 | low, symbol_bytes) for high, low, symbol_bytes in named)
    if sum(frame.symbols for frame in cuts) > MAX_WINDOW_SYMBOLS or any(
        frame.blocks > 1 for frame in cuts
    ):
        raise MalformedFrame("a parity symbol is over frames that are too large")
    if len(piece) != max(frame.symbol_bytes for frame in cuts):
        raise MalformedFrame("a parity symbol has another length than the frames' symbols")
    return WindowParity(sequence, first_id, cuts, row, piece)
