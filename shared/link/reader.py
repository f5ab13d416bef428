"""Frames in: the clock, the timer and those who wait, around `shared.link.receiving`.

A thin shell: what is reported and when is decided there, and who waits too long in `inbox`.  It
takes nothing of frames before it is told to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping

from shared.errors import MalformedFrame, PeerGone
from shared.link.inbox import FrameInbox
from shared.link.lifetime import Lifetime
from shared.link.link import ReceivedFrame
from shared.link.receiving import FrameReceiver
from shared.link.timer import LoopTimer

__all__ = ["FrameReader"]

# 4 ms to decode and show a frame that is whole before its report, unless more packets come.
FRAME_FIRST_NS = 4_000_000


class FrameReader:
    """Reports with `post` what has arrived, while `lifetime` lasts.

    `arriving`: the frames that one which came whole stands for: itself, unless a test says else.
    """

    def __init__(
        self,
        *,
        post: Callable[[bytes], None],
        arriving: Callable[[ReceivedFrame], Iterable[ReceivedFrame]],
        now_ns: Callable[[], int],
        lifetime: Lifetime,
    ) -> None:
        self._post = post
        self._arriving = arriving
        self._now_ns = now_ns
        self._lifetime = lifetime
        self._receiver = FrameReceiver()
        self._timer = LoopTimer(self._answer, now_ns, listen_first=True)
        self._inbox = FrameInbox()
        self._accepting = False
        self._given_up: Counter[str] = Counter()

    @property
    def dropped(self) -> Mapping[str, int]:
        """Frames that reached this end and were given to nobody, by reason."""
        slow = {"consumer slow": self._inbox.dropped} if self._inbox.dropped else {}
        return {**self._given_up, **slow}

    def accept(self) -> None:
        """Begin to take frames."""
        self._accepting = True

    def on_packet(self, message: bytes, now_ns: int) -> None:
        """Take a packet; raises `MalformedFrame`, also before packets are accepted."""
        if not self._accepting:  # a stranger's: not held, and not reported either
            raise MalformedFrame("a packet of a frame that nobody has asked for")
        whole = self._receiver.on_packet(message, now_ns)
        if whole is not None:
            self._deliver(ReceivedFrame(whole.data, now_ns))
            self._timer.set(now_ns + FRAME_FIRST_NS)
        elif self._receiver.unsettled:  # else the timer is set already
            self._answer()

    async def receive(self) -> ReceivedFrame:
        """The next whole frame; raises `PeerGone` when the link is over and all were read."""
        await self._lifetime.until(lambda: bool(self._inbox))
        if not self._inbox:
            self._lifetime.raise_if_over()
        return self._inbox.pop()

    async def frames(self) -> AsyncIterator[ReceivedFrame]:
        """Whole frames until the link ends; a clean end ends the iteration, a lost peer raises."""
        while True:
            try:
                frame = await self.receive()
            except PeerGone:
                end = self._lifetime.end
                if end is not None and end.clean:
                    return
                raise
            yield frame

    def close(self) -> None:
        """Nothing is reported by itself any more."""
        self._timer.cancel()

    def _deliver(self, whole: ReceivedFrame) -> None:
        if self._lifetime.end is None:
            for frame in self._arriving(whole):
                self._inbox.add(frame)
            self._lifetime.wake()

    def _answer(self) -> None:
        """Report what has arrived, once that is due, and count what was given up."""
        report = self._receiver.poll(self._now_ns())
        for frame in self._receiver.take_given_up():
            self._given_up["incomplete" if frame.begun else "lost"] += 1
        if report is not None:
            self._post(report)
        self._timer.set(self._receiver.next_at_ns())
