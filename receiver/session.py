"""A receiver session: pairs with a sender, and gives its frames to whoever iterates over it.

The shell that joins the pieces: the room at the signaling server, the link, the handshake, the
epochs, and the pipeline open -> decode -> hand over.  It refuses to show a frame that did not pass
every check or lacks the one that it builds on, and to fall behind: a frame that its consumer has no
time for gives way to the next.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from receiver.journal import ReceiverJournal
from receiver.keystreams import Keystreams
from receiver.ledger import Arrival, Ledger
from receiver.pipeline import DecodedFrame, Outcome, Pipeline
from receiver.playout import PlayoutBuffer
from receiver.sinks import ShownFrame
from shared import control
from shared.association import Association, associate
from shared.crypto.handshake import DtlsFingerprints, ReceiverHandshake
from shared.crypto.pairing import PairingCode
from shared.errors import FrameRejected, HandshakeFailed, LinkFailed, PeerGone, RoomUnavailable
from shared.frame import Frame
from shared.link.link import IceServer
from shared.link.peer import LinkFactory, PeerLink, usable_ice_servers
from shared.newest import Newest, SlotClosed
from shared.telemetry.metrics import drop_reason
from shared.telemetry.records import DropReason, KeystreamIdentity
from shared.wire import SENDER_ID
from signaling.client import Relayed, SignalingClient
from signaling.tls import client_context

__all__ = ["ReceiverSession", "ReceiverSettings"]

OFFER_TIMEOUT_S = 20.0  # the sender makes its offer as soon as it hears of us
REPORT_EVERY_S = 0.5  # the sender knows that we are there, and how the picture gets here
STILL_TIMEOUT_S = 10.0  # the sender refuses one that takes 3 s; encoding comes to that

# A frame ahead of its reference waits for a repair: asked for and sent again, one round trip, half
# of one for jitter, and what the two ends take; a person sees a freeze from about 250 ms.
MIN_PATIENCE_NS, MAX_PATIENCE_NS = 40_000_000, 250_000_000
WORK_NS = 20_000_000
MIN_ASK_NS = 100_000_000  # a key frame is large: one is asked for again after a round trip at least


@dataclass(frozen=True, slots=True)
class ReceiverSettings:
    """How a receiver session behaves.

    `ca` is a file of certificate authorities (PEM) to trust for wss:// instead of the system's.
    `keystream` is the path of a network file, for a sender that uses one that is not shipped;
    `device` is one of `shared.keystream.backend.DEVICES`.  `ice_servers`, where given, replace
    those that the signaling server hands out.  `host_addresses` limits the addresses that are
    offered to the other end (None: all of them).  With `confirm_shown` a frame counts as shown when
    the program says so (`ReceiverSession.shown`), otherwise when it is handed over.  A picture is
    handed over no sooner than `playout_delay_ms` after it was taken.
    """

    signaling: str = "ws://127.0.0.1:8765"
    ca: Path | None = None
    keystream: str | None = None
    device: str = "auto"
    ice_servers: tuple[IceServer, ...] | None = None
    host_addresses: tuple[str, ...] | None = None
    confirm_shown: bool = False
    playout_delay_ms: float = 0.0


class ReceiverSession:
    """Receives from the sender that made `code`.

    Use as an async context manager and iterate: on entry the two ends have paired; the iteration
    gives the newest `ShownFrame` each time and ends when the sender ends; leaving the block says
    goodbye and closes everything.

    Raises on entry `BadInput` (what is no code), `SignalingUnreachable`, `RoomUnavailable`,
    `LinkFailed`, `WrongCode`, `CodeUsed`, `KeystreamMismatch`, `HandshakeFailed`,
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
        link_factory: LinkFactory = PeerLink,
    ) -> None:
        self.settings = settings or ReceiverSettings()
        self.journal = journal or ReceiverJournal()
        self._code = code if isinstance(code, PairingCode) else PairingCode.parse(code)
        self._on_quality = on_quality
        self._link_factory = link_factory

        self._exit = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="veilscope-receive")
        self._slot: Newest[DecodedFrame] = Newest()
        self._bye: control.Bye | None = None
        self._playout: PlayoutBuffer[DecodedFrame] = PlayoutBuffer()
        self._playout_filled = asyncio.Event()
        self._playout_empty = asyncio.Event()
        self._playout_empty.set()
        self._held_until_ns: int | None = None
        self._expiry: asyncio.Task[None] | None = None
        self._asked_at_ns: int | None = None
        self._stills = asyncio.Lock()  # one at a time: they are large
        self._awaited_still: tuple[int, asyncio.Future[DecodedFrame | None]] | None = None

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
            self._association.send(control.Bye(reason="quit"))
        await self._exit.aclose()

    def __aiter__(self) -> AsyncIterator[ShownFrame]:
        return self._frames()

    async def _frames(self) -> AsyncIterator[ShownFrame]:
        while True:
            try:
                decoded = await self._slot.get()
            except SlotClosed:
                return
            now_ns = time.monotonic_ns()
            frame = self._present(decoded, now_ns)
            if not self.settings.confirm_shown:
                self.shown(frame.frame.index, now_ns)
            yield frame

    def shown(self, index: int, at_ns: int) -> None:
        """Frame `index` reached the screen at `at_ns` (`time.monotonic_ns`)."""
        clock = self._link.clock.estimate
        line = None if clock is None else self._ledger.shown(index, at_ns, clock)
        if line is not None:
            self.journal.counted(line)
            self._write_lines()

    async def still(self, index: int) -> ShownFrame | None:
        """Frame `index`, which was shown just now, once more and lossless.

        None if the sender can't send it, if it can't be decoded, or if it does not come in time.
        Raises `PeerGone` once the link is over.  Cancel it when it is not wanted any more.
        """
        async with self._stills:
            coming: asyncio.Future[DecodedFrame | None] = asyncio.Future()
            ending = asyncio.create_task(self._link.closed())
            self._awaited_still = index, coming
            try:
                self._association.send(control.StillRequest(index=index))
                either: set[asyncio.Future[Any]] = {coming, ending}
                await asyncio.wait(
                    either, timeout=STILL_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED
                )
                if not coming.done() and ending.done():
                    raise ending.result().error()
                decoded = coming.result() if coming.done() else None
            finally:
                self._awaited_still = None
                ending.cancel()
                if not coming.done():
                    with suppress(PeerGone):
                        self._association.send(control.StillCancel(index=index))
        self.journal.event("still " + ("came" if decoded else "unavailable"), f"frame {index}")
        return None if decoded is None else self._present(decoded, time.monotonic_ns())

    def replaced(self, index: int, reason: DropReason = DropReason.SUPERSEDED) -> None:
        """Frame `index` was handed over, but never reached the screen, for `reason`."""
        if self._ledger.forget(index):
            self.journal.dropped(reason, index)

    # -- opening and closing ----------------------------------------------------------------------

    async def _open(self) -> None:
        self._exit.push_async_callback(asyncio.to_thread, self.journal.close)
        self._exit.push_async_callback(asyncio.to_thread, self._worker.shutdown)
        settings = self.settings
        keystreams = await asyncio.to_thread(Keystreams, settings.keystream, settings.device)
        async with SignalingClient(
            settings.signaling, ssl_context=client_context(settings.ca)
        ) as signaling:
            room = await signaling.join_room(self._code.nameplate)
            ice_servers = settings.ice_servers
            if ice_servers is None:  # the operator's, who is not trusted to write them well
                ice_servers, _refused = usable_ice_servers(room.ice_servers)
            self._link = self._link_factory(
                ice_servers=ice_servers, host_addresses=settings.host_addresses
            )
            self._exit.push_async_callback(self._link.close)
            await self._connect(signaling)
            # From here on the server is not needed: it may go away, and knows nothing of the rest.
            self._association = await self._pair(keystreams)
            self._link.accept_frames()
        agreed = self._association.network
        backend = await asyncio.to_thread(keystreams.backend, agreed.family)
        self._keystream = KeystreamIdentity(
            family=agreed.family, digest=agreed.digest.hex(), backend=backend.name
        )
        self._pipeline = Pipeline(backend, sender=SENDER_ID)
        self._exit.push_async_callback(asyncio.to_thread, self._pipeline.close)
        await self._link.calibrated()
        self.journal.session_started(self.session_id, self._keystream)
        self._ledger = Ledger(self.journal.began_at_ns)
        self._exit.callback(self._write_lines, everything=True)
        self._exit.push_async_callback(self._stop_tasks)
        self._hearing = asyncio.create_task(self._guarded(self._hear))
        for work in (self._receive, self._play, self._report):
            self._tasks.append(asyncio.create_task(self._guarded(work)))
        self._tasks.append(self._hearing)

    async def _connect(self, signaling: SignalingClient) -> None:
        try:
            async with asyncio.timeout(OFFER_TIMEOUT_S):
                sender, offer = await _first_offer(signaling)
        except TimeoutError:
            raise LinkFailed(
                "the sender did not make an offer in time",
                hint="check that the sender still waits, and try again",
            ) from None
        answer = await self._link.accept_offer(offer)
        await signaling.send(sender, {"type": "answer", "sdp": answer})
        await self._link.connected()

    async def _pair(self, keystreams: Keystreams) -> Association:
        local, remote = self._link.fingerprints
        handshake = ReceiverHandshake(
            self._code.secret, DtlsFingerprints(sender=remote, receiver=local), keystreams.digest
        )
        return await associate(self._link, handshake)

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run one of the session's tasks; what it raises ends the iteration."""
        try:
            await work()
        except Exception as error:  # handed on whole to whoever iterates
            self._slot.close(error)

    async def _stop_tasks(self) -> None:
        tasks = [*self._tasks, *([self._expiry] if self._expiry else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- what the sender says ---------------------------------------------------------------------

    async def _hear(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                message = await self._association.receive()
            except PeerGone:
                return  # `_receive` sees it too, after the frames that had arrived
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
                    self._ledger.timed(message.rows)
                    self._write_lines()
                case control.Tally():
                    self.journal.sender_told(message.sent, message.dropped)
                case control.PathReport():
                    self.journal.path_measured(message)
                case control.QualityNotice():
                    self.journal.quality_changed(message.reason)
                    if self._on_quality is not None:
                        self._on_quality(message.reason)
                case control.StillUnavailable():
                    self._still_came(message.index, None)
                    if message.detail and self._on_quality is not None:
                        self._on_quality(message.detail)
                case control.Bye():
                    self._bye = message
                case _:
                    continue  # the rest flows the other way

    # -- frames -----------------------------------------------------------------------------------

    async def _receive(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async for received in self._link.frames():
                try:
                    outcome = await loop.run_in_executor(
                        self._worker, self._pipeline.process, received, self._patience_ns()
                    )
                except FrameRejected as error:
                    self.journal.dropped(drop_reason(error))
                else:
                    self._take(outcome)
                self.journal.link_dropped(self._link.frames_dropped.get("consumer slow", 0))
        except PeerGone:
            if self._bye is None:
                raise
        await asyncio.wait({self._hearing})  # the sender's last words may still wait to be read
        if self._bye is None and (await self._link.closed()).cause == "peer":
            raise PeerGone("the sender hung up without a word", hint="ask whether it still runs")
        if self._bye is not None and self._bye.reason == "error":
            detail = self._bye.detail or "it failed"
            raise PeerGone(f"the sender ended with an error: {detail}")
        if self._expiry is not None and self._held_until_ns is not None:
            await asyncio.wait({self._expiry})
        await self._playout_empty.wait()
        self._slot.close()

    def _take(self, outcome: Outcome) -> None:
        """Hand over what was decoded, count what was not, and see to the chain."""
        for reason, index in outcome.dropped:
            self.journal.dropped(reason, index)
        if outcome.still_index is not None:
            self._still_came(outcome.still_index, outcome.still)
        if outcome.shown is not None:
            self._hand_over(outcome.shown)
        self._held_until_ns = outcome.held_until_ns
        if self._held_until_ns is not None and self._expiry is None:
            self._expiry = asyncio.create_task(self._expire())
        if outcome.wants_key is not None:
            self._ask_for_key(outcome.wants_key)

    async def _expire(self) -> None:
        """Give up the frames held once their time is over, until none is held."""
        loop = asyncio.get_running_loop()
        try:
            while (until_ns := self._held_until_ns) is not None:
                await asyncio.sleep(max(0, until_ns - time.monotonic_ns()) / 1e9)
                self._take(await loop.run_in_executor(self._worker, self._pipeline.expire))
        finally:
            self._expiry = None

    def _patience_ns(self) -> int:
        clock = self._link.clock.estimate
        wanted = WORK_NS + 3 * (clock.rtt_ns if clock else 0) // 2
        return min(max(wanted, MIN_PATIENCE_NS), MAX_PATIENCE_NS)

    def _ask_for_key(self, index: int) -> None:
        now_ns = time.monotonic_ns()
        clock = self._link.clock.estimate
        pause_ns = max(clock.rtt_ns if clock else 0, MIN_ASK_NS)
        if self._asked_at_ns is None or now_ns - self._asked_at_ns >= pause_ns:
            self._asked_at_ns = now_ns
            with suppress(PeerGone):  # then `_receive` says so
                self._association.send(control.KeyFrameRequest(index=index))

    def _still_came(self, index: int, decoded: DecodedFrame | None) -> None:
        if self._awaited_still is not None and self._awaited_still[0] == index:
            coming = self._awaited_still[1]
            if not coming.done():
                coming.set_result(decoded)

    def _hand_over(self, decoded: DecodedFrame) -> None:
        self._ledger.arrived(
            Arrival(
                key=decoded.key,
                metadata=decoded.metadata,
                sealed_bytes=len(decoded.sealed),
                received_at_ns=decoded.received_at_ns,
                opened_at_ns=decoded.opened_at_ns,
                released_at_ns=decoded.released_at_ns,
                decoded_at_ns=decoded.decoded_at_ns,
            )
        )
        delay_ns = round(self.settings.playout_delay_ms * 1e6)
        if delay_ns <= 0:
            self._put(decoded)
            return
        clock = self._link.clock.estimate
        captured_at_ns = decoded.metadata.captured_at_ns - (clock.offset_ns if clock else 0)
        # A stamp of the future, or a clock estimate that is off, must not stop the picture.
        due_ns = min(captured_at_ns, time.monotonic_ns()) + delay_ns
        evicted = self._playout.put(decoded, due_ns)
        if evicted is not None:
            self.replaced(evicted.metadata.index)
        self._playout_empty.clear()
        self._playout_filled.set()

    def _put(self, decoded: DecodedFrame) -> None:
        replaced = self._slot.put(decoded)
        if replaced is not None:
            self.replaced(replaced.metadata.index)

    async def _play(self) -> None:
        """With a playout delay: let each picture go at its moment, for ever."""
        while True:
            self._playout_filled.clear()
            for decoded in self._playout.take(time.monotonic_ns()):
                self._put(decoded)
            due_ns = self._playout.next_due_ns
            if due_ns is None:
                self._playout_empty.set()
            with suppress(TimeoutError):  # another one may be due sooner
                async with asyncio.timeout(_seconds_until(due_ns)):
                    await self._playout_filled.wait()

    async def _report(self) -> None:
        """Tell the sender how it goes, for as long as it is there."""
        while True:
            await asyncio.sleep(REPORT_EVERY_S)
            figures = self.journal.snapshot()
            report = control.ReceiverReport(
                shown=figures.frames, latency_p95_ms=figures.latency_p95_ms
            )
            try:
                self._association.send(report)
            except PeerGone:  # `_receive` says so
                return

    def _present(self, decoded: DecodedFrame, now_ns: int) -> ShownFrame:
        clock = self._link.clock.estimate
        metadata = decoded.metadata
        captured_at_ns = metadata.captured_at_ns - (clock.offset_ns if clock else 0)
        return ShownFrame(
            frame=Frame(metadata.index, captured_at_ns, decoded.image),
            sealed=decoded.sealed,
            latency_ms=(now_ns - captured_at_ns) / 1e6 if clock else None,
            latency_bound_ms=clock.bound_ns / 1e6 if clock else None,
            psnr_db=metadata.psnr_db,
            epoch=decoded.key[0],
            codec=metadata.codec,
            fps=self.journal.fps,
        )

    def _write_lines(self, *, everything: bool = False) -> None:
        for line in self._ledger.take(everything=everything):
            self.journal.write(line)


def _seconds_until(due_ns: int | None) -> float | None:
    return None if due_ns is None else max(0, due_ns - time.monotonic_ns()) / 1e9


async def _first_offer(signaling: SignalingClient) -> tuple[str, str]:
    """Wait for the sender's offer; returns the sender's peer id and the SDP."""
    async for event in signaling.events():
        match event:
            case Relayed(sender_peer=peer, payload={"type": "offer", "sdp": str(sdp)}):
                return peer, sdp
            case _:
                continue
    raise RoomUnavailable(
        "the room was closed before the sender made an offer",
        hint="ask whether the sender still runs, and for a new code",
    )
