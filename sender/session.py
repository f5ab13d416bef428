"""A sender session: frames from any async iterator, sealed and sent to the receivers that pair.

The shell that joins the pieces: the room at the signaling server, the door to it (`admission`),
the receivers (`audience`), the epochs, and the pipeline mask -> encode -> seal -> send.  It refuses
to queue: a frame is taken up only when some receiver's path can carry it now, and the newest wins.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

from sender.admission import Admission
from sender.audience import Attendee
from sender.epochs import Epochs
from sender.journal import SenderJournal
from sender.pipeline import Pipeline, SealedFrame
from sender.privacy import Rect
from sender.rate import DEFAULT_LATENCY_MS, Preference, Wishes
from sender.steering import AUTO, Steering
from sender.stillrequests import StillRequests
from shared import control
from shared.codecs import CODECS
from shared.crypto.handshake import NetworkId, new_session_id
from shared.crypto.keyschedule import REKEY_AFTER_S, EpochSecret
from shared.crypto.pairing import PairingCode
from shared.errors import (
    BadInput,
    PairingFailed,
    RoomUnavailable,
    SignalingUnreachable,
    VeilscopeError,
)
from shared.frame import Frame
from shared.keystream.backend import Backend, open_backend
from shared.keystream.network import DEFAULT_FAMILY, KeystreamNetwork, load_network
from shared.link.link import IceServer
from shared.link.peer import LinkFactory, PeerLink, usable_ice_servers
from shared.newest import Newest, SlotClosed
from shared.telemetry.records import DropReason, KeystreamIdentity
from shared.wire import SENDER_ID
from signaling.client import (
    ConnectionLost,
    PeerJoined,
    PeerLeft,
    Reconnected,
    Relayed,
    SignalingClient,
)
from signaling.tls import client_context

__all__ = ["SenderSession", "SenderSettings"]

MAX_JOINING = 8  # peers that are let in at once: each costs a socket and a handshake
TALLY_EVERY_S = 1.0  # how often the receivers are told what was sent and dropped at this end
# With an inter codec a frame that a receiver misses costs it all up to the next key frame: those
# that follow are waited for, but not so long that a person would notice.
TOGETHER_S = 0.05
LOOK_EVERY_S = 0.05  # while a frame would be of no use: key frames fall due by time alone

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SenderSettings:
    """How a sender session behaves.

    `codec` is a name of `shared.codecs.CODECS`, or `auto`: by the first frame and the machine.
    `ca` is a file of certificate authorities (PEM) to trust for wss:// instead of the system's.
    `keystream` is a shipped family or the path of a network file; `device` is one of
    `shared.keystream.backend.DEVICES`.  A new epoch begins every `rekey_after_s` seconds, 60 at
    most, and whenever a receiver comes or goes.  `ice_servers`, where given, replace those that the
    signaling server hands out.  `host_addresses` limits the addresses that are offered to the other
    end (None: all of them).
    `quality` (of JPEG, 1 to 100) and `bitrate_bps` are ceilings of the rate control, `min_psnr_db`
    and `max_latency_ms` its floors, `prefer` what it keeps longest (`sender.rate`); `fps` is the
    source's frame rate, if it is known.  With `strip` each frame's index and capture time are drawn
    into its picture (`shared.strip`).
    """

    signaling: str = "ws://127.0.0.1:8765"
    ca: Path | None = None
    codec: str = AUTO
    quality: int = 90
    bitrate_bps: int | None = None
    min_psnr_db: float | None = None
    max_latency_ms: float = DEFAULT_LATENCY_MS
    prefer: Preference = "smooth"
    fps: float | None = None
    strip: bool = False
    keystream: str = DEFAULT_FAMILY
    device: str = "auto"
    masks: tuple[Rect, ...] = ()
    max_receivers: int = 1
    rekey_after_s: float = REKEY_AFTER_S
    ice_servers: tuple[IceServer, ...] | None = None
    host_addresses: tuple[str, ...] | None = None


class SenderSession:
    """Streams `frames` to the receivers that pair with its code.

    Use as an async context manager: on entry the room is open and `code` is ready to be read out;
    `await finished()` returns when the frames end, or when the last receiver has left and no
    other can join; leaving the block says goodbye to the receivers and closes everything.

    Raises `SignalingUnreachable`, `RoomUnavailable`, `DeviceUnavailable`, `SelfTestFailed` or
    `BadInput` on entry; from `finished` whatever ended the session: `PeerGone`, `PairingFailed`
    (too many wrong codes) or any error that `frames` raised; `OutputFailed` on leaving, if the
    log could not be written in full.
    """

    def __init__(
        self,
        frames: AsyncIterator[Frame],
        settings: SenderSettings | None = None,
        *,
        journal: SenderJournal | None = None,
        on_code: Callable[[PairingCode], None] | None = None,
        on_notice: Callable[[str], None] | None = None,
        link_factory: LinkFactory = PeerLink,
    ) -> None:
        self.settings = settings or SenderSettings()
        self.session_id = new_session_id()
        self.journal = journal or SenderJournal()
        self._frames = frames
        self._on_code = on_code
        self._on_notice = on_notice
        self._link_factory = link_factory

        self._exit = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._peers: dict[str, asyncio.Task[None]] = {}
        self._attendees: dict[str, Attendee] = {}
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="veilscope-send")
        self._slot: Newest[Frame] = Newest()
        self._some_ready = asyncio.Event()
        self._first_joined = asyncio.Event()
        self._processing = False
        self._concluding = False
        self._numbers = count(1)

    # -- what a program sees ----------------------------------------------------------------------

    @property
    def code(self) -> PairingCode | None:
        """The code that the next receiver pairs with, or None when no more are expected."""
        return self._admission.code

    @property
    def keystream(self) -> KeystreamIdentity:
        """The keystream network in use."""
        return self._keystream

    @property
    def receivers(self) -> int:
        """How many receivers are watching now."""
        return len(self._attendees)

    async def __aenter__(self) -> Self:
        self._outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
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
        try:
            if not self._concluding:
                self._concluding = True
                await self._say_goodbye("quit")
        finally:
            await self._exit.aclose()

    async def finished(self) -> None:
        """Wait until the session has ended by itself; raises the error that ended it."""
        await asyncio.shield(self._outcome)

    # -- opening and closing ----------------------------------------------------------------------

    async def _open(self) -> None:
        settings = self.settings
        self._exit.push_async_callback(asyncio.to_thread, self.journal.close)
        self._exit.push_async_callback(asyncio.to_thread, self._worker.shutdown)
        if settings.codec != AUTO and settings.codec not in CODECS:
            raise BadInput(
                f"there is no codec {settings.codec!r}",
                hint=f"choose from {AUTO}, {', '.join(CODECS)}",
            )
        network, backend = await asyncio.to_thread(_open_keystream, settings)
        self._keystream = KeystreamIdentity(
            family=network.family, digest=network.digest.hex(), backend=backend.name
        )
        wishes = Wishes(
            settings.quality,
            settings.bitrate_bps,
            settings.min_psnr_db,
            settings.max_latency_ms,
            settings.prefer,
        )
        self._steering = Steering(
            settings.codec, wishes, fps=settings.fps, on_change=self._quality_changed
        )
        self._pipeline = Pipeline(
            None, backend, sender=SENDER_ID, masks=settings.masks, strip=settings.strip
        )
        self._exit.push_async_callback(asyncio.to_thread, self._pipeline.close)
        self._stills = StillRequests(
            self._pipeline, self._worker, self.journal, on_failure=self._conclude_soon
        )
        self._exit.push_async_callback(self._stills.close)
        self._epochs = Epochs(
            self._pipeline,
            self._worker,
            rekey_after_s=settings.rekey_after_s,
            attendees=self._attendees.values,
            on_entered=self._epoch_entered,
        )
        self._signaling = await self._exit.enter_async_context(
            SignalingClient(settings.signaling, ssl_context=client_context(settings.ca))
        )
        room = await self._signaling.create_room()
        self._admission = Admission(
            self._signaling,
            room.nameplate,
            self.session_id,
            NetworkId(network.family, network.digest),
            places=settings.max_receivers,
            on_code=self._tell_code,
        )
        codec = None if settings.codec == AUTO else settings.codec
        self.journal.session_started(self.session_id, codec, self._keystream)
        # Those of the server's operator are not trusted to be well written.
        self._ice_servers, refused = usable_ice_servers(room.ice_servers)
        if settings.ice_servers is not None:
            self._ice_servers = settings.ice_servers
        elif refused:
            self._notice("ICE servers ignored", f"{len(refused)} can't be used")
        self._admission.open()
        self._exit.push_async_callback(self._stop_tasks)
        for work in (self._attend_room, self._stream, self._keep_epochs, self._keep_tally):
            self._tasks.append(asyncio.create_task(self._guarded(work)))

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run one of the session's tasks; what it raises ends the session."""
        try:
            await work()
        except Exception as error:  # handed on whole to whoever awaits `finished`
            await self._conclude(error)

    async def _conclude(self, error: Exception | None = None) -> None:
        """End the session, once: whatever follows is a consequence of the first reason."""
        if self._concluding:
            return
        self._concluding = True
        try:
            if error is None:
                await self._say_goodbye("ended")
            else:
                known = isinstance(error, VeilscopeError)
                await self._say_goodbye("error", str(error) if known else "")
        finally:
            if error is None:
                self._outcome.set_result(None)
            else:
                self._outcome.set_exception(error)
                self._outcome.exception()  # marked as seen: nobody need ask for it

    def _conclude_soon(self, error: Exception) -> None:
        self._tasks.append(asyncio.create_task(self._conclude(error)))

    async def _say_goodbye(self, reason: control.ByeReason, detail: str = "") -> None:
        goodbyes = [
            attendee.say_goodbye(reason, detail[: control.MAX_DETAIL_CHARS], self._drops())
            for attendee in self._attendees.values()
        ]
        await asyncio.gather(*goodbyes, return_exceptions=True)

    async def _stop_tasks(self) -> None:
        tasks = [*self._tasks, *self._peers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _notice(self, event: str, detail: str | Exception = "") -> None:
        """Tell the person and the log; of an error the log gets the type alone.

        Its text may name a host, which is the person's business and not the log's.
        """
        told = type(detail).__name__ if isinstance(detail, Exception) else detail
        self.journal.event(event, told)
        if self._on_notice is not None:
            self._on_notice(f"{event}: {detail}" if str(detail) else event)

    def _tell_code(self, code: PairingCode) -> None:
        if self._on_code is not None:
            self._on_code(code)

    # -- the room: receivers come and go ----------------------------------------------------------

    async def _attend_room(self) -> None:
        try:
            await self._follow_events()
            raise RoomUnavailable(
                "the signaling server closed the room, since nobody came",
                hint="start the sender again for a new code",
            )
        except (SignalingUnreachable, RoomUnavailable) as error:
            if not self._attendees:
                raise
            self._admission.close()
            self._notice("signaling ended, the stream goes on", error)

    async def _follow_events(self) -> None:
        async for event in self._signaling.events():
            match event:
                case PeerJoined(peer=peer):
                    self._welcome(peer)
                case Relayed(sender_peer=peer, payload={"type": "answer", "sdp": str(sdp)}):
                    self._admission.answered(peer, sdp)
                case PeerLeft(peer=peer):
                    self._admission.left(peer)
                case ConnectionLost() if self._attendees:
                    self._notice("signaling server lost", "the stream goes on without it")
                case ConnectionLost():
                    self._notice("signaling server lost", "trying to reach it again")
                case Reconnected():
                    self._notice("signaling server reached again")

    def _welcome(self, peer: str) -> None:
        """Begin to let `peer` in, unless the server says a peer twice or too many come at once."""
        joining = len(self._peers) - len(self._attendees)
        if peer not in self._peers and joining < MAX_JOINING:
            self._peers[peer] = asyncio.create_task(self._guarded(lambda: self._serve(peer)))

    async def _serve(self, peer: str) -> None:
        """Let one receiver in and serve it until it leaves."""
        try:
            async with AsyncExitStack() as stack:
                attendee = await self._admit(peer, stack)
                if attendee is not None:
                    await self._accompany(attendee)
        finally:
            del self._peers[peer]

    async def _admit(self, peer: str, stack: AsyncExitStack) -> Attendee | None:
        """The paired receiver; None where the try failed, which disturbs nobody else.

        Its link is closed with `stack`.
        """
        try:
            link = self._link_factory(
                ice_servers=self._ice_servers, host_addresses=self.settings.host_addresses
            )
            stack.push_async_callback(link.close)
            association = await self._admission.admit(peer, link)
        except VeilscopeError as error:
            self._notice("a receiver could not join", error)
        except Exception as error:  # whatever a stranger sent: those who watch go on
            _LOG.debug("a receiver could not join", exc_info=error)
            self._notice("a receiver could not join", error)
        else:
            return Attendee(
                peer,
                association,
                on_ready=self._some_ready.set,
                on_sent=self.journal.frame_sent,
                drops_before=self._drops(),
                on_still=self._stills.asked,
                number=next(self._numbers),
            )
        if self._admission.guessed_at:
            self._close_room()
        return None

    def _close_room(self) -> None:
        """Too many wrong codes: nobody joins any more, and whoever watches is not disturbed."""
        if not self._attendees:
            raise PairingFailed(
                "three wrong codes were tried: the room is closed",
                hint="somebody may be guessing; start again to get a new code",
            )
        self._admission.close()
        self._notice("three wrong codes were tried", "no more receivers can join")

    async def _accompany(self, attendee: Attendee) -> None:
        self._attendees[attendee.peer] = attendee
        serving = asyncio.create_task(attendee.attend())
        try:
            await self._epochs.begin("join")
            self._first_joined.set()
            self._notice("a receiver joined")
            await serving
            if attendee.left is not None:
                self._notice("a receiver left")
        except VeilscopeError as error:  # gone, or not to be understood any more
            self._notice("a receiver is lost", error)
            if len(self._attendees) == 1 and self.code is None:
                raise
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            self._remove(attendee)
        if self._attendees and not self._concluding:
            await self._epochs.begin("leave")
        elif self.code is None:
            await self._conclude()

    def _remove(self, attendee: Attendee) -> None:
        del self._attendees[attendee.peer]
        frame = attendee.unsent
        if frame is not None and not self.journal.has_sent(frame):
            others = self._attendees.values()
            if not any(other.unsent is frame for other in others):  # else it may still be sent
                self.journal.dropped(DropReason.NO_RECEIVER, frame.index)
        if not self._attendees and (waiting := self._slot.take()) is not None:
            self.journal.dropped(DropReason.NO_RECEIVER, waiting.index)
        self._some_ready.set()  # who waits for a path to be ready looks again who is there

    def _epoch_entered(self, secret: EpochSecret) -> None:
        self.journal.epoch_entered(secret.epoch, secret.reason)
        self._some_ready.set()  # who holds its key may take frames from now on

    async def _keep_epochs(self) -> None:
        await self._first_joined.wait()
        await self._epochs.keep()

    # -- frames -----------------------------------------------------------------------------------

    async def _stream(self) -> None:
        """Take up the newest frame whenever a path can carry one, until the frames end."""
        await self._first_joined.wait()
        intake = asyncio.create_task(self._take_in())
        try:
            while True:
                await self._until_of_use()
                if self._steering.inter:
                    await self._until_all_that_follow_are_ready()
                await self._send(await self._slot.get())
        except SlotClosed:
            await self._conclude()
        finally:
            intake.cancel()
            await asyncio.gather(intake, return_exceptions=True)
            close = getattr(self._frames, "aclose", None)  # an async generator holds its source
            if close is not None:
                await close()

    async def _send(self, frame: Frame) -> None:
        self._processing = True
        attendees = self._attendees.values()
        await self._choose_codec(frame)
        plan = self._steering.plan_for(frame, attendees)
        work = partial(
            self._pipeline.process,
            frame,
            key=self._steering.needs_key(
                self._pipeline.encoded_index, self._pipeline.epoch, attendees
            ),
            target=plan.target,
            scale=plan.scale,
        )
        try:
            sealed: SealedFrame = await asyncio.get_running_loop().run_in_executor(
                self._worker, work
            )
        finally:
            self._processing = False
        self._steering.encoded(sealed)
        others = [attendee for attendee in attendees if not attendee.offer(sealed)]
        if len(others) < len(attendees):
            for attendee in others:
                attendee.passed_over(sealed)
        else:  # whoever was ready has left meanwhile
            reason = DropReason.LINK_BUSY if attendees else DropReason.NO_RECEIVER
            self.journal.dropped(reason, frame.index)

    async def _choose_codec(self, frame: Frame) -> None:
        """Before the first frame: open the encoder, and tell which one it is."""
        chosen = await asyncio.to_thread(self._steering.choose, frame)
        if chosen is not None:
            encoder, told = chosen
            self._pipeline.encode_with(encoder)
            if self.settings.codec == AUTO:
                self._notice("codec", told)

    async def _take_in(self) -> None:
        try:
            async for frame in self._frames:
                if not self._attendees:
                    self.journal.dropped(DropReason.NO_RECEIVER, frame.index)
                elif not self._steering.takes(frame):
                    self.journal.dropped(DropReason.RATE_LIMITED, frame.index)
                elif (replaced := self._slot.put(frame)) is not None:
                    self.journal.dropped(self._why_replaced(), replaced.index)
        except Exception as error:  # the frames before it still go out; then `_stream` raises it
            self._slot.close(error)
        else:
            self._slot.close()
        self._some_ready.set()

    def _why_replaced(self) -> DropReason:
        """Why a frame was not taken up before the next one came."""
        if self._processing:
            return DropReason.SENDER_BUSY
        if all(attendee.silent for attendee in self._attendees.values()):
            return DropReason.RECEIVER_SILENT
        return DropReason.LINK_BUSY

    async def _until_all_that_follow_are_ready(self) -> None:
        """Give receivers that could decode the next frame a moment to become able to take it."""
        index = self._pipeline.encoded_index
        with suppress(TimeoutError):
            async with asyncio.timeout(TOGETHER_S):
                while any(
                    attendee.follows(index) and not attendee.ready
                    for attendee in self._attendees.values()
                ):
                    self._some_ready.clear()
                    await self._some_ready.wait()

    async def _until_of_use(self) -> None:
        """Wait until a frame that is encoded now can be sent to somebody."""
        while not self._steering.serves(
            self._pipeline.encoded_index, self._pipeline.epoch, self._attendees.values()
        ):
            if self._slot.closed and not self._attendees:
                return  # nothing more will come, and there is nobody to wait for
            self._some_ready.clear()
            with suppress(TimeoutError):  # a key frame may be due by then
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._some_ready.wait()

    async def _keep_tally(self) -> None:
        while True:
            await asyncio.sleep(TALLY_EVERY_S)
            plan = self._steering.plan
            for attendee in self._attendees.values():
                attendee.tell_tally(self._drops())
                report = attendee.tell_path(None if plan is None else plan.bitrate_bps)
                if report is not None:
                    self.journal.path_measured(report, attendee.number)

    # -- quality -----------------------------------------------------------------------------------

    def _quality_changed(self, notice: control.QualityNotice) -> None:
        self.journal.quality_changed(notice.reason)
        if self._on_notice is not None:
            self._on_notice(notice.reason)
        for attendee in self._attendees.values():
            attendee.tell_quality(notice)

    def _drops(self) -> dict[str, int]:
        return {reason.value: count for reason, count in self.journal.drops.items()}


def _open_keystream(settings: SenderSettings) -> tuple[KeystreamNetwork, Backend]:
    network = load_network(settings.keystream)
    return network, open_backend(network, settings.device)
