"""One end of a link, over any two message channels: frames and their repair, pings, goodbye.

`PeerLink` puts it on WebRTC data channels, `MemoryLink` on none at all; both run this very code.
A shell: what leaves and when is decided in `sending` and `receiving`; here are the clock, the
timers and those who wait.  The transport below hands in messages (`_on_frames_message`,
`_on_control_message`) and events (`_on_open`, `_on_transport_closed`), and provides `_post_frames`,
`_post_control` and `_release`.  It queues no frame that can't leave now, and gives a consumer that
is too slow the newest frames.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Self

from shared.clock import ClockEstimate, ClockEstimator
from shared.errors import BadInput, LinkFailed, MalformedFrame, PeerGone
from shared.link.feedback import REPORT, parse_report
from shared.link.heartbeat import PEER_SILENCE_S, Heartbeat
from shared.link.link import (
    MAX_CONTROL_BYTES,
    MAX_FRAME_BYTES,
    Fingerprints,
    LinkEnd,
    PathEstimate,
    ReceivedFrame,
)
from shared.link.messages import (
    APP,
    Ping,
    Pong,
    pack_app,
    pack_bye,
    parse_control,
    parse_small,
)
from shared.link.packets import DATA
from shared.link.receiving import FrameReceiver
from shared.link.sending import FrameSender
from shared.link.timer import LoopTimer

__all__ = ["CONNECT_TIMEOUT_S", "Endpoint"]

CONNECT_TIMEOUT_S = 20.0  # ICE through a TURN server takes some 5 s; a person waits no longer
CALIBRATE_TIMEOUT_S = 10.0  # the burst takes 0.25 s and a round trip; the rest is for lost packets

CALIBRATION_SAMPLES = 8  # of the 12 pings of the burst at connect

FLUSH_TIMEOUT_S = 1.0  # at close, for frames in flight to land
GOODBYE_TIMEOUT_S = 1.0  # at close, for the other end to hear of it

# Whole frames that wait for their consumer.  All that may be in flight can arrive at once after a
# stall of either end, which is not the consumer's fault; one that waits longer than this is.
MAX_WAITING_FRAMES = 8
MAX_WAITING_NS = 100_000_000  # 100 ms: three frames at 30 fps, and less than a person notices

# Who was told that a frame may leave, may send it so much later: what the answer rests on changes
# by the microsecond, and a caller can't be faster than that.
GRANT_NS = 20_000_000

RECEIVED_CONTROLS = 256  # control messages that wait; the handshake needs 3


class Endpoint(ABC):
    """Everything a link does that does not depend on its transport (see `shared.link.Link`)."""

    def __init__(
        self,
        *,
        silence_s: float = PEER_SILENCE_S,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._now_ns = now_ns
        self._sender = FrameSender()
        self._receiver = FrameReceiver()
        self._heartbeat = Heartbeat(
            send=self._post_heartbeat,
            quiet=lambda: self._sender.idle,
            now_ns=now_ns,
            silence_s=silence_s,
        )
        self._accepting_frames = False
        self._dropped: Counter[str] = Counter()
        self._malformed = 0
        self._controls: deque[bytes] = deque()
        self._frames: deque[ReceivedFrame] = deque()
        self._next_frame_id = 0
        self._granted_until_ns = 0
        self._free = True  # as was seen last
        self._leaving: set[int] = set()  # frames of which packets are still to leave
        self._send_timer = LoopTimer(self._pump, now_ns)
        self._report_timer = LoopTimer(self._answer, now_ns, listen_first=True)
        self._heartbeat_task: asyncio.Task[None] | None = None
        self._release_task: asyncio.Task[None] | None = None
        self._release_now = asyncio.Event()
        self._opened = False
        self._end: LinkEnd | None = None
        self._transport_closed = False
        self._both_said_goodbye = False
        # Set at any change that somebody may wait for; what changes often, frames leaving, apart.
        self._changed = asyncio.Event()
        self._sending_changed = asyncio.Event()

    # -- the transport below ----------------------------------------------------------------------

    @property
    @abstractmethod
    def fingerprints(self) -> Fingerprints:
        """Of the two DTLS certificates in use; raises `LinkFailed` while not connected."""

    @abstractmethod
    def _post_frames(self, message: bytes) -> None:
        """Send one message on the frames channel now; it may be lost or overtaken."""

    @abstractmethod
    def _post_control(self, message: bytes) -> None:
        """Send one message on the control channel, in order, reliably."""

    @abstractmethod
    async def _release(self) -> None:
        """Free everything; called once."""

    # -- what the transport reports ---------------------------------------------------------------

    def _on_open(self) -> None:
        if self._opened or self._end is not None:
            return
        self._opened = True
        loop = asyncio.get_running_loop()
        self._heartbeat_task = loop.create_task(self._watch_heartbeat())
        # Made now rather than at the end: an event loop that is being shut down ends its tasks, and
        # with them the transport, and takes no new ones.
        self._release_task = loop.create_task(self._release_when_told())
        self._wake()

    def _on_transport_closed(self, end: LinkEnd) -> None:
        self._transport_closed = True
        self._finish(end)
        self._wake()

    def _on_frames_message(self, message: bytes) -> None:
        if self._end is not None and self._end.cause != "local":
            return
        now_ns = self.now_ns()
        self._heartbeat.heard(now_ns)
        try:
            kind = message[0] if message else 0
            if kind == DATA:
                self._take_packet(message, now_ns)
            elif kind == REPORT:
                self._sender.on_report(parse_report(message), now_ns)
                self._pump()
            else:
                self._take_small(parse_small(message), now_ns)
        except MalformedFrame:
            self._malformed += 1

    def _on_control_message(self, message: bytes) -> None:
        if self._end is not None and self._end.cause != "local":
            return
        self._heartbeat.heard(self.now_ns())
        try:
            kind, body = parse_control(message)
        except MalformedFrame:
            self._malformed += 1
            return
        if kind != APP:
            self._both_said_goodbye = self._end is not None
            self._finish(LinkEnd("peer"))
            self._wake()
        elif self._end is not None:
            return
        elif not 1 <= len(body) <= MAX_CONTROL_BYTES or len(self._controls) >= RECEIVED_CONTROLS:
            self._malformed += 1
            self._finish(LinkEnd("lost", "it broke the rules of the control channel"))
        else:
            self._controls.append(body)
            self._wake()

    # -- the frames channel -----------------------------------------------------------------------

    def _take_packet(self, message: bytes, now_ns: int) -> None:
        if not self._accepting_frames:  # a stranger's: not held, and not reported either
            self._malformed += 1
            return
        whole = self._receiver.on_packet(message, now_ns)
        if whole is not None:
            self._deliver(ReceivedFrame(whole.data, whole.first_packet_at_ns, now_ns))
        if self._receiver.unsettled:  # else the timer is set already
            self._answer()

    def _answer(self) -> None:
        """Report what has arrived, once that is due, and count what was given up."""
        report = self._receiver.poll(self.now_ns())
        for frame in self._receiver.take_given_up():
            self._dropped["incomplete" if frame.begun else "lost"] += 1
            self._wake()
        if report is not None and not self._transport_closed:
            self._post_frames(report)
        self._report_timer.set(self._receiver.next_at_ns())

    def _pump(self) -> None:
        """Send what may leave now, and come back when more may."""
        if self._transport_closed:
            return
        now_ns = self.now_ns()
        for message in self._sender.poll(now_ns):
            self._post_frames(message)
        left = self._sender.take_left()
        self._leaving.difference_update(left)
        self._send_timer.set(self._sender.next_at_ns(now_ns))
        free = self._sender.can_send(now_ns)
        if left or free != self._free or not self._sender.in_flight:
            self._sending_changed.set()  # it wakes tasks, so not for every packet
        self._free = free

    def _deliver(self, frame: ReceivedFrame) -> None:
        """A whole frame for whoever reads; `MemoryLink` scripts its losses here."""
        if self._end is not None:
            return
        oldest_ns = frame.received_at_ns - MAX_WAITING_NS
        while self._frames and (
            len(self._frames) >= MAX_WAITING_FRAMES or self._frames[0].received_at_ns < oldest_ns
        ):
            self._frames.popleft()
            self._dropped["consumer slow"] += 1
        self._frames.append(frame)
        self._wake()

    def _take_small(self, message: Ping | Pong, now_ns: int) -> None:
        if isinstance(message, Ping):
            self._heartbeat.on_ping(message, now_ns)
            return
        rtt_ns = self._heartbeat.on_pong(message, now_ns)
        if rtt_ns is None:
            self._malformed += 1
        else:
            self._sender.on_ping(rtt_ns)
        self._wake()

    def _post_heartbeat(self, message: bytes) -> None:
        if not self._transport_closed:
            self._post_frames(message)

    # -- the link's life --------------------------------------------------------------------------

    async def _watch_heartbeat(self) -> None:
        await self._heartbeat.run()
        silence_s = self._heartbeat.silence_s
        self._finish(LinkEnd("lost", f"nothing was heard from it for {silence_s:g} s"))

    def _wake(self) -> None:
        self._changed.set()

    async def _until(self, ready: Callable[[], bool], changed: asyncio.Event | None = None) -> None:
        """Wait until `ready()`, which `changed` announces, or the end of the link."""
        changed = changed or self._changed
        while not ready() and self._end is None:
            changed.clear()
            await changed.wait()

    def _finish(self, end: LinkEnd) -> None:
        """The link is over, for the first reason given; frees everything in the background."""
        if self._end is not None:
            return
        self._end = end
        if self._heartbeat_task is not None and end.cause != "lost":
            self._heartbeat_task.cancel()
        if end.cause != "local":
            self._begin_release()
        self._wake()
        self._sending_changed.set()

    def _begin_release(self) -> asyncio.Task[None]:
        self._release_now.set()
        if self._release_task is None:
            self._release_task = asyncio.get_running_loop().create_task(self._release_when_told())
        return self._release_task

    async def _release_when_told(self) -> None:
        await self._release_now.wait()
        self._send_timer.cancel()
        self._report_timer.cancel()
        if self._heartbeat_task is not None:
            self._heartbeat_task.cancel()
            await asyncio.wait([self._heartbeat_task])
        await self._release()
        self._transport_closed = True
        self._wake()

    def _raise_if_over(self) -> None:
        if self._end is not None:
            raise self._end.error()

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
        return dict(self._dropped)

    @property
    def malformed_messages(self) -> int:
        """Messages of the other end that made no sense, or were not asked for; all ignored."""
        return self._malformed

    @property
    def path(self) -> PathEstimate | None:
        """What the path to the other end carries now; None until measured."""
        return self._sender.path(self.now_ns())

    async def connected(self, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        """Return when both channels are open; raises `LinkFailed`, `PeerGone` once closed."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._until(lambda: self._opened)
        except TimeoutError:
            raise _unreachable(f"no connection within {timeout_s:g} s") from None
        if self._end is not None and self._end.cause != "local" and not self._opened:
            raise _unreachable(self._end.detail or "the other end closed the link")
        self._raise_if_over()

    async def calibrated(self, timeout_s: float = CALIBRATE_TIMEOUT_S) -> ClockEstimate:
        """Return the first estimate that rests on `CALIBRATION_SAMPLES` pings, or a later one."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._until(lambda: self.clock.samples >= CALIBRATION_SAMPLES)
        except TimeoutError:
            raise LinkFailed(
                "the other end did not answer enough pings to compare the two clocks",
                hint="the network loses too much; try again on a better one",
            ) from None
        estimate = self.clock.estimate
        if estimate is None or self._end is not None:
            raise (self._end or LinkEnd("lost")).error()
        return estimate

    def send_control(self, message: bytes) -> None:
        """Hand over 1 to `MAX_CONTROL_BYTES` bytes; raises `BadInput`, `LinkFailed`, `PeerGone`."""
        if not 1 <= len(message) <= MAX_CONTROL_BYTES:
            raise BadInput(
                f"a control message is 1 to {MAX_CONTROL_BYTES} bytes, not {len(message)}"
            )
        self._raise_if_not_open()
        self._post_control(pack_app(message))

    async def receive_control(self) -> bytes:
        """The next control message; raises `PeerGone` when the link is over and all were read."""
        await self._until(lambda: bool(self._controls))
        if not self._controls:
            self._raise_if_over()
        return self._controls.popleft()

    def can_send_frame(self) -> bool:
        """Whether a frame handed over now would leave now instead of queueing."""
        now_ns = self.now_ns()
        if not self._opened or self._end is not None:
            return False
        self._free = self._sender.can_send(now_ns)
        if not self._free:
            return False
        self._granted_until_ns = now_ns + GRANT_NS
        return True

    async def writable(self) -> None:
        """Return when `can_send_frame()`; raises `PeerGone`."""
        await self._until(self.can_send_frame, self._sending_changed)
        self._raise_if_over()

    async def send_frame(self, data: bytes | bytearray | memoryview) -> int:
        """Hand over a frame and return its number; see `Link.send_frame`.

        Raises `BadInput` for a size out of range, `PeerGone`, and `RuntimeError` when
        `can_send_frame()` is false.  Cancelled, it sends no more of the frame.
        """
        nbytes = memoryview(data).nbytes
        if not 1 <= nbytes <= MAX_FRAME_BYTES:
            raise BadInput(f"a frame is 1 to {MAX_FRAME_BYTES} bytes, not {nbytes}")
        self._raise_if_not_open()
        if not self.can_send_frame() and self.now_ns() > self._granted_until_ns:
            raise RuntimeError("the link takes no frame now: wait for writable() first")
        frame_id = self._next_frame_id
        self._next_frame_id += 1
        self._granted_until_ns = 0
        self._heartbeat.ping_if_due()
        self._leaving.add(frame_id)
        self._sender.hand_over(frame_id, bytes(data), self.now_ns())
        self._pump()
        try:
            await self._until(lambda: frame_id not in self._leaving, self._sending_changed)
        except BaseException:
            self._sender.cancel(frame_id)
            self._leaving.discard(frame_id)
            raise
        self._raise_if_over()
        return frame_id

    def accept_frames(self) -> None:
        """Begin to take frames; until then what arrives of them is ignored, and nothing held."""
        self._accepting_frames = True

    async def receive_frame(self) -> ReceivedFrame:
        """The next whole frame; raises `PeerGone` when the link is over and all were read."""
        await self._until(lambda: bool(self._frames))
        if not self._frames:
            self._raise_if_over()
        return self._frames.popleft()

    async def frames(self) -> AsyncIterator[ReceivedFrame]:
        """Whole frames until the link ends; a clean end ends the iteration, a lost peer raises."""
        while True:
            try:
                frame = await self.receive_frame()
            except PeerGone:
                if self._end is not None and self._end.clean:
                    return
                raise
            yield frame

    async def closed(self) -> LinkEnd:
        """Return when the link is over, however it came to that."""
        while self._end is None:
            self._changed.clear()
            await self._changed.wait()
        return self._end

    async def close(self) -> None:
        """Let frames in flight land, tell the other end, and release everything.  Idempotent.

        Takes no longer than `FLUSH_TIMEOUT_S + GOODBYE_TIMEOUT_S` and what the sockets need.
        """
        say_goodbye = self._opened and self._end is None
        try:
            if say_goodbye:
                await self._flush()
            say_goodbye = say_goodbye and self._end is None
            self._finish(LinkEnd("local"))
            if say_goodbye:
                self._post_control(pack_bye())
                await self._goodbye_heard()
        finally:
            self._finish(LinkEnd("local"))
            await asyncio.shield(self._begin_release())

    async def _flush(self) -> None:
        try:
            async with asyncio.timeout(FLUSH_TIMEOUT_S):
                await self._until(lambda: not self._sender.in_flight, self._sending_changed)
        except TimeoutError:
            pass

    async def _goodbye_heard(self) -> None:
        """The other end closes the transport as soon as it has read our goodbye."""
        try:
            async with asyncio.timeout(GOODBYE_TIMEOUT_S):
                while not (self._transport_closed or self._both_said_goodbye):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass

    def _raise_if_not_open(self) -> None:
        self._raise_if_over()
        if not self._opened:
            raise LinkFailed("the link is not connected yet")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


def _unreachable(detail: str) -> LinkFailed:
    return LinkFailed(
        f"the two ends could not be connected: {detail}",
        hint="a firewall may block UDP between them; a TURN server, which the signaling server "
        "hands out (its option --ice-config), gets around it",
    )
