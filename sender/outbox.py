"""The frames of one receiver: which it can take, which it can decode, and what became of them.

A frame goes out when the receiver's path is open, when it holds the frame's key, and when it was
sent the frame that this one builds on.  It refuses to hold more than one.  A still that the
receiver asked for goes between two frames.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping

from sender.journal import SenderJournal
from sender.pipeline import SealedFrame
from shared import control
from shared.association import Association
from shared.telemetry.records import DropReason

__all__ = ["STILL_EVERY_NS", "Account", "FrameOutbox", "Reference", "StillWish"]

TIMINGS_EVERY = 15  # frames; half a second at 30 fps: late figures cost one small message, not 30
STILL_EVERY_NS = 500_000_000  # a still costs a lossless encode: who asks faster is not answered


class Reference:
    """The chain of frames at one receiver, as far as the sender can know it.

    With an inter codec a frame is of use only to one that was sent the frame before it; a frame
    that builds on none begins anew.
    """

    def __init__(self) -> None:
        self._index: int | None = None  # the frame that the next one may build on
        self._key_index: int | None = None  # the last key frame sent
        self._newest_index: int | None = None  # the last frame of any kind
        self._asked_ns: int | None = None

    @property
    def is_new(self) -> bool:
        """Whether no frame was sent yet."""
        return self._key_index is None

    def follows(self, index: int | None) -> bool:
        """Whether a frame that builds on frame `index` can be decoded."""
        return index is not None and index == self._index

    def sent(self, index: int, *, key: bool) -> None:
        """Frame `index` is on its way."""
        if key:
            self._key_index = index
        self._index = self._newest_index = index

    def lost(self, index: int, now_ns: int, rtt_ns: int | None) -> bool:
        """The receiver could not decode frame `index`; whether the chain is broken by that.

        It is not where a key frame after `index` is on its way already, where `index` was never
        sent, and within a round trip of the last request (`rtt_ns`; None: not known): what was made
        for that can't have come yet.  Others pay for its key frame, so it must be so.
        """
        key, newest = self._key_index, self._newest_index
        if key is None or newest is None or not key <= index <= newest:
            return False
        if self._asked_ns is not None and rtt_ns is not None and now_ns - self._asked_ns < rtt_ns:
            return False
        self._asked_ns = now_ns
        self._index = None
        return True


class Account:
    """What one receiver was sent and what not, by reason: the totals that it is told.

    `drops_before` is what the session had dropped before it joined.
    """

    def __init__(self, drops_before: Mapping[str, int]) -> None:
        self._drops_before = Counter(drops_before)
        self._sent = 0
        self._skipped: Counter[str] = Counter()
        self._told: control.Tally | None = None

    def sent(self) -> None:
        """Its path has taken a frame."""
        self._sent += 1

    def skipped(self, reason: DropReason) -> None:
        """Others were sent a frame that it could not take."""
        self._skipped[reason.value] += 1

    def news(self, drops: Mapping[str, int]) -> control.Tally | None:
        """The totals if they differ from what was told last; `drops` are the session's so far."""
        dropped = Counter(drops) - self._drops_before + self._skipped
        tally = control.Tally(sent=self._sent, dropped=dict(+dropped))
        if tally == self._told:
            return None
        self._told = tally
        return tally


class StillWish:
    """The still that one receiver wants: asked for, thought better of, or made and not yet sent.

    One at a time; the newest wish counts.
    """

    def __init__(self) -> None:
        self._index: int | None = None
        self._made: SealedFrame | None = None
        self._asked_ns: int | None = None

    def asked(self, index: int, now_ns: int) -> bool:
        """The receiver asks for the picture of frame `index`; whether it should get one."""
        before_ns, self._asked_ns = self._asked_ns, now_ns
        too_soon = before_ns is not None and now_ns - before_ns < STILL_EVERY_NS
        if self._made is not None or too_soon:
            return False
        self._index = index
        return True

    def withdrawn(self, index: int) -> None:
        """It does not want that of frame `index` any more."""
        if index == self._index:
            self._index = self._made = None

    def wants(self, index: int) -> bool:
        """Whether it asked for that of frame `index`, and did not think better of it."""
        return index == self._index

    def keep(self, still: SealedFrame) -> None:
        """Keep `still` until the path can carry it."""
        self._made = still

    def take(self) -> SealedFrame | None:
        """What was kept, if anything; the caller sends it."""
        still, self._made = self._made, None
        return still


class FrameOutbox:
    """The frames of one receiver; see the top of this file.

    `changed` is set whenever it may have become able to take a frame; the `journal` is told of each
    frame that its path has taken.  `drops_before` is what the session had dropped before it joined.
    """

    def __init__(
        self,
        association: Association,
        *,
        journal: SenderJournal,
        changed: asyncio.Event,
        drops_before: Mapping[str, int],
    ) -> None:
        self.ready = False
        """Its path can carry a frame now."""
        self.unsent: SealedFrame | None = None
        """The frame that was offered and is not sent yet."""
        self.first_epoch: int | None = None
        """The epoch that was the newest when it came: it never gets the keys of those before."""
        self.acknowledged = 0
        """The newest epoch whose keys it says it holds."""
        self.idle = asyncio.Event()
        """Nothing is being sent."""
        self.idle.set()
        self.wish = StillWish()
        self.account = Account(drops_before)
        self.reference = Reference()
        self._association = association
        self._link = association.link
        self._features = association.features
        self._journal = journal
        self._changed = changed
        self._next: asyncio.Queue[SealedFrame] = asyncio.Queue(1)
        self._timings: list[control.TimingRow] = []

    def holds(self, epoch: int | None) -> bool:
        """Whether it has the key of `epoch`, so that a frame under it is of use."""
        first = self.first_epoch
        return first is not None and epoch is not None and first <= epoch <= self.acknowledged

    def follows(self, index: int | None) -> bool:
        """Whether a frame that builds on frame `index` is of use to it."""
        return self.reference.follows(index)

    def standing(self, index: int | None, epoch: int | None) -> tuple[bool, bool, bool]:
        """Whether it follows frame `index`, can take one of `epoch` now, and was sent none yet."""
        takes = self.ready and self.holds(epoch)
        return self.follows(index), takes, self.reference.is_new

    def offer(self, frame: SealedFrame) -> bool:
        """Send `frame` if this receiver can take it now; whether it can."""
        if not (self.ready and self.holds(frame.epoch)):
            return False
        if frame.encoded.codec not in self._features:
            return False
        key = frame.depends_on is None
        if not (key or self.follows(frame.depends_on)):
            return False
        self.reference.sent(frame.index, key=key)
        self.unsent = frame
        self._send(frame)
        return True

    def offer_still(self, still: SealedFrame) -> None:
        """Send a still as soon as the path can carry it, if it is still wanted.

        The stream waits while it leaves.
        """
        if not self.wish.wants(still.index):
            return
        if self.ready:
            self._send(still)
        else:
            self.wish.keep(still)

    def passed_over(self, frame: SealedFrame) -> None:
        """Others were sent `frame`, which this receiver could not take."""
        lost = self.ready and self.holds(frame.epoch)
        self.account.skipped(DropReason.MISSING_REFERENCE if lost else DropReason.LINK_BUSY)

    def lost(self, index: int, rtt_ns: int | None) -> None:
        """It could not decode frame `index`, by its own word."""
        if self.reference.lost(index, time.monotonic_ns(), rtt_ns):
            self._changed.set()

    async def run(self) -> None:
        """Send what is offered, until cancelled; raises `PeerGone`."""
        while True:
            await self._link.writable()
            frame = self.wish.take()
            if frame is None:
                self.ready = True
                self._changed.set()
                frame = await self._next.get()
            while not self._link.can_send_frame():  # the path narrowed while none was at hand
                await self._link.writable()
            if frame.still and not self.wish.wants(frame.index):
                self.idle.set()
                continue
            await self._link.send_frame(frame.sealed)
            self._was_sent(frame, time.monotonic_ns())

    def flush_timings(self) -> None:
        """Tell the receiver what is not told yet of how long its frames took here."""
        rows, self._timings = self._timings, []
        if rows:
            self._association.send(control.Timings(rows=rows))

    def _send(self, frame: SealedFrame) -> None:
        self.ready = False
        self.idle.clear()
        self._next.put_nowait(frame)

    def _was_sent(self, frame: SealedFrame, sent_at_ns: int) -> None:
        self._journal.frame_sent(frame, sent_at_ns)
        self.idle.set()
        if frame.still:  # no part of the stream: counted nowhere
            return
        self.unsent = None
        self.account.sent()
        self._timings.append(
            control.TimingRow(
                epoch=frame.epoch,
                counter=frame.counter,
                keystream_us=frame.stages_us["keystream"],
                seal_us=frame.stages_us["seal"],
                send_us=(sent_at_ns - frame.sealed_at_ns) // 1000,
            )
        )
        if len(self._timings) >= TIMINGS_EVERY:
            self.flush_timings()
