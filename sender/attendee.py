"""One receiver that has paired with this sender: its sealed control channel and its frames.

Holds what differs from receiver to receiver: which epochs it has acknowledged, whether its path
can carry a frame now, which frame it can decode next (`reference`), and what was sent to it and
what not (`account`).  It refuses to hold more than one frame, and to send one whose key the
receiver does not hold or that builds on a frame that it was not sent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from sender.account import Account
from sender.pipeline import SealedFrame
from sender.reference import Reference
from sender.stillwish import StillWish
from shared import control
from shared.association import Association
from shared.capabilities import BROWSER, NOTICES, STILLS
from shared.crypto.keyschedule import EpochSecret
from shared.errors import PeerGone, VeilscopeError
from shared.link import PathEstimate
from shared.newest import Newest
from shared.telemetry.records import DropReason

__all__ = ["Attendee"]

SILENT_AFTER_S = 1.5  # a receiver reports twice a second: three reports in a row are missing
TIMINGS_EVERY = 15  # frames; half a second at 30 fps: late figures cost one small message, not 30
HAND_OVER_TIMEOUT_S = 3.0  # the last frame may take this long to leave before the goodbye


class Attendee:
    """A paired receiver.

    `on_ready()` is called whenever it may have become able to take a frame, `on_sent(frame,
    sent_at_ns)` when its path has taken one, or a still, `on_still(attendee, index)` when it asks
    for a still.  `drops_before` is what the session had dropped before this one joined; `number`
    counts the session's receivers from 1.
    """

    def __init__(
        self,
        peer: str,
        association: Association,
        *,
        on_ready: Callable[[], None],
        on_sent: Callable[[SealedFrame, int], None],
        drops_before: Mapping[str, int],
        on_still: Callable[[Attendee, int], None],
        number: int,
    ) -> None:
        self.peer = peer
        self.number = number
        self.left: control.Bye | None = None
        self.unsent: SealedFrame | None = None
        self._association = association
        self._link = association.link
        self._on_ready = on_ready
        self._on_sent = on_sent
        self._on_still = on_still
        self._account = Account(drops_before)
        self._reference = Reference()
        self._outbox: Newest[SealedFrame] = Newest()
        self._ready = False
        self._first_epoch: int | None = None
        self._acknowledged = 0
        self._acknowledgement = asyncio.Event()
        self._wish = StillWish()
        self._heard_at = time.monotonic()
        self._timings: list[control.TimingRow] = []
        self._idle = asyncio.Event()
        self._idle.set()
        self._dismissed = False
        self._over = False

    @property
    def features(self) -> frozenset[str]:
        """What it has in common with this end."""
        return self._association.features

    @property
    def in_browser(self) -> bool:
        """Whether it watches in a browser, by its own word."""
        return self._association.peer_kind == BROWSER

    @property
    def ignored(self) -> int:
        """How much of what it said was passed over, as of a later version."""
        return self._association.ignored.total()

    @property
    def ready(self) -> bool:
        """Whether its path can carry a frame now."""
        return self._ready

    def holds(self, epoch: int | None) -> bool:
        """Whether it has the key of `epoch`, so that a frame under it is of use."""
        first = self._first_epoch
        return first is not None and epoch is not None and first <= epoch <= self._acknowledged

    def follows(self, index: int | None) -> bool:
        """Whether a frame that builds on frame `index` is of use to it."""
        return self._reference.follows(index)

    @property
    def is_new(self) -> bool:
        """Whether it was sent no frame yet."""
        return self._reference.is_new

    @property
    def path(self) -> PathEstimate | None:
        """What the path to it carries now, None until that is measured."""
        return self._link.path

    @property
    def silent(self) -> bool:
        """Whether nothing has been heard of it for a while."""
        return time.monotonic() - self._heard_at > SILENT_AFTER_S

    async def attend(self) -> None:
        """Serve this receiver until it leaves (`left` is then set) or is dismissed.

        Raises `PeerGone` if it is gone without a word, `AuthenticationFailed` or
        `HandshakeFailed` if what it says can't be trusted or read.  A frame that was offered and
        not sent by then is left in `unsent`.
        """
        hearing = asyncio.create_task(self._hear())
        tasks = [hearing, asyncio.create_task(self._pump()), asyncio.create_task(self._watch())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if hearing not in done and self._link_is_over(done):
                await asyncio.wait({hearing})  # its last words may still wait to be read
            if self.left is None and not self._dismissed:
                for task in (*done, hearing):
                    task.result()
        finally:
            self._ready = False
            self._over = True
            self._acknowledgement.set()
            self._idle.set()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def offer(self, frame: SealedFrame) -> bool:
        """Send `frame` if this receiver can take it now; whether it can."""
        if not (self._ready and self.holds(frame.epoch)):
            return False
        if frame.encoded.codec not in self.features:
            return False
        key = frame.depends_on is None
        if not (key or self.follows(frame.depends_on)):
            return False
        self._reference.sent(frame.index, key=key)
        self._ready = False
        self._idle.clear()
        self.unsent = frame
        self._outbox.put(frame)
        return True

    def offer_still(self, still: SealedFrame) -> None:
        """Send a still as soon as the path can carry it, if it is still wanted.

        The stream waits while it leaves.
        """
        if not self._wish.wants(still.index):
            return
        if self._ready:
            self._ready = False
            self._idle.clear()
            self._outbox.put(still)
        else:
            self._wish.keep(still)

    def wants_still(self, index: int) -> bool:
        """Whether it asked for the picture of frame `index`, and did not think better of it."""
        return self._wish.wants(index)

    def still_takes_s(self, nbytes: int) -> float:
        """How long a still of `nbytes` would keep its path busy, in seconds."""
        path = self.path
        return 0.0 if path is None else 8 * nbytes / max(path.rate_bps, 1)

    def still_unavailable(self, index: int, detail: str = "") -> None:
        """Say that the still it asked for can't be had, and why, if a person should know."""
        self._tell(control.StillUnavailable(index=index, detail=detail))

    def passed_over(self, frame: SealedFrame) -> None:
        """Others were sent `frame`, which this receiver could not take."""
        lost = self._ready and self.holds(frame.epoch)
        self._account.skipped(DropReason.MISSING_REFERENCE if lost else DropReason.LINK_BUSY)

    async def hand_over(self, secret: EpochSecret, sender: int) -> None:
        """Give the secret of a new epoch, and wait until the receiver says that it holds it."""
        if self._first_epoch is None:
            self._first_epoch = secret.epoch
        self._tell(control.Epoch.announce(secret, sender))
        while self._acknowledged < secret.epoch and not self._over:
            self._acknowledgement.clear()
            await self._acknowledgement.wait()

    def tell_tally(self, drops: Mapping[str, int]) -> None:
        """Tell the receiver what was sent to it and what not, if that is news.

        `drops` are the session's; to them come the frames that others got and this path could
        not carry.
        """
        tally = self._account.news(drops)
        if tally is not None:
            self._tell(tally)

    def tell_quality(self, notice: control.QualityNotice) -> None:
        """Tell the receiver that quality changed, and why."""
        self._tell(notice)

    def tell_notice(self, notice: control.Notice) -> None:
        """Tell the receiver something that its person should know, if it can show that."""
        if NOTICES in self.features:
            self._tell(notice)

    def tell_path(self, target_bps: int | None) -> control.PathReport | None:
        """Tell the receiver what its path carries, if that is measured; returns what was told."""
        path = self.path
        if path is None:
            return None
        report = control.PathReport(
            rate_bps=path.rate_bps,
            rtt_ms=path.rtt_ns / 1e6,
            queue_ms=path.queue_ns / 1e6,
            loss=path.loss,
            target_bps=target_bps,
        )
        self._tell(report)
        return report

    async def say_goodbye(
        self, reason: control.ByeReason, detail: str, drops: Mapping[str, int]
    ) -> None:
        """Let the frame that is being sent leave, tell the last figures, and hang up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(HAND_OVER_TIMEOUT_S):
                await self._idle.wait()
        self._dismissed = True
        self.tell_tally(drops)
        with suppress(PeerGone):
            self._flush_timings()
            self._association.send(control.Bye(reason=reason, detail=detail))
        await self._link.close()

    async def turn_away(self, error: VeilscopeError) -> None:
        """It can't be served any more, for what it said: tell it why, if it is there to hear."""
        if not isinstance(error, PeerGone):
            with suppress(PeerGone):
                detail = str(error)[: control.MAX_DETAIL_CHARS]
                self._association.send(control.Bye(reason="error", detail=detail))
            await self._link.close()

    def _tell(self, message: control.ControlMessage) -> None:
        with suppress(PeerGone):  # then `attend` says so
            self._association.send(message)

    async def _hear(self) -> None:
        while True:
            message = await self._association.receive()
            self._heard_at = time.monotonic()
            match message:
                case control.EpochAck():
                    self._acknowledged = max(self._acknowledged, message.epoch)
                    self._acknowledgement.set()
                    self._on_ready()
                case control.KeyFrameRequest():
                    self._key_asked(message.index)
                case control.StillRequest():
                    self._still_asked(message.index)
                case control.StillCancel():
                    self._wish.withdrawn(message.index)
                case control.Bye():
                    self.left = message
                    return
                case _:
                    continue  # the rest flows the other way

    async def _pump(self) -> None:
        while True:
            await self._link.writable()
            frame = self._wish.take()
            if frame is None:
                self._ready = True
                self._on_ready()
                frame = await self._outbox.get()
            while not self._link.can_send_frame():  # the path narrowed while none was at hand
                await self._link.writable()
            if frame.still and not self._wish.wants(frame.index):
                self._idle.set()
                continue
            await self._link.send_frame(frame.sealed)
            sent_at = time.monotonic_ns()
            self._on_sent(frame, sent_at)
            if frame.still:  # no part of the stream: counted nowhere
                self._idle.set()
                continue
            self.unsent = None
            self._idle.set()
            self._account.sent()
            self._timings.append(
                control.TimingRow(
                    epoch=frame.epoch,
                    counter=frame.counter,
                    keystream_us=frame.stages_us["keystream"],
                    seal_us=frame.stages_us["seal"],
                    send_us=(sent_at - frame.sealed_at_ns) // 1000,
                )
            )
            if len(self._timings) >= TIMINGS_EVERY:
                self._flush_timings()

    def _key_asked(self, index: int) -> None:
        path = self.path
        rtt_ns = None if path is None else path.rtt_ns
        if self._reference.lost(index, time.monotonic_ns(), rtt_ns):
            self._on_ready()

    def _still_asked(self, index: int) -> None:
        if not self.features >= {STILLS, "lossless"}:
            self.still_unavailable(index)
        elif self._wish.asked(index, time.monotonic_ns()):
            self._on_still(self, index)
        else:
            self.still_unavailable(index)

    async def _watch(self) -> None:
        end = await self._link.closed()
        if not self._dismissed:
            raise end.error()

    @staticmethod
    def _link_is_over(done: set[asyncio.Task[None]]) -> bool:
        return any(isinstance(task.exception(), PeerGone) for task in done)

    def _flush_timings(self) -> None:
        rows, self._timings = self._timings, []
        if rows:
            self._association.send(control.Timings(rows=rows))
