"""What is to leave: packets of frames for the first time, and repairs of what was lost.

Pure.  It keeps a frame for as long as it may still be of use, knows what has become of each of its
symbols, and chooses what is sent again.  When and how fast anything leaves, and how much parity a
frame gets, is decided in `shared.link.sending`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from shared.link.fec import MAX_WINDOW_SYMBOLS, ROWS, combine, parity
from shared.link.flight import News, Sent
from shared.link.messages import HEADER, OVERHEAD_BYTES, Cut, symbol_limit
from shared.link.reassembly import GIVE_UP_NS
from shared.link.redundancy import (
    WINDOW_FRAMES,
    WindowParity,
    pack_window_parity,
    window_header_bytes,
)

__all__ = ["Block", "Departure", "Due", "OutgoingFrame", "SendQueue"]

# Stands for a block where a packet is parity over several frames.
OVER_FRAMES = -1
# A frame of more is seldom lost as a whole, and has parity of its own.
MOST_IN_WINDOW = MAX_WINDOW_SYMBOLS // 2

MAX_KEPT_FRAMES = 32  # for repair; a second at 30 fps, and twice what the other end still waits for
REPAIR_FOR_NS = GIVE_UP_NS  # after all of it left once; then the other end gives it up


@dataclass(slots=True)
class Block:
    """What is known of one block at the other end; there are `k` source symbols.

    Sets of symbols are bitmaps: one that was called lost, sent again and came twice counts once.
    """

    k: int
    first: int  # how many symbols of the frame come before it
    there: int = 0
    flying: int = 0
    unsent: int = 0  # those that have not left for the first time
    waiting: int = 0  # repairs that are queued and not sent
    fresh: int = 0  # the first symbol number that was never used

    @property
    def whole(self) -> bool:
        return self.there.bit_count() >= self.k

    def take_fresh(self, count: int) -> range:
        """So many symbols that were never used, or as many as there are."""
        fresh = range(self.fresh, min(symbol_limit(self.k), self.fresh + count))
        self.fresh = max(self.fresh, fresh.stop)
        return fresh

    @property
    def coming(self) -> int:
        """The symbols that are there, or will be if nothing more is lost."""
        return self.there | self.flying | self.unsent | self.waiting


class OutgoingFrame:
    """A frame that leaves, or may need repair."""

    __slots__ = (
        "blocks",
        "cut",
        "frame_id",
        "in_window",
        "last_sent_ns",
        "packet_bytes",
        "pieces",
        "to_send",
        "unfinished",
    )

    def __init__(self, frame_id: int, data: bytes, shape: Cut) -> None:
        self.frame_id = frame_id
        size = shape.symbol_bytes
        starts = range(0, shape.symbols * size, size)
        self.pieces = [data[at : at + size].ljust(size, b"\0") for at in starts]
        self.cut = shape
        self.packet_bytes = HEADER.size + shape.symbol_bytes + OVERHEAD_BYTES  # on the wire
        self.blocks = [
            Block(shape.source_symbols(i), shape.first_symbol(i)) for i in range(shape.blocks)
        ]
        self.unfinished = shape.blocks
        self.in_window = False  # whether it has parity of that kind, and none of its own
        self.to_send = 0  # packets that have not left for the first time
        self.last_sent_ns = 0

    def symbol(self, block: int, symbol: int) -> bytes:
        k, first = self.blocks[block].k, self.blocks[block].first
        if symbol < k:
            return self.pieces[first + symbol]
        return parity(self.pieces[first : first + k], [symbol])[0]


@dataclass(slots=True, eq=False)
class Equation:
    """A parity symbol over `frames`, the newest last; `row` says with which coefficients."""

    frames: tuple[OutgoingFrame, ...]
    row: int = 0
    lost: bool = False

    @property
    def symbol_bytes(self) -> int:
        return max(frame.cut.symbol_bytes for frame in self.frames)

    def covers(self, frame_id: int) -> bool:
        return self.frames[0].frame_id <= frame_id <= self.frames[-1].frame_id

    def message(self, sequence: int) -> bytes:
        frames = self.frames
        cuts = tuple(frame.cut for frame in frames)
        first_id = frames[0].frame_id
        return pack_window_parity(WindowParity(sequence, first_id, cuts, self.row, self._piece()))

    def _piece(self) -> bytes:
        size = self.symbol_bytes
        pieces = [piece.ljust(size, b"\0") for frame in self.frames for piece in frame.pieces]
        return combine(pieces, self.row)


class Due(NamedTuple):
    """A symbol of a frame's block that is to leave; `repair`: not for the first time.

    Or, with `equation`, a parity symbol over several frames; `frame` is the newest of them.
    """

    frame: OutgoingFrame
    block: int
    symbol: int
    repair: bool
    equation: Equation | None = None

    @property
    def nbytes(self) -> int:
        """On the wire."""
        if self.equation is None:
            return self.frame.packet_bytes
        header_bytes = window_header_bytes(len(self.equation.frames))
        return header_bytes + self.equation.symbol_bytes + OVERHEAD_BYTES


class Departure(NamedTuple):
    """What leaves at once: the messages, what is known of each, and their bytes on the wire."""

    messages: list[bytes]
    burst: list[Sent]
    nbytes: int


class SendQueue:
    """Give it frames (`add`) and news of what left; take what is to leave (`depart`)."""

    def __init__(self) -> None:
        self._frames: dict[int, OutgoingFrame] = {}
        self._first_time: deque[Due] = deque()
        self._repairs: deque[Due] = deque()
        self._backlog_bytes = 0
        self._left: list[int] = []
        self._window: deque[OutgoingFrame] = deque(maxlen=WINDOW_FRAMES)  # one after the other
        self._equations: list[Equation] = []  # not settled yet, in the order of their frames
        self._row = 0  # of the next one

    @property
    def kept(self) -> int:
        """Frames of which the other end has not got everything, and that are not given up."""
        return len(self._frames)

    @property
    def backlog_bytes(self) -> int:
        """Bytes on the wire that are still to leave for the first time."""
        return self._backlog_bytes

    @property
    def repairs(self) -> int:
        """Repairs that wait, some of which may have become needless."""
        return len(self._repairs)

    @property
    def empty(self) -> bool:
        return not (self._first_time or self._repairs)

    def ready(self, *, repairs: bool) -> bool:
        """Whether something is to leave; `repairs`: whether they may."""
        return bool(self._first_time or (repairs and self._repairs))

    def window(self, frame: OutgoingFrame, message_bytes: int) -> tuple[OutgoingFrame, ...]:
        """The frames that parity sent with this new one is to be over, itself the last.

        None where it is too large, and has parity of its own; those before it that are whole are
        left out.
        """
        recent = self._window
        if recent and recent[-1].frame_id != frame.frame_id - 1:
            recent.clear()
        if frame.cut.symbols > MOST_IN_WINDOW:
            recent.clear()
            return ()
        recent.append(frame)
        chosen = [*recent]
        while len(chosen) > 1 and not (chosen[0].unfinished and _fits(chosen, message_bytes)):
            del chosen[0]
        return tuple(chosen)

    def _equation(self, window: tuple[OutgoingFrame, ...], *, repair: bool) -> Due:
        equation = Equation(window, self._row)
        self._row = (self._row + 1) % ROWS
        self._equations.append(equation)
        return Due(window[-1], OVER_FRAMES, equation.row, repair, equation)

    def add(
        self, frame: OutgoingFrame, window: tuple[OutgoingFrame, ...] = (), parity: int = 0
    ) -> None:
        """A frame is to leave, the first `fresh` symbols of each block; old ones give way.

        Behind it go `parity` symbols over the frames of `window`.
        """
        frame.in_window = bool(window)
        self._frames[frame.frame_id] = frame
        for index, block in enumerate(frame.blocks):
            block.unsent = (1 << block.fresh) - 1
            frame.to_send += block.fresh
            self._first_time.extend(
                Due(frame, index, symbol, repair=False) for symbol in range(block.fresh)
            )
        self._backlog_bytes += frame.to_send * frame.packet_bytes
        for _ in range(parity if window else 0):
            due = self._equation(window, repair=False)
            frame.to_send += 1
            self._first_time.append(due)
            self._backlog_bytes += due.nbytes
        while len(self._frames) > MAX_KEPT_FRAMES:
            self.forget(next(iter(self._frames)))

    def depart(
        self, now_ns: int, *, room_bytes: float, repair_bytes: float, sequence: int, kind: int
    ) -> Departure:
        """What leaves now: packets until `room_bytes` are passed, numbered from `sequence` on.

        Repairs go first, until `repair_bytes` are passed.  `kind` is that of a packet's message.
        """
        messages: list[bytes] = []
        burst: list[Sent] = []
        nbytes = 0
        while nbytes <= room_bytes:
            due = self._pop(now_ns, repairs=nbytes < repair_bytes)
            if due is None:
                break
            frame, block, symbol, repair, equation = due
            if equation is None:
                size = frame.packet_bytes
                head = HEADER.pack(kind, sequence, frame.frame_id, frame.cut.length, block, symbol)
                messages.append(head + frame.symbol(block, symbol))
            else:
                size = due.nbytes
                messages.append(equation.message(sequence))
            burst.append(Sent(sequence, now_ns, size, frame.frame_id, block, symbol, repair))
            sequence += 1
            nbytes += size
        return Departure(messages, burst, nbytes)

    def _pop(self, now_ns: int, *, repairs: bool) -> Due | None:
        """What leaves next, repairs first if they may; None: nothing may."""
        while self._first_time or (repairs and self._repairs):
            due = (self._repairs if repairs and self._repairs else self._first_time).popleft()
            if self._leaves(due, now_ns):
                if due.equation is None:
                    due.frame.blocks[due.block].flying |= 1 << due.symbol
                return due
        return None

    def _leaves(self, due: Due, now_ns: int) -> bool:
        """Whether it is still of use; either way it waits no more."""
        frame, bit = due.frame, 1 << due.symbol
        if due.repair and due.equation is not None:
            return any(older.frame_id in self._frames for older in due.equation.frames)
        if due.repair:
            block = frame.blocks[due.block]
            block.waiting &= ~bit
            return frame.frame_id in self._frames and not block.whole and not block.there & bit
        frame.last_sent_ns = now_ns
        self._backlog_bytes -= frame.packet_bytes if due.equation is None else due.nbytes
        if due.equation is None:
            frame.blocks[due.block].unsent &= ~bit
        frame.to_send -= 1
        if not frame.to_send:
            self._left.append(frame.frame_id)
        return frame.frame_id in self._frames

    def take_left(self) -> list[int]:
        """The frames of which the last packet has left since the last call."""
        left, self._left = self._left, []
        return left

    def settle(self, news: News) -> None:
        """Note what has become of packets; a frame that is there needs no repair."""
        for arrival in (*news.arrived, *news.late):
            sent = arrival.sent
            if sent.block == OVER_FRAMES:
                continue
            frame = self._frames.get(sent.frame_id)
            if frame is None:
                continue
            block = frame.blocks[sent.block]
            before = block.whole
            block.there |= 1 << sent.symbol
            if block.whole and not before:
                frame.unfinished -= 1
                if not frame.unfinished:
                    self.forget(sent.frame_id)
        for arrival in news.arrived:
            self._land(arrival.sent)
        for sent in news.lost:
            self._land(sent)
        if self._equations:
            self._judge(news)

    def _judge(self, news: News) -> None:
        """Which equations can still be counted on, and which can be forgotten."""
        lost = {(s.frame_id, s.symbol) for s in news.lost if s.block == OVER_FRAMES}
        late = {(a.sent.frame_id, a.sent.symbol) for a in news.late if a.sent.block == OVER_FRAMES}
        oldest = next(iter(self._frames), None)
        if oldest is None:
            oldest = self._equations[-1].frames[-1].frame_id + 1
        self._equations = [e for e in self._equations if e.frames[-1].frame_id >= oldest]
        for equation in self._equations if lost or late else ():
            name = (equation.frames[-1].frame_id, equation.row)
            equation.lost = name in lost or (equation.lost and name not in late)

    def _land(self, sent: Sent) -> None:
        frame = self._frames.get(sent.frame_id)
        if frame is not None and sent.block != OVER_FRAMES:
            frame.blocks[sent.block].flying &= ~(1 << sent.symbol)

    def repair(self, lost: list[Sent], spare: int) -> None:
        """Send again what a block still lacks, the lost source symbols first.

        And `spare` symbols more for each block that lacks any.
        """
        again: dict[tuple[int, int], list[int]] = {}
        for sent in lost:
            if sent.block != OVER_FRAMES:
                again.setdefault((sent.frame_id, sent.block), []).append(sent.symbol)
        made_up = self._made_up() if lost and self._equations else {}
        for frame_id in made_up:  # what was left to parity that is lost itself
            block = self._frames[frame_id].blocks[0]
            again[frame_id, 0] = [n for n in range(block.k) if not block.coming >> n & 1]
        for (frame_id, index), symbols in again.items():
            frame = self._frames.get(frame_id)
            if frame is None:
                continue
            block = frame.blocks[index]
            coming = block.coming
            lacking = block.k - coming.bit_count() - made_up.get(frame_id, 0)
            if lacking <= 0:
                continue
            chosen = [symbol for symbol in sorted(symbols) if not coming >> symbol & 1][:lacking]
            more = lacking - len(chosen) + spare
            for symbol in chosen if frame.in_window else (*chosen, *block.take_fresh(more)):
                self._repairs.append(Due(frame, index, symbol, repair=True))
                block.waiting |= 1 << symbol
            for _ in range(more if frame.in_window else 0):
                self._repairs.append(self._equation((frame,), repair=True))

    def _made_up(self) -> dict[int, int]:
        """How many missing symbols of each frame equations make up for, those on their way too.

        Each for one symbol, of the oldest frame that needs it: all their windows slide the same
        way, so none is kept from a frame that only it could help.
        """
        equations = [equation for equation in self._equations if not equation.lost]
        equations.sort(key=lambda equation: equation.frames[-1].frame_id)
        made_up: dict[int, int] = {}
        for frame_id, frame in self._frames.items():
            if not frame.in_window:
                continue
            block = frame.blocks[0]
            lacking = max(0, block.k - block.coming.bit_count())
            over = [equation for equation in equations if equation.covers(frame_id)][:lacking]
            equations = [equation for equation in equations if equation not in over]
            if lacking > 0:
                made_up[frame_id] = len(over)
        return made_up

    def expire(self, now_ns: int) -> None:
        """Give up frames whose repair would come too late."""
        for frame_id, frame in list(self._frames.items()):
            if frame.to_send or now_ns - frame.last_sent_ns < REPAIR_FOR_NS:
                break
            self.forget(frame_id)

    def forget(self, frame_id: int) -> None:
        """What has not left of this frame will not."""
        self._frames.pop(frame_id, None)


def _fits(frames: list[OutgoingFrame], message_bytes: int) -> bool:
    """Whether one parity symbol over these frames is one message, and little work."""
    symbol_bytes = max(frame.cut.symbol_bytes for frame in frames)
    return (
        window_header_bytes(len(frames)) + symbol_bytes <= message_bytes
        and sum(frame.cut.symbols for frame in frames) <= MAX_WINDOW_SYMBOLS
    )
