"""One receiver that has paired with this sender: what it says, what it is told, and how it goes.

The shell around its sealed control channel.  Its frames are the `outbox`'s, which is told here what
the receiver says of them.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from sender.journal import SenderJournal
from sender.outbox import FrameOutbox
from shared import control
from shared.association import Association
from shared.capabilities import BROWSER, NOTICES, STILLS
from shared.crypto.keyschedule import EpochSecret
from shared.errors import PeerGone, VeilscopeError
from shared.link import PathEstimate

__all__ = ["Attendee"]

SILENT_AFTER_S = 1.5  # a receiver reports twice a second: three reports in a row are missing
HAND_OVER_TIMEOUT_S = 3.0  # the last frame may take this long to leave before the goodbye


class Attendee:
    """A paired receiver.

    `changed` is set whenever it may have become able to take a frame, and what it asks for of
    stills is put into `stills`.  The `journal` is told of each frame that its path has taken.
    `number` counts the session's receivers from 1.
    """

    def __init__(
        self,
        peer: str,
        association: Association,
        *,
        journal: SenderJournal,
        changed: asyncio.Event,
        stills: asyncio.Queue[tuple[Attendee, int]],
        number: int,
    ) -> None:
        self.peer = peer
        self.number = number
        self.left: control.Bye | None = None
        self.link = association.link
        self.restarts = association.restarts
        self.heard_at_s = time.monotonic()
        self.outbox = FrameOutbox(
            association, journal=journal, changed=changed, drops_before=journal.drops
        )
        self._association = association
        self._journal = journal
        self._changed = changed
        self._stills = stills
        self._acknowledgement = asyncio.Event()
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
    def path(self) -> PathEstimate | None:
        """What the path to it carries now, None until that is measured."""
        return self.link.path

    @property
    def silent(self) -> bool:
        """Whether nothing has been heard of it for a while."""
        return time.monotonic() - self.heard_at_s > SILENT_AFTER_S

    async def attend(self) -> None:
        """Serve this receiver until it leaves (`left` is then set) or is dismissed.

        Raises `PeerGone` if it is gone without a word, `AuthenticationFailed` or
        `HandshakeFailed` if what it says can't be trusted or read.  A frame that was offered and
        not sent by then is left in the outbox's `unsent`.
        """
        hearing = asyncio.create_task(self._hear())
        tasks = [
            hearing,
            asyncio.create_task(self.outbox.run()),
            asyncio.create_task(self._watch()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if hearing not in done and self._link_is_over(done):
                await asyncio.wait({hearing})  # its last words may still wait to be read
            if self.left is None and not self._dismissed:
                for task in (*done, hearing):
                    task.result()
        finally:
            self.outbox.ready = False
            self._over = True
            self._acknowledgement.set()
            self.outbox.idle.set()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def still_takes_s(self, nbytes: int) -> float:
        """How long a still of `nbytes` would keep its path busy, in seconds."""
        path = self.path
        return 0.0 if path is None else 8 * nbytes / max(path.rate_bps, 1)

    def still_unavailable(self, index: int, detail: str = "") -> None:
        """Say that the still it asked for can't be had, and why, if a person should know."""
        self._tell(control.StillUnavailable(index=index, detail=detail))

    async def hand_over(self, secret: EpochSecret, sender: int) -> None:
        """Give the secret of a new epoch, and wait until the receiver says that it holds it."""
        if self.outbox.first_epoch is None:
            self.outbox.first_epoch = secret.epoch
        self._tell(control.Epoch.announce(secret, sender))
        while self.outbox.acknowledged < secret.epoch and not self._over:
            self._acknowledgement.clear()
            await self._acknowledgement.wait()

    def tell_tally(self) -> None:
        """Tell the receiver what was sent to it and what not, if that is news.

        To what the session dropped come the frames that others got and this path could not carry.
        """
        tally = self.outbox.account.news(self._journal.drops)
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

    async def say_goodbye(self, reason: control.ByeReason, detail: str) -> None:
        """Let the frame that is being sent leave, tell the last figures, and hang up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(HAND_OVER_TIMEOUT_S):
                await self.outbox.idle.wait()
        self._dismissed = True
        self.tell_tally()
        with suppress(PeerGone):
            self.outbox.flush_timings()
            self._association.send(control.Bye(reason=reason, detail=detail))
        await self.link.close()

    async def turn_away(self, error: VeilscopeError) -> None:
        """It can't be served any more, for what it said: tell it why, if it is there to hear."""
        if not isinstance(error, PeerGone):
            with suppress(PeerGone):
                detail = str(error)[: control.MAX_DETAIL_CHARS]
                self._association.send(control.Bye(reason="error", detail=detail))
            await self.link.close()

    def _tell(self, message: control.ControlMessage) -> None:
        with suppress(PeerGone):  # then `attend` says so
            self._association.send(message)

    async def _hear(self) -> None:
        while True:
            message = await self._association.receive()
            self.heard_at_s = time.monotonic()
            match message:
                case control.EpochAck():
                    outbox = self.outbox
                    outbox.acknowledged = max(outbox.acknowledged, message.epoch)
                    self._acknowledgement.set()
                    self._changed.set()
                case control.KeyFrameRequest():
                    path = self.path
                    self.outbox.lost(message.index, None if path is None else path.rtt_ns)
                case control.StillRequest():
                    self._still_asked(message.index)
                case control.StillCancel():
                    self.outbox.wish.withdrawn(message.index)
                case control.Bye():
                    self.left = message
                    return
                case _:
                    continue  # the rest flows the other way

    def _still_asked(self, index: int) -> None:
        if not self.features >= {STILLS, "lossless"}:
            self.still_unavailable(index)
        elif self.outbox.wish.asked(index, time.monotonic_ns()):
            self._stills.put_nowait((self, index))
        else:
            self.still_unavailable(index)

    async def _watch(self) -> None:
        end = await self.link.closed()
        if not self._dismissed:
            raise end.error()

    @staticmethod
    def _link_is_over(done: set[asyncio.Task[None]]) -> bool:
        return any(isinstance(task.exception(), PeerGone) for task in done)
