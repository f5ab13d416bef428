"""A sender session: frames from any async iterator, sealed and sent to the receivers that pair.

The shell that joins the pieces: the room at the signaling server, one link and one handshake per
receiver, the epochs, and the pipeline mask -> encode -> seal -> send.  It refuses to queue: a
frame is taken up only when some receiver's path can carry it now, and the newest wins.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from sender.audience import Attendee
from sender.journal import SenderJournal
from sender.pipeline import Pipeline, SealedFrame
from sender.privacy import Rect
from shared import control
from shared.association import associate
from shared.codecs import open_encoder
from shared.crypto.handshake import DtlsFingerprints, NetworkId, SenderHandshake, new_session_id
from shared.crypto.keyschedule import REKEY_AFTER_S, EpochReason, SenderSchedule
from shared.crypto.messages import abort_message
from shared.crypto.pairing import PairingCode, PairingTries
from shared.errors import (
    CodeUsed,
    LinkFailed,
    PairingFailed,
    PeerGone,
    RoomUnavailable,
    SignalingUnreachable,
    VeilscopeError,
)
from shared.frame import Frame
from shared.keystream.backend import Backend, open_backend
from shared.keystream.network import DEFAULT_FAMILY, KeystreamNetwork, load_network
from shared.link.link import IceServer
from shared.link.peer import PeerLink
from shared.newest import Newest, SlotClosed
from shared.telemetry.records import DropReason, KeystreamIdentity
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

SENDER_ID = 0  # one sender a session; the wire format's field leaves room for more
ANSWER_TIMEOUT_S = 20.0  # a receiver that joined answers as soon as it has gathered its candidates
EPOCH_ACK_TIMEOUT_S = 5.0  # one reliable message each way; as long as a silent peer is tolerated
SCHEDULE_CHECK_S = 0.1  # how often the age of the epoch is looked at; its limit is a minute
DROPS_REPORT_S = 1.0  # how often the receivers are told what was dropped at this end

LinkFactory = Callable[[tuple[IceServer, ...], tuple[str, ...] | None], PeerLink]


@dataclass(frozen=True, slots=True)
class SenderSettings:
    """How a sender session behaves.

    `ca` is a file of certificate authorities (PEM) to trust for wss:// instead of the system's.
    `keystream` is a shipped family or the path of a network file; `device` is auto, cpu or cuda.
    A new epoch begins every `rekey_after_s` seconds, 60 at most, and whenever a receiver comes or
    goes.  `ice_servers`, where given, replace those that the signaling server hands out.
    `host_addresses` limits the addresses that are offered to the other end (None: all of them).
    """

    signaling: str = "ws://127.0.0.1:8765"
    ca: Path | None = None
    codec: str = "jpeg"
    quality: int = 90
    keystream: str = DEFAULT_FAMILY
    device: str = "auto"
    masks: tuple[Rect, ...] = ()
    max_receivers: int = 1
    rekey_after_s: float = REKEY_AFTER_S
    ice_servers: tuple[IceServer, ...] | None = None
    host_addresses: tuple[str, ...] | None = None


def _peer_link(
    ice_servers: tuple[IceServer, ...], host_addresses: tuple[str, ...] | None
) -> PeerLink:
    return PeerLink(ice_servers=ice_servers, host_addresses=host_addresses)


def _open_keystream(settings: SenderSettings) -> tuple[KeystreamNetwork, Backend]:
    network = load_network(settings.keystream)
    return network, open_backend(network, settings.device)


class SenderSession:
    """Streams `frames` to the receivers that pair with its code.

    Use as an async context manager: on entry the room is open and `code` is ready to be read out;
    `await finished()` returns when the frames end or the last receiver leaves; leaving the block
    says goodbye to the receivers and closes everything.

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
        link_factory: LinkFactory = _peer_link,
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
        self._answers: dict[str, asyncio.Future[str]] = {}
        self._attendees: dict[str, Attendee] = {}

        self._code: PairingCode | None = None
        self._tries = PairingTries()
        self._paired = 0
        self._schedule = SenderSchedule(SENDER_ID, rekey_after_s=self.settings.rekey_after_s)
        self._rotation = asyncio.Lock()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="veilscope-send")
        self._slot: Newest[Frame] = Newest()
        self._some_ready = asyncio.Event()
        self._first_joined = asyncio.Event()
        self._processing = False
        self._concluding = False
        self._told_drops: dict[str, int] = {}

    # -- what a program sees ----------------------------------------------------------------------

    @property
    def code(self) -> PairingCode | None:
        """The code that the next receiver pairs with, or None when no more are expected."""
        return self._code

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
        network, backend = await asyncio.to_thread(_open_keystream, settings)
        self._network_id = NetworkId(network.family, network.digest)
        self._pipeline = Pipeline(
            open_encoder(settings.codec, quality=settings.quality),
            backend,
            sender=SENDER_ID,
            masks=settings.masks,
        )
        self._exit.push_async_callback(asyncio.to_thread, self._pipeline.close)
        self._signaling = await self._exit.enter_async_context(
            SignalingClient(settings.signaling, ssl_context=client_context(settings.ca))
        )
        self._room = await self._signaling.create_room()
        self._keystream = KeystreamIdentity(
            family=network.family, digest=network.digest.hex(), backend=backend.name
        )
        self.journal.session_started(self.session_id, settings.codec, self._keystream)
        self._exit.push_async_callback(self._stop_tasks)
        for work in (self._attend_room(), self._stream(), self._keep_epochs(), self._tell_drops()):
            self._tasks.append(asyncio.create_task(self._guarded(work)))
        self._renew_code()

    async def _guarded(self, work: Coroutine[None, None, None]) -> None:
        """Run one of the session's tasks; what it raises ends the session."""
        try:
            await work
        except Exception as error:  # handed on whole to whoever awaits `finished`
            await self._conclude(error)

    async def _conclude(self, error: Exception | None = None) -> None:
        """End the session, once: whatever follows is a consequence of the first reason."""
        if self._concluding:
            return
        self._concluding = True
        if error is None:
            await self._say_goodbye("ended")
            self._outcome.set_result(None)
            return
        await self._say_goodbye("error", str(error) if isinstance(error, VeilscopeError) else "")
        self._outcome.set_exception(error)
        self._outcome.exception()  # marked as seen: nobody need ask for it

    async def _say_goodbye(self, reason: control.ByeReason, detail: str = "") -> None:
        self._report_drops()
        await asyncio.gather(
            *(attendee.say_goodbye(reason, detail[:200]) for attendee in self._attendees.values())
        )

    async def _stop_tasks(self) -> None:
        tasks = [*self._tasks, *self._peers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _notice(self, event: str, detail: str = "") -> None:
        self.journal.event(event, detail)
        if self._on_notice is not None:
            self._on_notice(f"{event}: {detail}" if detail else event)

    # -- the room: receivers come and go ----------------------------------------------------------

    def _renew_code(self) -> None:
        """Make the code for the next receiver, if one more is expected."""
        self._tries = PairingTries()
        self._code = None
        if self._paired < self.settings.max_receivers:
            self._code = PairingCode.generate(self._room.nameplate)
            if self._on_code is not None:
                self._on_code(self._code)

    async def _attend_room(self) -> None:
        try:
            async for event in self._signaling.events():
                match event:
                    case PeerJoined(peer=peer):
                        self._peers[peer] = asyncio.create_task(self._guarded(self._serve(peer)))
                    case Relayed(sender_peer=peer, payload={"type": "answer", "sdp": str(sdp)}):
                        answer = self._answers.get(peer)
                        if answer is not None and not answer.done():
                            answer.set_result(sdp)
                    case PeerLeft(peer=peer):
                        answer = self._answers.get(peer)
                        if answer is not None and not answer.done():
                            answer.set_exception(PeerGone("it left before it was connected"))
                    case ConnectionLost() if self._attendees:
                        self._notice("signaling server lost", "the stream goes on without it")
                    case ConnectionLost():
                        self._notice("signaling server lost", "trying to reach it again")
                    case Reconnected():
                        self._notice("signaling server reached again")
            raise RoomUnavailable(
                "the signaling server closed the room, since nobody came",
                hint="start the sender again for a new code",
            )
        except (SignalingUnreachable, RoomUnavailable) as error:
            if not self._attendees:
                raise
            self._code = None  # nobody can join any more
            self._notice("signaling ended", f"{error}; the stream goes on without it")

    async def _serve(self, peer: str) -> None:
        """Connect to, pair with and serve one receiver, until it leaves."""
        ice_servers = self.settings.ice_servers
        if ice_servers is None:
            ice_servers = tuple(self._room.ice_servers)
        link = self._link_factory(ice_servers, self.settings.host_addresses)
        try:
            attendee = await self._admit(peer, link)
            if attendee is not None:
                await self._accompany(attendee)
        finally:
            self._peers.pop(peer, None)
            await link.close()

    async def _admit(self, peer: str, link: PeerLink) -> Attendee | None:
        """Connect and pair; None where this try failed and the session waits for another."""
        try:
            await self._connect(peer, link)
            return await self._pair(peer, link)
        except (PairingFailed, LinkFailed, PeerGone, SignalingUnreachable) as error:
            self._notice("a receiver could not join", str(error))
            if self._tries.over and not self._tries.used:
                self._close_room(error)
            return None

    def _close_room(self, error: Exception) -> None:
        """Too many wrong codes: nobody joins any more; whoever watches is not disturbed."""
        if not self._attendees:
            raise PairingFailed(
                "three wrong codes were tried: the room is closed",
                hint="somebody may be guessing; start again to get a new code",
            ) from error
        self._code = None
        self._notice("three wrong codes were tried", "no more receivers can join")

    async def _connect(self, peer: str, link: PeerLink) -> None:
        answer = self._answers[peer] = asyncio.get_running_loop().create_future()
        try:
            await self._signaling.send(peer, {"type": "offer", "sdp": await link.create_offer()})
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                sdp = await answer
        except TimeoutError:
            raise LinkFailed("it did not answer in time") from None
        finally:
            del self._answers[peer]
        await link.accept_answer(sdp)
        await link.connected()

    async def _pair(self, peer: str, link: PeerLink) -> Attendee:
        local, remote = link.fingerprints
        tries, code = self._tries, self._code
        try:
            tries.begin()
            if code is None:
                raise CodeUsed(
                    "the code was used already: each code pairs once",
                    hint="ask the sender for a new code",
                )
        except CodeUsed as error:
            link.send_control(abort_message(error))
            raise
        handshake = SenderHandshake(
            code.secret,
            self.session_id,
            DtlsFingerprints(sender=local, receiver=remote),
            self._network_id,
        )
        try:
            association = await associate(link, handshake, on_agreed=tries.succeeded)
        except BaseException:
            if tries.used:  # it left as the code was spent on it
                self._renew_code()
            elif handshake.code_was_wrong:
                tries.wrong()
            else:
                tries.abandoned()
            raise
        self._paired += 1
        self._renew_code()
        return Attendee(
            peer, association, on_ready=self._some_ready.set, on_sent=self.journal.frame_sent
        )

    async def _accompany(self, attendee: Attendee) -> None:
        self._attendees[attendee.peer] = attendee
        serving = asyncio.create_task(attendee.attend())
        try:
            await self._rotate("join")
            self._first_joined.set()
            self._notice("a receiver joined")
            attendee.report_drops(self._drops())
            await serving
            if attendee.left is not None:
                self._notice("a receiver left")
        except VeilscopeError as error:  # gone, or not to be understood any more
            self._notice("a receiver is lost", str(error))
            if len(self._attendees) == 1 and self._code is None:
                raise
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            del self._attendees[attendee.peer]
        if self._attendees and not self._concluding:
            await self._rotate("leave")
        elif self._code is None:
            await self._conclude()

    # -- epochs -----------------------------------------------------------------------------------

    async def _rotate(self, reason: EpochReason) -> None:
        """Begin a new epoch; every receiver has its secret before a frame is sealed under it."""
        async with self._rotation:
            now_ns = time.monotonic_ns()
            if self._pipeline.epoch is None:
                secret = self._schedule.start(now_ns)
            else:
                secret = self._schedule.rotate(now_ns, reason)
            handing_over = [
                asyncio.create_task(attendee.hand_over(secret, SENDER_ID))
                for attendee in self._attendees.values()
            ]
            if handing_over:
                _, late = await asyncio.wait(handing_over, timeout=EPOCH_ACK_TIMEOUT_S)
                for task in late:  # it can open frames as soon as it has the secret
                    task.cancel()
            await asyncio.get_running_loop().run_in_executor(
                self._worker, self._pipeline.enter_epoch, self._schedule, secret.epoch
            )
            self.journal.epoch_entered(secret.epoch, secret.reason)

    async def _keep_epochs(self) -> None:
        await self._first_joined.wait()
        while True:
            await asyncio.sleep(SCHEDULE_CHECK_S)
            if self._schedule.due(time.monotonic_ns()):
                await self._rotate("time")

    # -- frames -----------------------------------------------------------------------------------

    async def _stream(self) -> None:
        """Take up the newest frame whenever a path can carry one, until the frames end."""
        loop = asyncio.get_running_loop()
        await self._first_joined.wait()
        intake = asyncio.create_task(self._take_in())
        try:
            while True:
                await self._until_some_ready()
                frame = await self._slot.get()
                self._processing = True
                try:
                    sealed = await loop.run_in_executor(self._worker, self._pipeline.process, frame)
                finally:
                    self._processing = False
                self._send(sealed)
        except SlotClosed:
            await self._conclude()
        finally:
            intake.cancel()
            await asyncio.gather(intake, return_exceptions=True)
            close = getattr(self._frames, "aclose", None)  # an async generator holds its source
            if close is not None:
                await close()

    def _send(self, frame: SealedFrame) -> None:
        sent = [attendee.offer(frame) for attendee in self._attendees.values()]
        if not any(sent):  # the one that was ready has left meanwhile
            self.journal.dropped(DropReason.NO_RECEIVER, frame.index)

    async def _take_in(self) -> None:
        try:
            async for frame in self._frames:
                if not self._attendees:
                    self.journal.dropped(DropReason.NO_RECEIVER, frame.index)
                elif (replaced := self._slot.put(frame)) is not None:
                    busy = self._processing
                    reason = DropReason.SENDER_BUSY if busy else DropReason.LINK_BUSY
                    self.journal.dropped(reason, replaced.index)
        except Exception as error:  # the frames before it still go out; then `_stream` raises it
            self._slot.close(error)
        else:
            self._slot.close()
        self._some_ready.set()

    async def _until_some_ready(self) -> None:
        while not any(attendee.ready for attendee in self._attendees.values()):
            if self._slot.closed and not self._attendees:
                return  # nothing more will come, and there is nobody to wait for
            self._some_ready.clear()
            await self._some_ready.wait()

    async def _tell_drops(self) -> None:
        while True:
            await asyncio.sleep(DROPS_REPORT_S)
            self._report_drops()

    def _drops(self) -> dict[str, int]:
        return {reason.value: count for reason, count in self.journal.drops.items()}

    def _report_drops(self) -> None:
        """Tell the receivers what was dropped here, where that has grown."""
        totals = self._drops()
        if totals != self._told_drops:
            self._told_drops = totals
            for attendee in self._attendees.values():
                attendee.report_drops(totals)
