"""One end of a link as one machine: messages and times in; messages, events and a deadline out.

Pure, in the manner of h11 and str0m: no sockets, no event loop, no clock of its own.  It joins the
sending half (`sending`), the receiving half (`receiving`) and the `heartbeat`, and knows the states
that a link goes through:

    CONNECTING  the channels are not open yet; nothing may be sent, and frames are not taken
    OPEN        both channels are open, whether or not the other end is heard at the moment
    LANDING     this end closes: the program may send no more, frames in flight land
    PARTING     goodbye was said, and is said again until the other end hangs up
    CLOSED      nothing more is sent; the transport may go

A link ends (`end`) once: when goodbye is said or heard, the transport closes, or the other end was
silent for too long.  What had arrived by then may still be read.  Whoever drives it hands in what
arrives and calls `wake` when it is due; after either, `turn` says what is to be done.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from shared.capabilities import CROSS_PARITY, PACKET_SIZES
from shared.errors import BadInput, LinkFailed, MalformedFrame
from shared.link.events import (
    MAX_CONTROL_BYTES,
    MAX_FRAME_BYTES,
    Event,
    LinkEnd,
    PathEstimate,
    ReceivedFrame,
)
from shared.link.heartbeat import LOST_AFTER_S, PEER_SILENCE_S, Heartbeat, Presence
from shared.link.messages import (
    APP,
    DATA,
    FAREWELL,
    OVERHEAD_BYTES,
    REPORT,
    SIZED,
    pack_app,
    pack_bye,
    pack_farewell,
    parse_control,
    parse_report,
)
from shared.link.pathmtu import PROBE, PROBE_ACK, PathMtu, answer_probe, parse_probe_ack
from shared.link.receiving import FrameInbox, FrameReceiver
from shared.link.redundancy import WINDOW_PARITY
from shared.link.sending import AHEAD_NS, FrameSender

__all__ = ["MAX_WAITING_BYTES", "MAX_WAITING_MESSAGES", "Connection", "LinkState", "LinkTurn"]

# Control messages that nobody has read; the handshake needs 3 small ones.
MAX_WAITING_MESSAGES = 256
MAX_WAITING_BYTES = 1024 * 1024

PACKETS = frozenset({DATA, SIZED, WINDOW_PARITY})

LANDING_NS = 1_000_000_000  # at close, for frames in flight to land
PARTING_NS = 3_000_000_000  # at close, for the other end to hear of it
# The control channel repeats what is lost by itself, every 0.3 s at first: time for the last words,
# and for what is lost before them.  Who has not hung up by then is told beside it; 14 times at 20 %
# loss is as good as surely.
FAREWELL_AFTER_NS = 1_600_000_000
FAREWELL_EVERY_NS = 100_000_000
ANSWERED_FAREWELLS = 3  # when the other end leaves: it stops asking once it has heard one


class LinkState(enum.Enum):
    """See the top of this file."""

    CONNECTING = enum.auto()
    OPEN = enum.auto()
    LANDING = enum.auto()
    PARTING = enum.auto()
    CLOSED = enum.auto()


class LinkTurn(NamedTuple):
    """What has happened, what is to be sent on the two channels, in order, and when to `wake` it
    again unless something happens before (None: not needed)."""

    events: set[Event]
    frames: list[bytes]
    control: list[bytes]
    due_ns: int | None


class Connection:
    """One end of a link; `silence_s` and `lost_after_s` as in `Heartbeat`.

    `arriving`: the frames that one which came whole stands for: itself, unless a test says else.
    """

    def __init__(
        self,
        *,
        silence_s: float = PEER_SILENCE_S,
        lost_after_s: float = LOST_AFTER_S,
        arriving: Callable[[ReceivedFrame], Iterable[ReceivedFrame]] | None = None,
    ) -> None:
        self.state = LinkState.CONNECTING
        self.end: LinkEnd | None = None
        self.malformed = 0
        self.path_failure: LinkFailed | None = None  # why no picture passes, if that is known
        self._arriving = arriving
        self._lost_after_s = lost_after_s
        self._heartbeat = Heartbeat(
            silence_ns=round(silence_s * 1e9), lost_after_ns=round(lost_after_s * 1e9)
        )
        self.clock = self._heartbeat.clock  # fed by pings: a burst at connect, then one a second
        self._sender = FrameSender()
        self._receiver = FrameReceiver()
        self._inbox = FrameInbox()
        self._controls: deque[bytes] = deque()
        self._controls_bytes = 0
        self._accepting = False
        self._next_frame_id = 0
        self._leaving: set[int] = set()  # frames of which packets are still to leave
        self._free = False  # whether a frame might leave, as of the last turn
        self._frames_out: list[bytes] = []
        self._control_out: list[bytes] = []
        self._events: set[Event] = set()
        self._message_bytes: int | None = None  # as was told last
        # When the two halves are to be looked at again, as of the last time that they were.
        self._sender_due_ns: int | None = None
        self._report_due_ns: int | None = None
        self._deadline_ns = 0  # of LANDING and PARTING
        self._farewell_at_ns = 0

    # -- what it is asked -------------------------------------------------------------------------

    @property
    def presence(self) -> Presence:
        """Whether the other end is heard."""
        return self._heartbeat.presence

    @property
    def frames_dropped(self) -> Mapping[str, int]:
        """Frames that reached this end and were given to nobody, by reason."""
        slow = {"consumer slow": self._inbox.dropped} if self._inbox.dropped else {}
        return {**self._receiver.given_up, **slow}

    @property
    def in_flight(self) -> int:
        """Frames of which the other end has not got everything, and that are not given up."""
        return self._sender.in_flight

    @property
    def controls_waiting(self) -> int:
        """Control messages that were not taken."""
        return len(self._controls)

    def path(self, now_ns: int) -> PathEstimate | None:
        """What the path carries now; None until measured."""
        return self._sender.path(now_ns)

    @property
    def message_bytes(self) -> int | None:
        """The largest message that the path is known to carry; None where nobody looks for it."""
        path_mtu = self._sender.path_mtu
        return None if path_mtu is None else path_mtu.message_bytes

    def can_send_frame(self, now_ns: int) -> bool:
        """Whether a frame handed over now would leave now instead of queueing."""
        self._free = self.state is LinkState.OPEN and self._sender.can_send(now_ns)
        return self._free

    def has_left(self, frame_id: int) -> bool:
        """Whether the last packet of the frame was given to the transport."""
        return frame_id not in self._leaving

    # -- what the program does --------------------------------------------------------------------

    def send_control(self, message: bytes) -> None:
        """Hand over 1 to `MAX_CONTROL_BYTES` bytes; raises `BadInput`, `LinkFailed`, `PeerGone`."""
        if not 1 <= len(message) <= MAX_CONTROL_BYTES:
            raise BadInput(
                f"a control message is 1 to {MAX_CONTROL_BYTES} bytes, not {len(message)}"
            )
        self.raise_if_not_up()
        self._control_out.append(pack_app(message))

    def send_frame(self, data: bytes | bytearray | memoryview, now_ns: int) -> int:
        """Hand over a frame of 1 to `MAX_FRAME_BYTES` bytes and return its number on this link.

        Whether it may leave now was asked before; a frame that comes a little late leaves all the
        same.  Raises `BadInput`, `LinkFailed` and `PeerGone`.
        """
        check_frame_size(data)
        self.raise_if_not_up()
        frame_id = self._next_frame_id
        self._next_frame_id += 1
        if self._heartbeat.due:
            self._frames_out += self._heartbeat.ping_if_due(now_ns)
        self._leaving.add(frame_id)
        self._sender.hand_over(frame_id, bytes(data), now_ns)
        self._pump(now_ns)
        return frame_id

    def cancel_frame(self, frame_id: int) -> None:
        """Send no more of this frame."""
        self._sender.cancel(frame_id)
        self._leaving.discard(frame_id)

    def agreed(
        self, features: Collection[str], now_ns: int, overhead_bytes: int = OVERHEAD_BYTES
    ) -> None:
        """Both ends have `features` (`shared.capabilities`): they are used from now on."""
        self._sender.cross_parity = self._receiver.cross_parity = CROSS_PARITY in features
        if PACKET_SIZES in features:
            self._sender.find_packet_size(now_ns, overhead_bytes)
            self._sender_due_ns = now_ns

    def accept_frames(self) -> None:
        """Begin to take frames; until then what arrives of them is ignored, and nothing held."""
        self._accepting = True

    def take_frame(self) -> ReceivedFrame | None:
        """The whole frame that came first, if one waits."""
        return self._inbox.pop()

    def take_control(self) -> bytes:
        """The control message that came first; raises `IndexError` where none waits."""
        message = self._controls.popleft()
        self._controls_bytes -= len(message)
        return message

    def close(self, now_ns: int) -> None:
        """Let frames in flight land, then tell the other end; in the end `PARTED` happens."""
        if self.state is LinkState.CONNECTING:
            self._finish(LinkEnd("local"))
        elif self.state is LinkState.OPEN:
            self.state = LinkState.LANDING
            self._deadline_ns = now_ns + LANDING_NS
            self._part_if_landed(now_ns)

    def abandon(self) -> None:
        """Nobody waits for the end of a close any more."""
        self._finish(LinkEnd("local"))

    # -- what the transport reports ---------------------------------------------------------------

    def opened(self, now_ns: int) -> None:
        """Both channels are open."""
        if self.state is not LinkState.CONNECTING:
            return
        self.state = LinkState.OPEN
        self._heartbeat.start(now_ns)
        self._frames_out += self._heartbeat.poll(now_ns, quiet=True)
        self._events.add(Event.OPENED)

    def path_changed(self, now_ns: int, overhead_bytes: int = OVERHEAD_BYTES) -> None:
        """Messages take another way from now on."""
        self._begin_anew(now_ns, overhead_bytes)

    def transport_closed(self, end: LinkEnd) -> None:
        """The transport carries nothing any more."""
        self._finish(end)

    def receive_frames_message(self, message: bytes, now_ns: int) -> bool:
        """Take what came on the frames channel; returns whether anything is to be done about it."""
        if self.state is LinkState.CLOSED:
            return False
        stirred = self._hear(now_ns)
        kind = message[0] if message else 0
        try:
            if kind in PACKETS:
                return self._on_packet(message, now_ns) or stirred
            if kind == REPORT:
                self._on_report(message, now_ns)
            elif kind == PROBE:
                self._frames_out.append(answer_probe(message))
            elif kind == PROBE_ACK:
                self._on_probe_ack(message, now_ns)
            elif kind == FAREWELL and len(message) == 1:
                self._on_goodbye()
            else:
                self._on_small(message, now_ns)
        except MalformedFrame:
            self.malformed += 1
        return True

    def receive_control_message(self, message: bytes, now_ns: int) -> None:
        """Take what came on the control channel."""
        if self.state is LinkState.CLOSED:
            return
        self._hear(now_ns)
        try:
            kind, body = parse_control(message)
        except MalformedFrame:
            self.malformed += 1
            return
        if kind != APP:
            self._on_goodbye()
        elif self.end is None:
            self._controls_bytes += len(body)
            if (
                1 <= len(body) <= MAX_CONTROL_BYTES
                and len(self._controls) < MAX_WAITING_MESSAGES
                and self._controls_bytes <= MAX_WAITING_BYTES
            ):
                self._controls.append(body)
                self._events.add(Event.CONTROL)
            else:
                self.malformed += 1
                self._finish(LinkEnd("lost", "it broke the rules of the control channel"))

    # -- what is due ------------------------------------------------------------------------------

    def wake(self, now_ns: int) -> None:
        """The time that `turn` named has come; calling it early is harmless."""
        if self.state in (LinkState.CONNECTING, LinkState.CLOSED):
            return
        tick_at_ns = self._heartbeat.tick_at_ns
        if tick_at_ns is not None and now_ns >= tick_at_ns and self._beat(now_ns):
            return
        if self._report_due_ns is not None and now_ns >= self._report_due_ns:
            report = self._receiver.wake(now_ns)
            if report is not None:
                self._frames_out.append(report)
            self._report_due_ns = self._receiver.next_at_ns()
        if self.state is LinkState.LANDING or (
            self._sender_due_ns is not None and now_ns + AHEAD_NS >= self._sender_due_ns
        ):
            self._pump(now_ns)
        if self.state is LinkState.PARTING:
            self._say_farewell(now_ns)

    def _beat(self, now_ns: int) -> bool:
        """A look at whether the other end is there; returns whether it is gone for good."""
        before = self._heartbeat.presence
        self._frames_out += self._heartbeat.poll(now_ns, quiet=self._sender.idle)
        if self._heartbeat.presence is not before:
            self._events.add(Event.SILENCE)
        if self._heartbeat.presence is not Presence.LOST:
            return False
        detail = f"nothing was heard from it for {self._lost_after_s:g} s"
        self._finish(LinkEnd("lost", detail))
        return True

    def turn(self) -> LinkTurn:
        """What is to be done after anything was handed in; what it holds is not told again."""
        turn = LinkTurn(self._events, self._frames_out, self._control_out, self._due_ns())
        self._events, self._frames_out, self._control_out = set(), [], []
        return turn

    def _due_ns(self) -> int | None:
        if self.state in (LinkState.CONNECTING, LinkState.CLOSED):
            return None
        due_ns = self._heartbeat.tick_at_ns
        for at_ns in (self._report_due_ns, self._sender_due_ns):
            if at_ns is not None and (due_ns is None or at_ns < due_ns):
                due_ns = at_ns
        if due_ns is None or self.state is LinkState.OPEN:
            return due_ns
        if self.state is LinkState.LANDING:
            return min(due_ns, self._deadline_ns)
        return min(due_ns, self._deadline_ns, self._farewell_at_ns)

    def raise_if_over(self) -> None:
        """Raises `PeerGone` once the link is over."""
        if self.end is not None:
            raise self.end.error()

    def raise_if_not_up(self) -> None:
        """Raises `LinkFailed` before the link is open, `PeerGone` once it is over."""
        self.raise_if_over()
        if self.state is LinkState.CONNECTING:
            raise LinkFailed("the link is not connected yet")

    # -- inside -----------------------------------------------------------------------------------

    def _on_packet(self, message: bytes, now_ns: int) -> bool:
        if not self._accepting:  # a stranger's: not held, and not reported either
            raise MalformedFrame("a packet of a frame that nobody has asked for")
        receiver = self._receiver
        completed = receiver.on_packet(message, now_ns)
        if completed and self.end is None:
            for whole in completed:
                frame = ReceivedFrame(whole.data, now_ns)
                for arrived in (frame,) if self._arriving is None else self._arriving(frame):
                    self._inbox.add(arrived)
            self._events.add(Event.FRAME)
        elif receiver.unsettled:
            report = receiver.poll(now_ns)
            if report is not None:
                self._frames_out.append(report)
        else:  # when the next report is due is known already
            return False
        self._report_due_ns = receiver.next_at_ns()
        return True

    def _on_report(self, message: bytes, now_ns: int) -> None:
        self._sender.on_report(parse_report(message), now_ns)
        self._pump(now_ns)

    def _on_probe_ack(self, message: bytes, now_ns: int) -> None:
        ack = parse_probe_ack(message)
        if self._sender.path_mtu is not None:
            self._sender.path_mtu.on_ack(ack, now_ns)
            self._pump(now_ns)

    def _on_small(self, message: bytes, now_ns: int) -> None:
        outcome = self._heartbeat.take(message, now_ns)
        if isinstance(outcome, bytes):
            self._frames_out.append(outcome)
        elif outcome is not None:
            self._sender.on_ping(outcome)
            self._events.add(Event.CLOCK)

    def _hear(self, now_ns: int) -> bool:
        """Anything at all arrived; returns whether that ends a silence."""
        self._heartbeat.heard_ns = now_ns
        if self._heartbeat.presence is not Presence.SILENT:
            return False
        self._heartbeat.heard_again()
        self._begin_anew(now_ns)
        self._events.add(Event.SILENCE)
        return True

    def _begin_anew(self, now_ns: int, overhead_bytes: int | None = None) -> None:
        self._sender.begin_anew(now_ns, overhead_bytes)
        self._sender_due_ns = now_ns

    def _on_goodbye(self) -> None:
        if self.end is None:
            self._control_out.append(pack_bye())
            self._frames_out += [pack_farewell()] * ANSWERED_FAREWELLS
        self._finish(LinkEnd("peer"))

    def _finish(self, end: LinkEnd) -> None:
        """The link is over, for the first reason given."""
        self._end(end)
        self.state = LinkState.CLOSED
        self._events.add(Event.PARTED)

    def _end(self, end: LinkEnd) -> None:
        if self.end is None:
            self.end = end
            self._events.add(Event.ENDED)

    def _pump(self, now_ns: int) -> None:
        """Give the transport what may leave now."""
        path_mtu = self._sender.path_mtu
        if path_mtu is not None and now_ns >= path_mtu.due_ns:
            self._frames_out += self._sender.poll_probes(now_ns)
            self._look_at_size(path_mtu)
        self._frames_out += self._sender.poll(now_ns)
        left = self._sender.take_left()
        self._leaving.difference_update(left)
        free = self._sender.can_send(now_ns)
        if path_mtu is not None and path_mtu.message_bytes != self._message_bytes:
            self._message_bytes = path_mtu.message_bytes
            self._events.add(Event.SIZE)
        self._sender_due_ns = self._sender.next_at_ns(now_ns)
        if left or free != self._free:
            self._events.add(Event.SENDING)  # it wakes tasks, so not for every packet
        self._free = free
        if self.state is LinkState.LANDING:
            self._part_if_landed(now_ns)

    def _look_at_size(self, path_mtu: PathMtu) -> None:
        """Not even the least packets pass: whoever waits for pictures is to know why."""
        failure = path_mtu.failure()
        if (failure is None) != (self.path_failure is None):
            self.path_failure = failure
            self._events.add(Event.SIZE)

    def _part_if_landed(self, now_ns: int) -> None:
        if self._sender.in_flight and now_ns < self._deadline_ns:
            return
        self._control_out.append(pack_bye())
        self.state = LinkState.PARTING
        self._end(LinkEnd("local"))
        self._deadline_ns = now_ns + PARTING_NS
        self._farewell_at_ns = now_ns + FAREWELL_AFTER_NS

    def _say_farewell(self, now_ns: int) -> None:
        if now_ns >= self._deadline_ns:
            self._finish(LinkEnd("local"))
        elif now_ns >= self._farewell_at_ns:
            self._frames_out.append(pack_farewell())
            self._farewell_at_ns = now_ns + FAREWELL_EVERY_NS


def check_frame_size(data: bytes | bytearray | memoryview) -> None:
    """Raises `BadInput` for what can't be a frame."""
    nbytes = memoryview(data).nbytes
    if not 1 <= nbytes <= MAX_FRAME_BYTES:
        raise BadInput(f"a frame is 1 to {MAX_FRAME_BYTES} bytes, not {nbytes}")
