"""One end of a link, over any two message channels: what it takes to open, use and close it.

`PeerLink` puts it on WebRTC data channels, `MemoryLink` on none at all; both run this very code.
A shell that joins the parts: `writer` and `reader` of frames, `controlchannel`, `heartbeat`, and
the `lifetime` that all of them wait with.  The transport below hands in messages
(`_on_frames_message`, `_on_control_message`) and events (`_on_open`, `_on_transport_closed`), and
provides `_post_frames`, `_post_control` and `_release`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from shared.clock import ClockEstimate, ClockEstimator
from shared.errors import LinkFailed, MalformedFrame
from shared.link.controlchannel import ControlChannel
from shared.link.feedback import REPORT, parse_report
from shared.link.heartbeat import PEER_SILENCE_S, Heartbeat
from shared.link.lifetime import Lifetime
from shared.link.link import Fingerprints, LinkEnd, PathEstimate, ReceivedFrame
from shared.link.packets import DATA
from shared.link.reader import FrameReader
from shared.link.release import Release
from shared.link.writer import FrameWriter

__all__ = ["CONNECT_TIMEOUT_S", "Endpoint"]

CONNECT_TIMEOUT_S = 20.0  # ICE through a TURN server takes some 5 s; a person waits no longer
CALIBRATE_TIMEOUT_S = 10.0  # the burst takes 0.25 s and a round trip; the rest is for lost packets
CALIBRATION_SAMPLES = 8  # of the 12 pings of the burst at connect

FLUSH_TIMEOUT_S = 1.0  # at close, for frames in flight to land
GOODBYE_TIMEOUT_S = 1.0  # at close, for the other end to hear of it


class Endpoint(ABC):
    """Everything a link does that does not depend on its transport (see `shared.link.Link`)."""

    def __init__(
        self,
        *,
        silence_s: float = PEER_SILENCE_S,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._now_ns = now_ns
        self._lifetime = lifetime = Lifetime()
        self._sending_changed = lifetime.event()
        post = self._post_while_open
        self._heartbeat = Heartbeat(
            send=post, quiet=lambda: self._writer.idle, now_ns=now_ns, silence_s=silence_s
        )
        self._writer = FrameWriter(
            post=post,
            ahead=self._heartbeat.ping_if_due,
            now_ns=now_ns,
            lifetime=lifetime,
            changed=self._sending_changed,
        )
        self._reader = FrameReader(
            post=post, arriving=self._arriving, now_ns=now_ns, lifetime=lifetime
        )
        self._controls = ControlChannel(post=self._post_control, lifetime=lifetime)
        self._malformed = 0
        self._heartbeat_task: asyncio.Task[None] | None = None
        self._releasing = Release(self._release_all)
        self._transport_closed = False
        self._parted = asyncio.Event()  # both said goodbye, or the transport is closed

    # -- the transport below ----------------------------------------------------------------------

    @property
    @abstractmethod
    def fingerprints(self) -> Fingerprints:
        """Of the two DTLS certificates in use; raises `LinkFailed` while not connected."""

    @abstractmethod
    def _post_frames(self, *messages: bytes) -> None:
        """Send messages on the frames channel now; they may be lost or overtaken."""

    @abstractmethod
    def _post_control(self, message: bytes) -> None:
        """Send one message on the control channel, in order, reliably."""

    @abstractmethod
    async def _release(self) -> None:
        """Free everything; called once."""

    # -- what the transport reports ---------------------------------------------------------------

    def _on_open(self) -> None:
        if self._lifetime.opened or self._lifetime.end is not None:
            return
        self._heartbeat_task = asyncio.get_running_loop().create_task(self._watch_heartbeat())
        self._releasing.prepare()
        self._lifetime.open()

    def _on_transport_closed(self, end: LinkEnd) -> None:
        self._transport_closed = True
        self._parted.set()
        self._finish(end)

    def _on_frames_message(self, message: bytes) -> None:
        if self._transport_closed or not self._lifetime.listens:
            return
        now_ns = self.now_ns()
        self._heartbeat.heard(now_ns)
        try:
            kind = message[0] if message else 0
            if kind == DATA:
                self._reader.on_packet(message, now_ns)
            elif kind == REPORT:
                self._writer.on_report(parse_report(message), now_ns)
            else:
                rtt_ns = self._heartbeat.take(message, now_ns)
                if rtt_ns is not None:
                    self._writer.on_ping(rtt_ns)
                    self._lifetime.wake()
        except MalformedFrame:
            self._malformed += 1

    def _on_control_message(self, message: bytes) -> None:
        if not self._lifetime.listens:
            return
        self._heartbeat.heard(self.now_ns())
        try:
            end = self._controls.take(message)
        except MalformedFrame:
            self._malformed += 1
            return
        if end is not None:
            self._malformed += not end.clean
            if self._lifetime.end is not None:
                self._parted.set()
            self._finish(end)

    def _arriving(self, frame: ReceivedFrame) -> Iterable[ReceivedFrame]:
        """What a frame that arrived whole stands for; `MemoryLink` scripts its losses here."""
        return (frame,)

    def _post_while_open(self, *messages: bytes) -> None:
        if not self._transport_closed:
            self._post_frames(*messages)

    # -- the link's life --------------------------------------------------------------------------

    async def _watch_heartbeat(self) -> None:
        await self._heartbeat.run()
        silence_s = self._heartbeat.silence_s
        self._finish(LinkEnd("lost", f"nothing was heard from it for {silence_s:g} s"))

    def _finish(self, end: LinkEnd) -> None:
        """The link is over, for the first reason given; frees everything in the background."""
        if not self._lifetime.finish(end):
            return
        if self._heartbeat_task is not None and end.cause != "lost":
            self._heartbeat_task.cancel()
        if end.cause != "local":
            self._releasing.begin()

    async def _release_all(self) -> None:
        self._transport_closed = True
        self._parted.set()
        self._writer.close()
        self._reader.close()
        if self._heartbeat_task is not None:
            self._heartbeat_task.cancel()
            await asyncio.wait([self._heartbeat_task])
        await self._release()

    # -- for the sessions above -------------------------------------------------------------------

    def now_ns(self) -> int:
        """This end's clock: that of `clock` and of every time this link gives."""
        return self._now_ns()

    @property
    def clock(self) -> ClockEstimator:
        """Fed by pings: a burst at connect, then one a second."""
        return self._heartbeat.clock

    @property
    def frames_dropped(self) -> Mapping[str, int]:
        """Frames that reached this end and were given to nobody, by reason."""
        return self._reader.dropped

    @property
    def malformed_messages(self) -> int:
        """Messages of the other end that made no sense, or were not asked for; all ignored."""
        return self._malformed

    @property
    def path(self) -> PathEstimate | None:
        """What the path to the other end carries now; None until measured."""
        return self._writer.path

    async def connected(self, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        """Return when both channels are open; raises `LinkFailed`, `PeerGone` once closed."""
        await self._lifetime.connected(timeout_s)

    async def calibrated(self, timeout_s: float = CALIBRATE_TIMEOUT_S) -> ClockEstimate:
        """Return the first estimate that rests on `CALIBRATION_SAMPLES` pings, or a later one."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._lifetime.until(lambda: self.clock.samples >= CALIBRATION_SAMPLES)
        except TimeoutError:
            raise LinkFailed(
                "the other end did not answer enough pings to compare the two clocks",
                hint="the network loses too much; try again on a better one",
            ) from None
        estimate, end = self.clock.estimate, self._lifetime.end
        if estimate is None or end is not None:
            raise (end or LinkEnd("lost")).error()
        return estimate

    def send_control(self, message: bytes) -> None:
        """Hand over 1 to `MAX_CONTROL_BYTES` bytes; raises `BadInput`, `LinkFailed`, `PeerGone`."""
        self._controls.send(message)

    async def receive_control(self) -> bytes:
        """The next control message; raises `PeerGone` when the link is over and all were read."""
        return await self._controls.receive()

    def can_send_frame(self) -> bool:
        """Whether a frame handed over now would leave now instead of queueing."""
        return self._writer.can_send()

    async def writable(self) -> None:
        """Return when `can_send_frame()`; raises `PeerGone`."""
        await self._lifetime.until(self.can_send_frame, self._sending_changed)
        self._lifetime.raise_if_over()

    async def send_frame(self, data: bytes | bytearray | memoryview) -> int:
        """Hand over a frame and return its number; see `Link.send_frame`.

        Raises `BadInput` for a size out of range, `LinkFailed`, `PeerGone`, and `RuntimeError` when
        `can_send_frame()` is false.  Cancelled, it sends no more of the frame.
        """
        return await self._writer.send(data)

    def accept_frames(self) -> None:
        """Begin to take frames; until then what arrives of them is ignored, and nothing held."""
        self._reader.accept()

    async def receive_frame(self) -> ReceivedFrame:
        """The next whole frame; raises `PeerGone` when the link is over and all were read."""
        return await self._reader.receive()

    def frames(self) -> AsyncIterator[ReceivedFrame]:
        """Whole frames until the link ends; a clean end ends the iteration, a lost peer raises."""
        return self._reader.frames()

    async def closed(self) -> LinkEnd:
        """Return when the link is over, however it came to that."""
        return await self._lifetime.over()

    async def close(self) -> None:
        """Let frames in flight land, tell the other end, and release everything.  Idempotent.

        Takes no longer than `FLUSH_TIMEOUT_S + GOODBYE_TIMEOUT_S` and what the sockets need.
        """
        try:
            if self._lifetime.up:
                await _at_most(FLUSH_TIMEOUT_S, self._writer.landed())
            say_goodbye = self._lifetime.up
            self._finish(LinkEnd("local"))
            if say_goodbye:
                self._controls.send_goodbye()
                # The other end closes the transport as soon as it has read our goodbye.
                await _at_most(GOODBYE_TIMEOUT_S, self._parted.wait())
        finally:
            self._finish(LinkEnd("local"))
            await asyncio.shield(self._releasing.begin())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


async def _at_most(seconds: float, waiting: Coroutine[Any, Any, object]) -> None:
    """Wait for so long and no longer."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await waiting
