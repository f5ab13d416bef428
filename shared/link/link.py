"""A link between the two ends: the one asyncio shell, and all that the programs know.

It joins a `Connection` (what a link is) to a `Transport` (what carries it), and is where those who
wait for something of either wait.  A link moves opaque bytes: it knows nothing of keys, codecs or
pictures, and what it delivers is not to be trusted until it has been opened.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Protocol, Self

from shared.clock import ClockEstimate
from shared.errors import LinkFailed, PeerGone
from shared.link.connection import Connection, LinkState, check_frame_size
from shared.link.events import (
    Event,
    Fingerprints,
    IceServer,
    LinkEnd,
    PathEstimate,
    ReceivedFrame,
)
from shared.link.heartbeat import Presence
from shared.link.transport import Timer, Transport

__all__ = ["CONNECT_TIMEOUT_S", "Link", "LinkFactory"]

_LOG = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 20.0  # ICE through a TURN server takes some 5 s; a person waits no longer
CALIBRATE_TIMEOUT_S = 10.0  # the burst takes 0.25 s and a round trip; the rest is for lost packets
CALIBRATION_SAMPLES = 8  # of the 12 pings of the burst at connect


EACH_FRAME = frozenset({Event.FRAME, Event.SENDING})


class Link:
    """A connected pair of channels: small reliable `control` messages, and large `frames`.

    Made inside a running event loop.  The offering end calls `create_offer` and `accept_answer`,
    the other `accept_offer`; then both `connected()`.  Use it as `async with`, or `close()` it.

    Methods that wait raise `PeerGone` once the link is over; what had arrived by then is still
    delivered first.  All of them belong to one event loop and may be cancelled at any time.
    """

    def __init__(self, transport: Transport, connection: Connection) -> None:
        self._transport = transport
        self._connection = connection
        self._clock = transport.clock
        self.clock = connection.clock  # fed by pings: a burst at connect, then one a second
        self._timer: Timer | None = None
        self._timer_at_ns = 0
        self._opened = False
        self._changed = asyncio.Event()
        # Apart, as they change with every frame: who waits for other things is not woken.
        self._frames_changed = asyncio.Event()
        self._sending_changed = asyncio.Event()
        self._closing = asyncio.Event()
        self._releasing: asyncio.Task[None] | None = None
        transport.attach(self)

    # -- offer and answer -------------------------------------------------------------------------

    async def create_offer(self) -> str:
        """Return the description (SDP) to hand to the other end; raises `LinkFailed`."""
        self._connection.raise_if_over()
        return await self._transport.create_offer()

    async def accept_offer(self, offer: str) -> str:
        """Take the other end's offer and return the answer to hand back; raises `LinkFailed`."""
        self._connection.raise_if_over()
        return await self._transport.accept_offer(offer)

    async def accept_answer(self, answer: str) -> None:
        """Take the other end's answer; raises `LinkFailed`."""
        self._connection.raise_if_over()
        await self._transport.accept_answer(answer)

    async def restart_offer(self) -> str:
        """Begin an ICE restart (RFC 8445 section 9): what to hand to the other end.

        What is under way stays, and so does the path until another answers.  Raises `LinkFailed`,
        and `PeerGone` once the link is over.
        """
        self._connection.raise_if_over()
        return await self._transport.restart_offer()

    async def accept_restart(self, offer: str) -> str:
        """Take the other end's offer; what to hand back.  Raises as `restart_offer`."""
        self._connection.raise_if_over()
        return await self._transport.accept_restart(offer)

    async def complete_restart(self, answer: str) -> None:
        """Take the other end's answer to the newest offer.  Raises as `restart_offer`."""
        self._connection.raise_if_over()
        await self._transport.complete_restart(answer)

    async def connected(self, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        """Return when both channels are open; raises `LinkFailed`, `PeerGone` once closed."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._until(lambda: self._opened, self._changed)
        except TimeoutError:
            late = _unreachable(f"no connection within {timeout_s:g} s")
            raise self._transport.explained(late) from None
        end = self._connection.end
        if end is not None and end.cause != "local" and not self._opened:
            closed = _unreachable(end.detail or "the other end closed the link")
            raise self._transport.explained(closed)
        self._connection.raise_if_over()

    async def calibrated(self, timeout_s: float = CALIBRATE_TIMEOUT_S) -> ClockEstimate:
        """Return the first estimate that rests on `CALIBRATION_SAMPLES` pings, or a later one.

        Raises `LinkFailed` where too few pings were answered in that time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._until(lambda: self.clock.samples >= CALIBRATION_SAMPLES, self._changed)
        except TimeoutError:
            raise LinkFailed(
                "the other end did not answer enough pings to compare the two clocks",
                hint="the network loses too much; try again on a better one",
            ) from None
        estimate, end = self.clock.estimate, self._connection.end
        if estimate is None or end is not None:
            raise (end or LinkEnd("lost")).error()
        return estimate

    # -- what is known of it ----------------------------------------------------------------------

    def now_ns(self) -> int:
        """This end's monotonic clock in ns: that of `clock`, and of every time the link gives."""
        return self._clock.now_ns()

    @property
    def path(self) -> PathEstimate | None:
        """What the path to the other end carries now; None until measured."""
        return self._connection.path(self._clock.now_ns())

    @property
    def interrupted(self) -> bool:
        """Whether nothing is heard of the other end at the moment; it may come back."""
        return self._connection.presence is Presence.SILENT

    @property
    def silent_s(self) -> float:
        """For how long there has been no path to the other end; 0 while there is one."""
        return self._transport.silent_s

    async def fallen_silent(self, for_s: float) -> None:
        """Return when there is no path since `for_s`; raises `PeerGone` once the link is over."""
        while (left_s := for_s - self.silent_s) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(max(left_s, 0.001)):
                    raise (await self.closed()).error()
        self._connection.raise_if_over()

    @property
    def fingerprints(self) -> Fingerprints:
        """(ours, theirs) of the DTLS certificates in use; raises `LinkFailed` if not connected."""
        return self._transport.fingerprints

    @property
    def frames_dropped(self) -> Mapping[str, int]:
        """Frames that reached this end and were given to nobody, by reason."""
        return self._connection.frames_dropped

    @property
    def malformed_messages(self) -> int:
        """Messages of the other end that made no sense, or were not asked for; all ignored."""
        return self._connection.malformed

    def agreed(self, features: Collection[str]) -> None:
        """Both ends have `features` (`shared.capabilities`): the link may use them from now on."""
        self._connection.agreed(features, self._clock.now_ns(), self._transport.overhead_bytes)
        self._turn()

    # -- control messages -------------------------------------------------------------------------

    def send_control(self, message: bytes) -> None:
        """Hand over 1 to `MAX_CONTROL_BYTES` bytes; raises `BadInput`, `LinkFailed`, `PeerGone`."""
        self._connection.send_control(message)
        self._turn()

    async def receive_control(self) -> bytes:
        """The next control message, in the order they were sent."""
        await self._until(lambda: self._connection.controls_waiting > 0, self._changed)
        if not self._connection.controls_waiting:
            self._connection.raise_if_over()
        return self._connection.take_control()

    # -- frames -----------------------------------------------------------------------------------

    def can_send_frame(self) -> bool:
        """Whether a frame handed over now would leave now instead of queueing."""
        return self._connection.can_send_frame(self._clock.now_ns())

    async def writable(self) -> None:
        """Return when `can_send_frame()`; raises `PeerGone`."""
        await self._until(self.can_send_frame, self._sending_changed)
        self._connection.raise_if_over()

    async def send_frame(self, data: bytes | bytearray | memoryview) -> int:
        """Hand over a frame of 1 to `MAX_FRAME_BYTES` bytes and return its number on this link.

        A link queues no frames: this waits until it is `writable`, and returns when the frame's
        last packet was handed to the transport.  Raises `BadInput` for a size out of range,
        `LinkFailed` and `PeerGone`.  Cancelled, it sends no more of the frame.
        """
        check_frame_size(data)
        self._connection.raise_if_not_up()
        await self.writable()
        frame_id = self._connection.send_frame(data, self._clock.now_ns())
        self._turn()
        try:
            await self._until(lambda: self._connection.has_left(frame_id), self._sending_changed)
        except BaseException:
            self._connection.cancel_frame(frame_id)
            raise
        self._connection.raise_if_over()
        return frame_id

    def accept_frames(self) -> None:
        """Begin to take frames; until then what arrives of them is ignored, and nothing held.

        For the end that shows frames, once it has paired and before it tells the other end so.
        """
        self._connection.accept_frames()

    async def receive_frame(self) -> ReceivedFrame:
        """The next whole frame, once `accept_frames` was called.  They may come out of order."""
        while (frame := self._connection.take_frame()) is None:
            self._connection.raise_if_over()
            self._frames_changed.clear()
            await self._frames_changed.wait()
        return frame

    async def frames(self) -> AsyncIterator[ReceivedFrame]:
        """Whole frames until the link ends; a clean end ends the iteration, a lost peer raises."""
        while True:
            try:
                frame = await self.receive_frame()
            except PeerGone:
                end = self._connection.end
                if end is not None and end.clean:
                    return
                raise
            yield frame

    # -- its end ----------------------------------------------------------------------------------

    async def closed(self) -> LinkEnd:
        """Return when the link is over, however it came to that."""
        while (end := self._connection.end) is None:
            self._changed.clear()
            await self._changed.wait()
        return end

    async def close(self) -> None:
        """Let frames in flight land, tell the other end, and release everything.  Idempotent.

        Takes four seconds at most (`shared.link.connection`), and what the sockets need.
        """
        try:
            self._connection.close(self._clock.now_ns())
            self._turn()
            await self._closing.wait()
        finally:
            self._connection.abandon()
            self._turn()
            await asyncio.shield(self._release())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # -- what the transport reports ---------------------------------------------------------------

    def on_open(self) -> None:
        """Both channels are open."""
        self._connection.opened(self._clock.now_ns())
        self._turn()

    def on_frames_message(self, message: bytes) -> None:
        """A message came on the frames channel."""
        if self._connection.receive_frames_message(message, self._clock.now_ns()):
            self._turn()

    def on_control_message(self, message: bytes) -> None:
        """A message came on the control channel."""
        self._connection.receive_control_message(message, self._clock.now_ns())
        self._turn()

    def on_path_changed(self) -> None:
        """Messages take another way from now on."""
        self._connection.path_changed(self._clock.now_ns(), self._transport.overhead_bytes)
        self._turn()

    def on_closed(self, end: LinkEnd) -> None:
        """The transport carries nothing any more."""
        self._connection.transport_closed(end)
        self._turn()

    # -- inside -----------------------------------------------------------------------------------

    def _turn(self) -> None:
        """Send what is to be sent, wake those who wait, and come back when it is time."""
        turn = self._connection.turn()
        if turn.events:  # first: they may say how the rest is to leave
            self._announce(turn.events)
        if turn.frames:
            self._transport.post_frames(turn.frames)
        for message in turn.control:
            self._transport.post_control(message)
        self._set_timer(turn.due_ns)

    def _announce(self, events: set[Event]) -> None:
        if Event.OPENED in events:
            self._opened = True
            self._prepare_release()
        if Event.SIZE in events and (size := self._connection.message_bytes) is not None:
            self._transport.carries(size)
            if (failure := self._connection.path_failure) is not None:
                _LOG.warning("%s", failure)
        over = Event.ENDED in events
        if over or Event.SENDING in events:
            self._sending_changed.set()
        if over or Event.FRAME in events:
            self._frames_changed.set()
        if not events <= EACH_FRAME:
            self._changed.set()
        if Event.PARTED in events:
            self._closing.set()
            if self._connection.end != LinkEnd("local"):
                self._release()

    def _set_timer(self, at_ns: int | None) -> None:
        """Set the alarm, unless it is set for an earlier time: waking early is harmless."""
        if at_ns is None:
            if self._connection.state is LinkState.CLOSED and self._timer is not None:
                self._timer.cancel()
                self._timer = None
            return
        if self._timer is not None:
            if self._timer_at_ns <= at_ns:
                return
            self._timer.cancel()
        self._timer_at_ns = at_ns
        self._timer = self._clock.call_at(at_ns, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._connection.wake(self._clock.now_ns())
        self._turn()

    def _prepare_release(self) -> asyncio.Task[None]:
        """The task that frees everything is made long before it has to run: an event loop that is
        being shut down ends its tasks, and with them the transport, and takes no new ones."""
        if self._releasing is None:
            self._releasing = asyncio.get_running_loop().create_task(self._free())
        return self._releasing

    def _release(self) -> asyncio.Task[None]:
        self._closing.set()
        return self._prepare_release()

    async def _free(self) -> None:
        await self._closing.wait()
        await self._transport.close()

    async def _until(self, ready: Callable[[], bool], changed: asyncio.Event) -> None:
        """Wait until `ready()`, which `changed` announces, or the end of the link."""
        while not ready() and self._connection.end is None:
            changed.clear()
            await changed.wait()


class LinkFactory(Protocol):
    """Makes a session's links: `shared.link.webrtc.webrtc_link`, or what a test puts in its
    place."""

    def __call__(
        self,
        *,
        ice_servers: Sequence[IceServer],
        host_addresses: Sequence[str] | None,
        tls: ssl.SSLContext | None,
        lost_after_s: float,
    ) -> Link: ...


def _unreachable(detail: str) -> LinkFailed:
    return LinkFailed(
        f"the two ends could not be connected: {detail}",
        hint="a firewall may block UDP between them; a TURN server, which the signaling server "
        "hands out (its option --ice-config), gets around it",
    )
