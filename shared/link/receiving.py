"""The receiving half of a link: packets in, frames and reports out.

Pure: bytes and times in, values out.  It joins `reassembly` (what a frame still lacks) and
`feedback` (what the other end must know of it).
"""

from __future__ import annotations

from shared.link.feedback import ArrivalLog, pack_report
from shared.link.packets import parse_packet
from shared.link.reassembly import GIVE_UP_NS, Assembled, GivenUp, Reassembler

__all__ = ["FrameReceiver"]

EXPIRE_EVERY_NS = GIVE_UP_NS // 8


class FrameReceiver:
    """Give it packets (`on_packet`); take reports (`poll`) when `next_at_ns` says."""

    def __init__(self) -> None:
        self._reassembler = Reassembler()
        self._log = ArrivalLog()
        self._expire_at_ns = 0

    @property
    def held_bytes(self) -> int:
        """Bytes held of frames that are not whole."""
        return self._reassembler.held_bytes

    @property
    def unsettled(self) -> bool:
        """Whether the packet just taken calls for `poll` or `take_given_up`."""
        return self._log.unsettled or self._reassembler.gave_up

    def on_packet(self, message: bytes, now_ns: int) -> Assembled | None:
        """Take a packet; return the frame that it completes.  Raises `MalformedFrame`."""
        packet = parse_packet(message)
        self._log.add(packet.sequence, now_ns)
        whole = self._reassembler.add(packet, now_ns)
        if whole is not None:
            self._log.hurry()
        return whole

    def take_given_up(self) -> list[GivenUp]:
        """Frames given up since the last call."""
        return self._reassembler.take_given_up()

    def poll(self, now_ns: int) -> bytes | None:
        """The report that is due, if one is."""
        if self._reassembler.waiting and now_ns >= self._expire_at_ns:
            self._reassembler.expire(now_ns)
            self._expire_at_ns = now_ns + EXPIRE_EVERY_NS
        due_ns = self._log.due_at_ns(self._reassembler.waiting)
        if due_ns is None or due_ns > now_ns:
            return None
        return pack_report(self._log.report(now_ns))

    def next_at_ns(self) -> int | None:
        """When to call `poll` again, unless a packet comes before; None: not needed."""
        due_ns = self._log.due_at_ns(self._reassembler.waiting)
        if not self._reassembler.waiting:
            return due_ns
        return self._expire_at_ns if due_ns is None else min(due_ns, self._expire_at_ns)
