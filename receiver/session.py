"""A receiver session: pairs with a sender, and gives its frames to whoever iterates over it.

The shell that joins the pieces: the room at the signaling server, the link, the handshake, the
epochs, and the pipeline open -> decode -> hand over.  It refuses to show a frame that did not pass
every check or lacks the one that it builds on, and to fall behind: a frame that its consumer has no
time for gives way to the next.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from functools import partial
from types import TracebackType
from typing import Any, Self

from receiver.journal import ReceiverJournal
from receiver.pipeline import OpeningPipeline
from receiver.reception import Reception
from receiver.rendezvous import Keystreams, agree, connect, find_again
from receiver.settings import ReceiverSettings
from receiver.showing import Showing
from receiver.sinks import ShownFrame
from receiver.stills import Stills
from shared import control
from shared.capabilities import RESTART
from shared.crypto.pairing import PairingCode
from shared.errors import HandshakeFailed, LinkFailed, PeerGone, VeilscopeError
from shared.link import LinkFactory
from shared.link.webrtc import usable_ice_servers, webrtc_link
from shared.noticeboard import NoticeBoard
from shared.telemetry.records import DropReason, KeystreamIdentity
from shared.wire import SENDER_ID
from signaling.client import SignalingClient
from signaling.tls import client_context

__all__ = ["ReceiverSession"]

CALIBRATED_WITHIN_S = 1.0  # the pings of the beginning take a few round trips
REPORT_EVERY_S = 0.5  # the sender knows that we are there, and how the picture gets here


class ReceiverSession:
    """Receives from the sender that made `code`.

    `on_quality(reason)` is called when the sender tells of changed quality, `on_notice(notice)`
    when it tells of anything else; `since_ns` is then on this machine's clock.

    Use as an async context manager and iterate: on entry the two ends have paired; the iteration
    gives the newest `ShownFrame` each time and ends when the sender ends; leaving the block says
    goodbye and closes everything, the journal too; one that never paired leaves the journal open.

    Raises on entry `BadInput` (what is no code), `SignalingUnreachable`, `RoomUnavailable`,
    `LinkFailed`, `WrongCode`, `CodeUsed`, `Busy`, `NotNow`, `KeystreamMismatch`, `HandshakeFailed`,
    `DeviceUnavailable`, `SelfTestFailed`; from the iteration `PeerGone`, also when the sender
    says that it failed; `OutputFailed` on leaving, if the log could not be written in full.
    """

    def __init__(
        self,
        code: str | PairingCode,
        settings: ReceiverSettings | None = None,
        *,
        journal: ReceiverJournal | None = None,
        on_quality: Callable[[str], None] | None = None,
        on_notice: Callable[[control.Notice], None] | None = None,
        link_factory: LinkFactory = webrtc_link,
    ) -> None:
        self.settings = settings or ReceiverSettings()
        self.journal = journal or ReceiverJournal()
        self._code = code if isinstance(code, PairingCode) else PairingCode.parse(code)
        self._on_quality = on_quality
        self._on_notice = on_notice
        self._board = NoticeBoard()
        self._link_factory = link_factory

        self._exit = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="veilscope-receive")
        self._bye: control.Bye | None = None
        self._began = False
        self._failure: VeilscopeError | None = None  # what the sender did wrong, if that ends it

    # -- what a program sees ----------------------------------------------------------------------

    @property
    def session_id(self) -> str:
        """The session's id, for logs and file names; it tells nothing of a person."""
        return self._association.session_id

    @property
    def keystream(self) -> KeystreamIdentity:
        """The keystream network that both ends agreed on."""
        return self._keystream

    @property
    def lasting(self) -> tuple[control.Notice, ...]:
        """What the sender told that still holds; `since_ns` is on this machine's clock."""
        return tuple(self._board)

    @property
    def goodbye(self) -> control.Bye | None:
        """What the sender said as it left, if it did."""
        return self._bye

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except BaseException:
            await self._exit.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(PeerGone):  # nobody left to say it to
            self._association.send(self._farewell())
        await self._exit.aclose()

    def _farewell(self) -> control.Bye:
        if self._failure is None:
            return control.Bye(reason="quit")
        return control.Bye(reason="error", detail=str(self._failure)[: control.MAX_DETAIL_CHARS])

    def __aiter__(self) -> AsyncIterator[ShownFrame]:
        return self._showing.frames()

    def shown(self, index: int, at_ns: int) -> None:
        """Frame `index` reached the screen at `at_ns` (`time.monotonic_ns`)."""
        self._showing.shown(index, at_ns)

    def replaced(self, index: int, reason: DropReason = DropReason.SUPERSEDED) -> None:
        """Frame `index` was handed over, but never reached the screen, for `reason`."""
        self._showing.replaced(index, reason)

    async def still(self, index: int) -> ShownFrame | None:
        """Frame `index`, which was shown just now, once more and lossless.

        None if the sender can't send it, if it can't be decoded, or if it does not come in time.
        Raises `PeerGone` once the link is over.  Cancel it when it is not wanted any more.
        """
        decoded = await self._stills.fetch(index)
        self.journal.event("still " + ("came" if decoded else "unavailable"), f"frame {index}")
        return None if decoded is None else self._showing.present(decoded, time.monotonic_ns())

    @property
    def still_refusal(self) -> str:
        """Why the still asked for last did not come, in the sender's words; else empty."""
        return self._stills.refusal

    # -- opening and closing ----------------------------------------------------------------------

    async def _open(self) -> None:
        self._exit.push_async_callback(self._close_journal)
        self._exit.push_async_callback(asyncio.to_thread, self._worker.shutdown)
        settings = self.settings
        keystreams = await asyncio.to_thread(Keystreams, settings.keystream, settings.device)
        open_signaling = partial(
            SignalingClient,
            settings.signaling,
            ssl_context=client_context(settings.ca),
            proxy=settings.proxy,
        )
        async with open_signaling() as signaling:
            room = await signaling.join_room(self._code.nameplate)
            # Those of the server's operator are not trusted to be well written.
            ice_servers, refused = usable_ice_servers(room.ice_servers)
            if settings.ice_servers is not None:
                ice_servers, refused = settings.ice_servers, ()
            self._link = self._link_factory(
                ice_servers=ice_servers,
                host_addresses=settings.host_addresses,
                tls=client_context(settings.ca),
                lost_after_s=settings.grace_s,
            )
            self._exit.push_async_callback(self._link.close)
            sender = await connect(signaling, self._link)
            # From here on the server is not needed: it may go away, and knows nothing of the rest.
            self._association = await agree(self._link, self._code.secret, keystreams)
            self._link.accept_frames()
        agreed = self._association.network
        backend = await asyncio.to_thread(keystreams.backend, agreed.family)
        self._keystream = KeystreamIdentity(
            family=agreed.family, digest=agreed.digest.hex(), backend=backend.name
        )
        self._pipeline = OpeningPipeline(backend, sender=SENDER_ID, suite=self._association.suite)
        self._exit.push_async_callback(asyncio.to_thread, self._pipeline.close)
        with suppress(LinkFailed):  # pings go on: until they tell, no picture's age is known
            await self._link.calibrated(CALIBRATED_WITHIN_S)
        self._stills = Stills(self._association)
        self._began = True
        self.journal.session_started(self.session_id, self._keystream)
        self._exit.callback(self._note_ignored)
        if refused:
            self.journal.event("ICE servers ignored", f"{len(refused)} can't be used")
        self._showing = Showing(
            self._link,
            self.journal,
            settings.playout_delay_ms,
            max_latency_ms=settings.max_latency_ms,
            confirm_shown=settings.confirm_shown,
        )
        self._exit.callback(self._showing.write_lines, everything=True)
        self._reception = Reception(
            self._association,
            self._pipeline,
            self._worker,
            journal=self.journal,
            showing=self._showing,
            stills=self._stills,
        )
        self._exit.callback(self._showing.handover.discard)
        self._exit.push_async_callback(self._reception.stop)
        self._exit.push_async_callback(self._stop_tasks)
        self._hearing = self._begin(self._hear())
        receiving = asyncio.create_task(self._reception.run())
        self._tasks.append(receiving)
        for work in (self._end(receiving), self._showing.handover.play(), self._report()):
            self._begin(work)
        if RESTART in self._association.features:
            self._begin(
                find_again(
                    self._association,
                    nameplate=self._code.nameplate,
                    sender=sender,
                    open_signaling=open_signaling,
                    on_restart=lambda: self.journal.event("ICE restart", "answered by the sender"),
                )
            )

    async def _close_journal(self) -> None:
        """A session that never began leaves its journal to the next try."""
        if self._began:
            await asyncio.to_thread(self.journal.close)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run one of the session's tasks; what it raises ends the iteration."""
        task = asyncio.create_task(work)
        task.add_done_callback(self._ended)
        self._tasks.append(task)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, HandshakeFailed):
            self._failure = error
        if isinstance(error, Exception):  # handed on whole to whoever iterates
            self._showing.handover.close(error)

    async def _stop_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- what the sender says ---------------------------------------------------------------------

    async def _hear(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                message = await self._association.receive()
            except PeerGone:
                return  # `_end` sees it too, after the frames that had arrived
            match message:
                case control.Epoch():
                    if message.sender != SENDER_ID:
                        raise HandshakeFailed("an epoch was announced for another sender")
                    await loop.run_in_executor(
                        self._worker, self._pipeline.enter_epoch, message.epoch_secret
                    )
                    self._association.send(control.EpochAck(epoch=message.epoch))
                    self.journal.epoch_entered(message.epoch, message.reason)
                case control.Timings():
                    self._showing.timed(message.rows)
                case control.Tally():
                    self.journal.sender_told(message.sent, message.dropped)
                case control.PathReport():
                    self.journal.path_measured(message)
                case control.QualityNotice():
                    self.journal.quality_changed(message.reason)
                    if self._on_quality is not None:
                        self._on_quality(message.reason)
                case control.Notice():
                    self._noticed(self._by_our_clock(message))
                case control.StillUnavailable():
                    self._stills.came(message.index, None, message.detail)
                case control.Bye():
                    self._bye = message
                case _:
                    continue  # the rest flows the other way

    def _noticed(self, notice: control.Notice) -> None:
        self.journal.noticed(notice, ends=self._board.take(notice))
        if self._on_notice is not None:
            self._on_notice(notice)

    def _by_our_clock(self, notice: control.Notice) -> control.Notice:
        """`notice` with its `since_ns` on this machine's clock, and not in the future."""
        clock, now_ns = self._link.clock.estimate, time.monotonic_ns()
        if notice.since_ns is None:
            return notice
        since_ns = now_ns if clock is None else min(now_ns, clock.to_local(notice.since_ns)[0])
        return notice.model_copy(update={"since_ns": since_ns})

    # -- frames -----------------------------------------------------------------------------------

    async def _end(self, receiving: asyncio.Task[None]) -> None:
        """Wait until no more frames come; raises why, where the sender did not mean it."""
        try:
            await receiving
        except PeerGone:
            if self._bye is None:
                raise
        finally:
            self._note_link_drops()
        await asyncio.wait({self._hearing})  # the sender's last words may still wait to be read
        if self._bye is None and (await self._link.closed()).cause == "peer":
            raise PeerGone("the sender hung up without a word", hint="ask whether it still runs")
        if self._bye is not None and self._bye.reason == "error":
            detail = self._bye.detail or "it failed"
            raise PeerGone(f"the sender ended with an error: {detail}")
        await self._reception.emptied()
        await self._showing.handover.emptied()
        self._showing.handover.close()

    async def _report(self) -> None:
        """Tell the sender how it goes, for as long as it is there."""
        while True:
            await asyncio.sleep(REPORT_EVERY_S)
            self._note_link_drops()
            figures = self.journal.snapshot()
            report = control.ReceiverReport(
                shown=figures.frames, latency_p95_ms=figures.latency_p95_ms
            )
            try:
                self._association.send(report)
            except PeerGone:  # `_end` says so
                return

    def _note_ignored(self) -> None:
        """What the sender said that this version does not know: for who reads the log."""
        ignored = self._association.ignored.total()
        if ignored:
            self.journal.event("passed over", f"{ignored} messages or fields, unknown here")

    def _note_link_drops(self) -> None:
        self.journal.link_dropped(self._link.frames_dropped.get("consumer slow", 0))
