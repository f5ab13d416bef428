"""A sender session: frames from any async iterator, sealed and sent to the receivers that pair.

The shell that joins the pieces and keeps them running until the session ends:

- `room`: peers come through the signaling server, are let in (`admission`), and go;
- `audience`: the receivers that watch now, each an `attendee` with a sealed channel of its own;
- `epochs`: the keys that the stream is sealed under, given to all before they are used;
- `stream`: source -> `steering` (codec, rate, key frames) -> `pipeline` (mask, encode, seal) ->
  audience, and `stillrequests` beside it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Any, Self

from sender.admission import Admission
from sender.audience import Audience
from sender.epochs import Epochs
from sender.journal import SenderJournal
from sender.notices import Notices
from sender.pipeline import SealingPipeline
from sender.room import WaitingRoom
from sender.settings import SenderSettings
from sender.steering import Steering
from sender.stillrequests import StillRequests
from sender.stream import Stream
from shared import control
from shared.codecs import CODECS
from shared.crypto.handshake import NetworkId, new_session_id
from shared.crypto.pairing import PairingCode
from shared.errors import NotSupported, VeilscopeError
from shared.frame import Frame, Gap
from shared.keystream.backend import Backend, open_backend
from shared.keystream.network import KeystreamNetwork, load_network
from shared.link import LinkFactory
from shared.link.webrtc import usable_ice_servers, webrtc_link
from shared.telemetry.records import KeystreamIdentity
from shared.wire import SENDER_ID
from signaling.client import SignalingClient
from signaling.tls import client_context

__all__ = ["SenderSession"]

TELL_EVERY_S = 1.0  # how often the receivers are told what was sent and dropped at this end


class SenderSession:
    """Streams `frames` to the receivers that pair with its code.

    Plain frames will do; a `Gap` in the place of one is counted, a `Notice` told at both ends.

    Use as an async context manager: on entry the room is open and `code` is ready to be read out;
    `await finished()` returns when the frames end, or when the last receiver has left and no
    other is waited for (`SenderSettings.until_left`); leaving the block says goodbye to the
    receivers and closes everything.

    Raises `SignalingUnreachable`, `RoomUnavailable`, `DeviceUnavailable`, `SelfTestFailed` or
    `BadInput` on entry; from `finished` whatever ended the session: `PeerGone` or any error
    that `frames` raised; `OutputFailed` on leaving, if the
    log could not be written in full.
    """

    def __init__(
        self,
        frames: AsyncIterator[Frame | Gap | control.Notice],
        settings: SenderSettings | None = None,
        *,
        journal: SenderJournal | None = None,
        on_code: Callable[[PairingCode], None] | None = None,
        on_notice: Callable[[str], None] | None = None,
        link_factory: LinkFactory = webrtc_link,
    ) -> None:
        self.settings = settings or SenderSettings()
        self.session_id = new_session_id()
        self.journal = journal or SenderJournal()
        self._frames = frames
        self._on_code = on_code
        self._link_factory = link_factory
        self._notices = Notices(self.journal, on_notice)
        self._audience = Audience(self.journal)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="veilscope-send")
        self._exit = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._concluding = False

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
        return len(self._audience)

    @property
    def lasting(self) -> tuple[control.Notice, ...]:
        """What both ends were told that still holds."""
        return self._audience.lasting

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
                await self._audience.dismiss("quit")
        finally:
            await self._exit.aclose()

    async def finished(self) -> None:
        """Wait until the session has ended by itself; raises the error that ended it."""
        await asyncio.shield(self._outcome)

    # -- opening: each piece is given those that it builds on -------------------------------------

    async def _open(self) -> None:
        settings = self.settings
        self._exit.push_async_callback(asyncio.to_thread, self.journal.close)
        self._exit.push_async_callback(asyncio.to_thread, self._worker.shutdown)
        codec = settings.chosen_codec
        network, backend = await asyncio.to_thread(_open_keystream, settings)
        self._keystream = KeystreamIdentity(
            family=network.family, digest=network.digest.hex(), backend=backend.name
        )
        self._open_stream(backend)
        signaling = await self._exit.enter_async_context(
            SignalingClient(
                settings.signaling,
                ssl_context=client_context(settings.ca),
                proxy=settings.proxy,
            )
        )
        await self._open_room(signaling, NetworkId(network.family, network.digest), codec)
        self._exit.push_async_callback(self._stop_tasks)
        self._begin(self._stream.run).add_done_callback(self._streamed)
        for work in (self._room.attend, self._epochs.keep, self._stills.run, self._keep_told):
            self._begin(work)

    def _open_stream(self, backend: Backend) -> None:
        settings = self.settings
        self._steering = Steering(settings.codec, settings.wishes, fps=settings.fps)
        self._pipeline = SealingPipeline(backend, sender=SENDER_ID, strip=settings.strip)
        self._exit.push_async_callback(asyncio.to_thread, self._pipeline.close)
        self._stills = StillRequests(
            self._audience.stills, self._pipeline, self._worker, self.journal
        )
        self._epochs = Epochs(
            self._pipeline,
            self._worker,
            rekey_after_s=settings.rekey_after_s,
            audience=self._audience,
            journal=self.journal,
        )
        self._stream = Stream(
            self._frames,
            self._pipeline,
            self._worker,
            steering=self._steering,
            audience=self._audience,
            journal=self.journal,
            notices=self._notices,
            begun=self._epochs.begun,
        )

    async def _open_room(
        self, signaling: SignalingClient, network: NetworkId, codec: str | None
    ) -> None:
        settings = self.settings
        room = await signaling.create_room()
        self._admission = Admission(
            signaling,
            room.nameplate,
            self.session_id,
            network,
            places=settings.max_receivers,
            on_code=self._tell_code,
            check=self._check_features,
        )
        self.journal.session_started(self.session_id, codec, self._keystream)
        # Those of the server's operator are not trusted to be well written.
        ice_servers, refused = usable_ice_servers(room.ice_servers)
        if settings.ice_servers is not None:
            ice_servers = settings.ice_servers
        elif refused:
            self._notices.event("ICE servers ignored", f"{len(refused)} can't be used")
        self._room = WaitingRoom(
            signaling,
            self._admission,
            self._audience,
            self._epochs,
            self._notices,
            make_link=partial(
                self._link_factory,
                ice_servers=ice_servers,
                host_addresses=settings.host_addresses,
                tls=client_context(settings.ca),
                lost_after_s=settings.grace_s,
            ),
            until_left=settings.until_left,
            conclude=self._conclude,
        )
        self._exit.push_async_callback(self._room.close)
        self._admission.open()

    # -- running, and ending ----------------------------------------------------------------------

    def _begin(self, work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        """Run one of the session's tasks; what it raises ends the session."""
        task = asyncio.create_task(work())
        task.add_done_callback(self._failed)
        self._tasks.append(task)
        return task

    def _failed(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):  # handed on whole to whoever awaits `finished`
            self._tasks.append(asyncio.create_task(self._conclude(error)))

    def _streamed(self, task: asyncio.Task[None]) -> None:
        """The frames have ended."""
        if not task.cancelled() and task.exception() is None:
            self._tasks.append(asyncio.create_task(self._conclude()))

    async def _conclude(self, error: Exception | None = None) -> None:
        """End the session, once: whatever follows is a consequence of the first reason."""
        if self._concluding:
            return
        self._concluding = True
        try:
            if error is None:
                await self._audience.dismiss("ended")
            else:
                known = isinstance(error, VeilscopeError)
                await self._audience.dismiss("error", str(error) if known else "")
        finally:
            if error is None:
                self._outcome.set_result(None)
            else:
                self._outcome.set_exception(error)
                self._outcome.exception()  # marked as seen: nobody need ask for it

    async def _stop_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep_told(self) -> None:
        while True:
            await asyncio.sleep(TELL_EVERY_S)
            plan = self._steering.plan
            self._audience.tell_figures(None if plan is None else plan.bitrate_bps)

    # -- what the pieces tell ---------------------------------------------------------------------

    def _tell_code(self, code: PairingCode) -> None:
        if self._on_code is not None:
            self._on_code(code)

    def _check_features(self, features: frozenset[str]) -> None:
        """Refuse a receiver that could not be shown the stream beside those that watch."""
        watching = self._audience.features
        if not self._steering.suits(features, watching, alone=not self._audience):
            if not any(codec in features for codec in CODECS):
                raise NotSupported(
                    f"it can decode none of the codecs that are sent here: {', '.join(CODECS)}",
                    hint="install the newest version at both ends",
                )
            raise NotSupported(
                f"it can't decode this stream ({self.settings.codec})",
                hint="use --codec auto, or a codec that every receiver has",
            )


def _open_keystream(settings: SenderSettings) -> tuple[KeystreamNetwork, Backend]:
    network = load_network(settings.keystream)
    return network, open_backend(network, settings.device)
