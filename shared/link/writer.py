"""Frames out: the clock, the timer and those who wait, around `shared.link.sending`.

A thin shell: what leaves and when is decided there.  It queues no frame that can't leave now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from shared.errors import BadInput
from shared.link.feedback import Report
from shared.link.lifetime import Lifetime
from shared.link.link import MAX_FRAME_BYTES, PathEstimate
from shared.link.sending import FrameSender
from shared.link.timer import LoopTimer

__all__ = ["FrameWriter"]

# Who was told that a frame may leave, may send it so much later: what the answer rests on changes
# by the microsecond, and a caller can't be faster than that.
GRANT_NS = 20_000_000


class Post(Protocol):
    """Sends messages on the frames channel, at once and in order."""

    def __call__(self, *messages: bytes) -> None: ...


class FrameWriter:
    """Sends frames with `post`, while `lifetime` lasts.

    `ahead` is called right before a frame leaves, for what is small and goes ahead of it;
    `changed` is set when a frame has left, when another may, and when nothing is in flight.
    """

    def __init__(
        self,
        *,
        post: Post,
        ahead: Callable[[], None],
        now_ns: Callable[[], int],
        lifetime: Lifetime,
        changed: asyncio.Event,
    ) -> None:
        self._post = post
        self._ahead = ahead
        self._now_ns = now_ns
        self._lifetime = lifetime
        self._changed = changed
        self._sender = FrameSender()
        self._timer = LoopTimer(self._pump, now_ns)
        self._next_frame_id = 0
        self._granted_until_ns = 0
        self._free = True  # as was seen last
        self._leaving: set[int] = set()  # frames of which packets are still to leave

    @property
    def idle(self) -> bool:
        """Whether nothing waits to leave and nothing is under way: a quiet gap."""
        return self._sender.idle

    @property
    def path(self) -> PathEstimate | None:
        """What the path carries now; None until measured."""
        return self._sender.path(self._now_ns())

    def on_ping(self, rtt_ns: int) -> None:
        """A ping came back."""
        self._sender.on_ping(rtt_ns)

    def on_report(self, report: Report, now_ns: int) -> None:
        """Take a report; raises `MalformedFrame`."""
        self._sender.on_report(report, now_ns)
        self._pump()

    def can_send(self) -> bool:
        """Whether a frame handed over now would leave now; a yes holds for `GRANT_NS`."""
        now_ns = self._now_ns()
        if not self._lifetime.up:
            return False
        self._free = self._sender.can_send(now_ns)
        if self._free:
            self._granted_until_ns = now_ns + GRANT_NS
        return self._free

    async def send(self, data: bytes | bytearray | memoryview) -> int:
        """Hand over a frame; return its number when its last packet has left.

        Raises `BadInput` for a size out of range, `LinkFailed` before the link is open, `PeerGone`,
        and `RuntimeError` when no frame may leave.  Cancelled, it sends no more of the frame.
        """
        nbytes = memoryview(data).nbytes
        if not 1 <= nbytes <= MAX_FRAME_BYTES:
            raise BadInput(f"a frame is 1 to {MAX_FRAME_BYTES} bytes, not {nbytes}")
        self._lifetime.raise_if_not_up()
        if not self.can_send() and self._now_ns() > self._granted_until_ns:
            raise RuntimeError("the link takes no frame now: wait for writable() first")
        frame_id = self._next_frame_id
        self._next_frame_id += 1
        self._granted_until_ns = 0
        self._ahead()
        self._leaving.add(frame_id)
        self._sender.hand_over(frame_id, bytes(data), self._now_ns())
        self._pump()
        try:
            await self._lifetime.until(lambda: frame_id not in self._leaving, self._changed)
        except BaseException:
            self._sender.cancel(frame_id)
            self._leaving.discard(frame_id)
            raise
        self._lifetime.raise_if_over()
        return frame_id

    async def landed(self) -> None:
        """Return when nothing is in flight: the other end has it, or it was given up."""
        await self._lifetime.until(lambda: not self._sender.in_flight, self._changed)

    def close(self) -> None:
        """Nothing leaves by itself any more."""
        self._timer.cancel()

    def _pump(self) -> None:
        """Send what may leave now, and come back when more may."""
        now_ns = self._now_ns()
        messages = self._sender.poll(now_ns)
        if messages:
            self._post(*messages)
        left = self._sender.take_left()
        self._leaving.difference_update(left)
        self._timer.set(self._sender.next_at_ns(now_ns))
        free = self._sender.can_send(now_ns)
        if left or free != self._free or not self._sender.in_flight:
            self._changed.set()  # it wakes tasks, so not for every packet
        self._free = free
