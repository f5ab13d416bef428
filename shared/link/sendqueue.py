"""What is to leave: packets of frames for the first time, and repairs of what was lost.

Pure.  It keeps a frame for as long as it may still be of use, knows what has become of each of its
symbols, and chooses what is sent again.  When and how fast anything leaves, and how much parity a
frame gets, is decided in `shared.link.sending`.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from shared.link.fec import symbol_limit
from shared.link.flight import News, Sent
from shared.link.outgoing import OutgoingFrame
from shared.link.reassembly import GIVE_UP_NS

__all__ = ["Due", "SendQueue"]

MAX_KEPT_FRAMES = 32  # for repair; a second at 30 fps, and twice what the other end still waits for
REPAIR_FOR_NS = GIVE_UP_NS  # after all of it left once; then the other end gives it up


class Due(NamedTuple):
    """A symbol of a frame's block that is to leave; `repair`: not for the first time."""

    frame: OutgoingFrame
    block: int
    symbol: int
    repair: bool


class SendQueue:
    """Give it frames (`add`) and news of what left; take what is to leave (`pop`)."""

    def __init__(self) -> None:
        self._frames: dict[int, OutgoingFrame] = {}
        self._first_time: deque[Due] = deque()
        self._repairs: deque[Due] = deque()
        self._backlog_bytes = 0
        self._left: list[int] = []

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

    def add(self, frame: OutgoingFrame) -> None:
        """A frame is to leave, the first `fresh` symbols of each block; old ones give way."""
        self._frames[frame.frame_id] = frame
        for index, block in enumerate(frame.blocks):
            block.unsent = (1 << block.fresh) - 1
            frame.to_send += block.fresh
            self._first_time.extend(
                Due(frame, index, symbol, repair=False) for symbol in range(block.fresh)
            )
        self._backlog_bytes += frame.to_send * frame.packet_bytes
        while len(self._frames) > MAX_KEPT_FRAMES:
            self.forget(next(iter(self._frames)))

    def pop(self, now_ns: int, *, repairs: bool) -> Due | None:
        """What leaves next, repairs first if they may; None: nothing may."""
        while self.ready(repairs=repairs):
            due = (self._repairs if repairs and self._repairs else self._first_time).popleft()
            if self._leaves(due, now_ns):
                due.frame.blocks[due.block].flying |= 1 << due.symbol
                return due
        return None

    def _leaves(self, due: Due, now_ns: int) -> bool:
        """Whether it is still of use; either way it waits no more."""
        frame, bit = due.frame, 1 << due.symbol
        block = frame.blocks[due.block]
        if due.repair:
            block.waiting &= ~bit
            return frame.frame_id in self._frames and not block.whole and not block.there & bit
        frame.last_sent_ns = now_ns
        self._backlog_bytes -= frame.packet_bytes
        block.unsent &= ~bit
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

    def _land(self, sent: Sent) -> None:
        frame = self._frames.get(sent.frame_id)
        if frame is not None:
            frame.blocks[sent.block].flying &= ~(1 << sent.symbol)

    def repair(self, lost: list[Sent], spare: int) -> None:
        """Send again what a block still lacks, the lost source symbols first.

        And `spare` symbols more for each block that lacks any.
        """
        again: dict[tuple[int, int], list[int]] = {}
        for sent in lost:
            again.setdefault((sent.frame_id, sent.block), []).append(sent.symbol)
        for (frame_id, index), symbols in again.items():
            frame = self._frames.get(frame_id)
            if frame is None:
                continue
            block = frame.blocks[index]
            coming = block.coming
            lacking = block.k - coming.bit_count()
            if lacking <= 0:
                continue
            chosen = [symbol for symbol in sorted(symbols) if not coming >> symbol & 1][:lacking]
            more = lacking - len(chosen) + spare
            fresh = range(block.fresh, min(symbol_limit(block.k), block.fresh + more))
            block.fresh = max(block.fresh, fresh.stop)
            for symbol in (*chosen, *fresh):
                self._repairs.append(Due(frame, index, symbol, repair=True))
                block.waiting |= 1 << symbol

    def expire(self, now_ns: int) -> None:
        """Give up frames whose repair would come too late."""
        for frame_id, frame in list(self._frames.items()):
            if frame.to_send or now_ns - frame.last_sent_ns < REPAIR_FOR_NS:
                break
            self.forget(frame_id)

    def forget(self, frame_id: int) -> None:
        """What has not left of this frame will not."""
        self._frames.pop(frame_id, None)
