"""The inbound half of an association: which packets are heard, and what of them is believed.

Everything that reaches aiortc's association passes here first.  What a peer sends costs what it is
worth: lists are as long as what they speak of, memory is the window that was advertised, and what
is answered is answered so many times.  Who breaks the protocol (see `fragments.ProtocolBroken`)
ends its own link; what merely makes no sense is dropped.  aiortc still keeps the states of the
association, resets streams and opens channels, with chunks that cannot make it stumble.

Set on the objects of one association only; the private names are listed in `private`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Set

from aiortc import RTCSctpTransport
from aiortc.rtcsctptransport import (
    DATA_CHANNEL_ACK,
    DATA_CHANNEL_OPEN,
    RECONFIG_PARAM_TYPES,
    WEBRTC_BINARY,
    WEBRTC_BINARY_EMPTY,
    WEBRTC_DCEP,
    WEBRTC_STRING,
    WEBRTC_STRING_EMPTY,
    AbortChunk,
    CookieAckChunk,
    CookieEchoChunk,
    ErrorChunk,
    HeartbeatAckChunk,
    InitAckChunk,
    InitChunk,
    SackChunk,
)

from shared.link.webrtc.chunks import (
    ChunkType,
    MalformedPacket,
    RawChunk,
    forward_streams,
    gap_blocks,
    parameters,
    parse_sctp,
)
from shared.link.webrtc.fragments import BEGIN, END, Fragments, ProtocolBroken, SctpMessage
from shared.link.webrtc.reliable import TSN_HALF, TSN_MODULO, ReliablePath, after

__all__ = ["Allowance", "Inbound"]

_LOG = logging.getLogger(__name__)

SACK_AFTER_S = 0.12  # frames wait for none: it only keeps the other end's books short
CONTROL_SACK_AFTER_S = 0.01  # at least between two that the control channel asks for
MAX_AHEAD = 1 << 15  # TSNs beyond the cumulative one; none but a hostile peer gets there
# Told in one SACK, which has 4 bytes for each: with them it fits `LEAST_DATAGRAM_BYTES`.
MAX_DUPLICATES = 8
MAX_GAPS = 111
MAX_SACKED_AHEAD = 2048  # TSNs looked at for one SACK; as many come in a second of 20 Mbit/s

# Packets that are not frames: acknowledgements, control messages, the handshake.  A session has
# some tens a second; a stall of the network or of this program brings those of its whole length.
CONTROL_PACKETS_PER_S = 500.0
CONTROL_PACKETS_AT_ONCE = 4_000.0
# Chunks that make this end answer, of all kinds together; a handshake takes two or three, and an
# idle association a heartbeat in 30 s.
ANSWERS_PER_S = 5.0
ANSWERS_AT_ONCE = 60.0

MAX_HEARTBEAT_BYTES = 256  # it comes back as long as it is; the stacks that we know send 8 to 48
MAX_OPENED = 8  # channels over a link's life: our two, and some refused ones of a later version
MAX_LABEL_BYTES = 64  # of a channel's label, and of its protocol
MAX_PARAMETERS = 2  # of a RE-CONFIG (RFC 6525 section 3.1)
COOKIE_BYTES = 24
STALE_COOKIE = 3  # cause of an ERROR (RFC 9260 section 3.3.10.3)


class Allowance:
    """So many things a second, and so many at once: a token bucket on the monotonic clock."""

    def __init__(self, per_s: float, at_once: float) -> None:
        self._per_s = per_s
        self._at_once = at_once
        self._left = at_once
        self._at_s = time.monotonic()

    def add(self, count: int) -> None:
        """Allow so many more, once."""
        self._left += count

    def take(self) -> bool:
        """Whether there is one left; then it is taken."""
        if self._left < 1.0:
            now = time.monotonic()
            self._left = min(self._at_once, self._left + (now - self._at_s) * self._per_s)
            self._at_s = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Inbound:
    """Hears one association; `broken` is told, in our words, why its link must end.

    Before the association starts.
    """

    def __init__(
        self, sctp: RTCSctpTransport, reliable: ReliablePath, broken: Callable[[str], None]
    ) -> None:
        self._sctp = sctp
        self._reliable = reliable
        self._broken = broken
        self._over = False  # the link ends: nothing more is heard
        self._fragments = Fragments()
        self._packets = Allowance(CONTROL_PACKETS_PER_S, CONTROL_PACKETS_AT_ONCE)
        self._answers = Allowance(ANSWERS_PER_S, ANSWERS_AT_ONCE)
        self._counted_tsn = sctp._local_tsn  # up to where acknowledgements were allowed for
        self._heard_data = False
        self._opened = 0
        self._sack_timer: asyncio.TimerHandle | None = None
        self._sacked_at_s = 0.0
        self._reset_streams = sctp._reset_deferred_streams
        sctp._mark_received = self.mark_received  # type: ignore[method-assign]
        sctp._send_sack = self._send_sack  # type: ignore[method-assign]
        sctp._reset_deferred_streams = self._reset_deferred  # type: ignore[method-assign]

    async def receive(self, data: bytes) -> None:
        """A decrypted packet that was no frame's."""
        if self._over:
            return
        try:
            await self._receive(data)
        except MalformedPacket:
            return  # who sends many has used up the allowance
        except ProtocolBroken as broken:
            self._end(str(broken))
        except Exception as error:  # aiortc raises whatever it stumbles over
            _LOG.debug("aiortc stumbled", exc_info=True)
            self._end(f"sent what can't be read ({type(error).__name__})")

    def _end(self, words: str) -> None:
        self._over = True
        self._broken(words)

    async def _receive(self, data: bytes) -> None:
        sctp = self._sctp
        if not self._packets.take():
            self._allow_acknowledgements()
            if not self._packets.take():
                raise ProtocolBroken("sent more packets than a session has")
        packet = parse_sctp(data)
        # An INIT comes alone and without a tag, since none is known yet (RFC 9260 section 8.5.1).
        init = any(chunk.type == ChunkType.INIT for chunk in packet.chunks)
        if init and len(packet.chunks) > 1:
            return
        if packet.tag != (0 if init else sctp._local_verification_tag):
            return
        for chunk in packet.chunks:
            if sctp.state == "closed":
                return
            await self._receive_chunk(chunk)
        if sctp._sack_needed:
            self._acknowledge_control()

    def _allow_acknowledgements(self) -> None:
        """A stack of another kind, a browser's, acknowledges each message that it was sent."""
        sent = (self._sctp._local_tsn - self._counted_tsn) % TSN_MODULO
        self._counted_tsn = self._sctp._local_tsn
        self._packets.add(sent)

    async def _receive_chunk(self, chunk: RawChunk) -> None:
        sctp = self._sctp
        established = sctp._association_state == sctp.State.ESTABLISHED
        match chunk.type:
            case ChunkType.DATA:
                await self._receive_data(chunk)
            case ChunkType.SACK if established:
                await self._reliable.acknowledged(*gap_blocks(chunk.body))
            case ChunkType.FORWARD_TSN if sctp._last_received_tsn is not None:
                await self._receive_forward_tsn(chunk)
            case ChunkType.HEARTBEAT if established:
                self._expect_answer()
                if len(chunk.body) <= MAX_HEARTBEAT_BYTES:
                    answer = HeartbeatAckChunk(body=chunk.body)
                    await sctp._send_chunk(answer)
            case ChunkType.RE_CONFIG if established:
                await self._receive_reconfig(chunk)
            case ChunkType.INIT:
                await self._receive_init(chunk)
            case ChunkType.INIT_ACK:
                if self._is_peers_tag(chunk):
                    await RTCSctpTransport._receive_chunk(
                        sctp, InitAckChunk(chunk.flags, chunk.body)
                    )
            case ChunkType.COOKIE_ECHO if len(chunk.body) == COOKIE_BYTES:
                self._expect_answer()
                await RTCSctpTransport._receive_chunk(
                    sctp, CookieEchoChunk(chunk.flags, chunk.body)
                )
            case ChunkType.COOKIE_ACK:
                await RTCSctpTransport._receive_chunk(sctp, CookieAckChunk())
            case ChunkType.ERROR if not established:
                # aiortc gives up on any; one about a parameter that it does not know is none.
                if any(cause == STALE_COOKIE for cause, _ in parameters(chunk.body)):
                    await RTCSctpTransport._receive_chunk(sctp, ErrorChunk())
            case ChunkType.ABORT:
                await RTCSctpTransport._receive_chunk(sctp, AbortChunk())
            case ChunkType.SHUTDOWN if established:
                sctp._set_state(sctp.State.CLOSED)  # nothing waits to be said to who leaves
            case _:
                return

    def _expect_answer(self) -> None:
        if not self._answers.take():
            raise ProtocolBroken("asked for more answers than a session has")

    # -- the handshake ----------------------------------------------------------------------------

    async def _receive_init(self, chunk: RawChunk) -> None:
        sctp = self._sctp
        self._expect_answer()
        # One that comes late would put the books back to where they began.
        if sctp._association_state == sctp.State.ESTABLISHED or self._heard_data:
            return
        init = InitChunk(chunk.flags, chunk.body)
        if self._is_peers_tag(chunk) and init.outbound_streams and init.inbound_streams:
            await RTCSctpTransport._receive_chunk(sctp, init)

    def _is_peers_tag(self, chunk: RawChunk) -> bool:
        """Whether an INIT or INIT ACK has a tag, and the one that an earlier one had."""
        tag = int.from_bytes(chunk.body[:4], "big")
        return tag != 0 and self._sctp._remote_verification_tag in (0, tag)

    async def _receive_reconfig(self, chunk: RawChunk) -> None:
        self._expect_answer()
        for kind, value in parameters(chunk.body)[:MAX_PARAMETERS]:
            reads = RECONFIG_PARAM_TYPES.get(kind)
            least = {13: 12, 16: 8}.get(kind)  # a reset of streams, and the answer to one
            if reads is None or least is None or len(value) < least or len(value) % 2:
                continue
            await self._sctp._receive_reconfig_param(reads.parse(value))

    async def _reset_deferred(self) -> None:
        request = self._sctp._reconfig_deferred
        await self._reset_streams()
        if request is not None and self._sctp._reconfig_deferred is None:
            for stream in request.streams:
                self._fragments.reset(stream)

    # -- data -------------------------------------------------------------------------------------

    async def _receive_data(self, chunk: RawChunk) -> None:
        sctp = self._sctp
        if sctp._last_received_tsn is None:
            return
        sctp._sack_needed = True
        self._heard_data = True
        body, flags = chunk.body, chunk.flags
        tsn = int.from_bytes(body[:4], "big")
        if self.mark_received(tsn):
            return
        stream = int.from_bytes(body[4:6], "big")
        protocol = int.from_bytes(body[8:12], "big")
        if not flags & 0x04:
            sequence = int.from_bytes(body[6:8], "big")
            ready = self._fragments.add(tsn, flags, stream, sequence, protocol, body[12:])
        elif flags & BEGIN and flags & END:
            ready = [SctpMessage(stream, protocol, body[12:])]
        else:
            ready = []  # what is unordered is one chunk, with every version of ours
        await self._deliver(ready)
        await sctp._reset_deferred_streams()

    async def _receive_forward_tsn(self, chunk: RawChunk) -> None:
        sctp = self._sctp
        sctp._sack_needed = True
        cumulative, sequences = forward_streams(chunk.body)
        last = sctp._last_received_tsn
        if last is None or not after(cumulative, last):
            return
        misordered = sctp._sack_misordered
        skipped = (cumulative - last) % TSN_MODULO
        # Whichever is less work: it may name any TSN, however far ahead.
        if skipped <= len(misordered):
            misordered.difference_update((last + i) % TSN_MODULO for i in range(1, skipped + 1))
        else:
            gone = [tsn for tsn in misordered if not after(tsn, cumulative)]
            misordered.difference_update(gone)
        sctp._last_received_tsn = cumulative
        self._absorb()
        await self._deliver(self._fragments.pass_over(sequences))
        await sctp._reset_deferred_streams()

    async def _deliver(self, messages: list[SctpMessage]) -> None:
        for message in messages:
            if message.protocol == WEBRTC_DCEP:
                await self._receive_dcep(message)
                continue
            channel = self._sctp._data_channels.get(message.stream)
            if channel is None:
                continue
            if message.protocol == WEBRTC_BINARY:
                channel.emit("message", message.data)
            elif message.protocol == WEBRTC_BINARY_EMPTY:
                channel.emit("message", b"")
            elif message.protocol == WEBRTC_STRING:
                channel.emit("message", message.data.decode(errors="replace"))
            elif message.protocol == WEBRTC_STRING_EMPTY:
                channel.emit("message", "")

    async def _receive_dcep(self, message: SctpMessage) -> None:
        """A channel is opened, or ours was (RFC 8832); what says neither is passed over."""
        sctp, data = self._sctp, message.data
        channel = sctp._data_channels.get(message.stream)
        if data[0] == DATA_CHANNEL_ACK and channel is not None:
            await RTCSctpTransport._data_channel_receive(sctp, *message)
        if data[0] != DATA_CHANNEL_OPEN or channel is not None or len(data) < 12:
            return
        label_nbytes = int.from_bytes(data[8:10], "big")
        protocol_nbytes = int.from_bytes(data[10:12], "big")
        if len(data) != 12 + label_nbytes + protocol_nbytes:
            return
        self._opened += 1
        if self._opened > MAX_OPENED or max(label_nbytes, protocol_nbytes) > MAX_LABEL_BYTES:
            raise ProtocolBroken("opened channels that a link has not")
        try:
            data[12 : 12 + label_nbytes].decode()
            data[12 + label_nbytes :].decode()
        except UnicodeDecodeError:
            return
        await RTCSctpTransport._data_channel_receive(sctp, *message)

    # -- acknowledging ----------------------------------------------------------------------------

    def mark_received(self, tsn: int) -> bool:
        """Note a TSN and return whether it had come before; without sorting, unlike aiortc's."""
        sctp = self._sctp
        last = sctp._last_received_tsn
        misordered = sctp._sack_misordered
        assert last is not None  # noqa: S101  (set before the association is up)
        ahead = (tsn - last) % TSN_MODULO
        if ahead == 1 and not misordered:
            sctp._last_received_tsn = tsn
            return False
        if ahead == 0 or ahead >= TSN_HALF or tsn in misordered:
            if len(sctp._sack_duplicates) < MAX_DUPLICATES:
                sctp._sack_duplicates.append(tsn)
            return True
        if ahead > MAX_AHEAD:
            return True
        misordered.add(tsn)
        self._absorb()
        return False

    def _absorb(self) -> None:
        """Move the cumulative TSN past what follows it without a gap."""
        last, misordered = self._sctp._last_received_tsn, self._sctp._sack_misordered
        assert last is not None  # noqa: S101
        while (following := (last + 1) % TSN_MODULO) in misordered:
            misordered.discard(following)
            last = following
        self._sctp._last_received_tsn = last

    def acknowledge_later(self) -> None:
        """Frames came: acknowledge what came until then, by and by."""
        if self._sack_timer is None:
            self._sack_in(SACK_AFTER_S)

    def _acknowledge_control(self) -> None:
        """At once, since the other end times it; but not for each of many."""
        waited_s = time.monotonic() - self._sacked_at_s
        if self._sack_timer is not None:
            self._sack_timer.cancel()
        self._sack_in(max(0.0, CONTROL_SACK_AFTER_S - waited_s))

    def _sack_in(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._sack_timer = loop.call_later(seconds, self._acknowledge)

    def _acknowledge(self) -> None:
        self._sack_timer = None
        if self._sctp._last_received_tsn is not None and self._sctp.state != "closed":
            self._reliable.in_background(self._sctp._send_sack())

    async def _send_sack(self) -> None:
        """Acknowledge; of what is ahead, as much as fits one packet and costs little to find."""
        sctp = self._sctp
        last = sctp._last_received_tsn
        assert last is not None  # noqa: S101
        sack = SackChunk()
        sack.cumulative_tsn = last
        sack.advertised_rwnd = self._fragments.window_nbytes
        sack.duplicates = sctp._sack_duplicates[:MAX_DUPLICATES]
        sack.gaps = _gaps(last, sctp._sack_misordered)
        sctp._sack_duplicates.clear()
        sctp._sack_needed = False
        self._sacked_at_s = time.monotonic()
        await sctp._send_chunk(sack)


def _gaps(last: int, misordered: Set[int]) -> list[tuple[int, int]]:
    """The first runs of TSNs that came after `last`, as (first, last) offsets from it."""
    gaps: list[tuple[int, int]] = []
    found, begin = 0, 0
    for ahead in range(2, MAX_SACKED_AHEAD):  # `last + 1` is what is missing
        if (last + ahead) % TSN_MODULO in misordered:
            begin = begin or ahead
            found += 1
            continue
        if begin:
            gaps.append((begin, ahead - 1))
            begin = 0
            if len(gaps) == MAX_GAPS:
                break
        if found == len(misordered):
            break
    if begin:
        gaps.append((begin, MAX_SACKED_AHEAD - 1))
    return gaps
