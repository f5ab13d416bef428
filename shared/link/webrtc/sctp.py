"""Messages past SCTP's own congestion control: one DATA chunk each, sent once, now, and forgotten.

SCTP's window halves at every loss, it retransmits, bursts four packets and rescans its queues for
every acknowledgement; here frames have a congestion control and a repair of their own.  So
`UnreliablePath` gives each message a DATA chunk of its own (unordered, unfragmented) with the
association's next TSN, outside of its queues, and tells the other end by FORWARD TSN (RFC 3758) not
to wait for those that got lost.  To the other end that is partial reliability with no
retransmission; the control channel goes on through aiortc's own machinery.  The same for what
arrives: such chunks are taken at once and acknowledged now and then instead of one by one.  An
acknowledgement tells of the first gaps only, so that it always fits one packet, and what is lost is
passed over by the clock: neither end's books grow with losses, and none needs the other's to heal.

As in `ice`, private names of aiortc and aioice are used, set on the objects of one
connection only, and the tests check each against the installed version.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable, Set
from functools import partial

from aiortc import RTCSctpTransport
from aiortc.rtcsctptransport import SackChunk
from google_crc32c import value as crc32c
from OpenSSL import SSL

from shared.link.webrtc.bursts import Bursts
from shared.link.webrtc.ice import ice_connection

__all__ = ["UnreliablePath"]

TSN_MODULO = 2**32
TSN_HALF = 2**31

_PACKET = struct.Struct("!HHL")  # ports and verification tag; the checksum follows
_DATA = struct.Struct("!BBHLHHL")  # type, flags, length, TSN, stream, stream sequence, protocol
_CHECKSUM = struct.Struct("<L")
_NO_CHECKSUM = bytes(4)
_BEGIN = 12 + _DATA.size  # where a message begins in its packet
DATA_TYPE = 0
WHOLE_UNORDERED = 0x07  # flags U, B and E (RFC 9260 section 3.3.1)
WEBRTC_BINARY = 53
MAX_DATAGRAM_BYTES = 1500

FORGET_AFTER_S = 0.25  # a chunk that is not there by then is not coming, in any order
SACK_AFTER_S = 0.05  # nothing waits for it: it only keeps the other end's books short
MAX_AHEAD = 1 << 15  # TSNs beyond the cumulative one; none but a hostile peer gets there
MAX_DUPLICATES = 16  # told in one SACK
MAX_GAPS = 200  # told in one SACK, which is 900 bytes then; aiortc can't send more than 1,500
MAX_SACKED_AHEAD = 2048  # TSNs looked at for one SACK; as many come in a second of 20 Mbit/s


class UnreliablePath:
    """One association's way for messages of one unordered channel; `receive` gets what arrives.

    Before the association starts.  `stream` is to be set once the channel has its number.
    """

    def __init__(self, sctp: RTCSctpTransport, receive: Callable[[bytes], None]) -> None:
        self.stream: int | None = None
        self._sctp = sctp
        self._dtls = sctp.transport
        self._ice = ice_connection(sctp)
        self._receive = receive
        self._bursts = Bursts()
        # (TSN, when), not known to be there
        self._sent: deque[tuple[int, float]] = deque(maxlen=MAX_AHEAD)
        self._sack_timer: asyncio.TimerHandle | None = None
        self._pass_over_timer: asyncio.TimerHandle | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self._handle_any = sctp._handle_data
        self._receive_sack = sctp._receive_sack_chunk
        sctp._handle_data = self._handle  # type: ignore[method-assign]
        sctp._receive_sack_chunk = self._on_sack  # type: ignore[method-assign]
        sctp._mark_received = self._mark_received  # type: ignore[method-assign]
        sctp._send_sack = self._send_sack  # type: ignore[method-assign]

    # -- out --------------------------------------------------------------------------------------

    def send(self, *messages: bytes) -> None:
        """Send messages of at most 1,160 bytes; where there is no connection, they are lost."""
        sctp, ssl = self._sctp, self._dtls._ssl
        pair = self._ice._nominated.get(1)
        if self.stream is None or pair is None or ssl is None:
            return
        head = _PACKET.pack(sctp._local_port, sctp._remote_port, sctp._remote_verification_tag)
        now = time.monotonic()
        datagrams: list[bytes] = []
        with contextlib.suppress(SSL.Error):  # the connection has ended
            for message in messages:
                tsn = sctp._local_tsn
                length = _DATA.size + len(message)
                body = (
                    _DATA.pack(
                        DATA_TYPE, WHOLE_UNORDERED, length, tsn, self.stream, 0, WEBRTC_BINARY
                    )
                    + message
                    + bytes(-length % 4)
                )
                checksum = _CHECKSUM.pack(crc32c(head + _NO_CHECKSUM + body))
                ssl.send(head + checksum + body)
                datagrams.append(ssl.bio_read(MAX_DATAGRAM_BYTES))
                sctp._local_tsn = (tsn + 1) % TSN_MODULO
                self._sent.append((tsn, now))
        self._bursts.send(pair.protocol.transport, datagrams, pair.remote_addr)
        if self._pass_over_timer is None:
            self._pass_over_later()

    async def _on_sack(self, chunk: SackChunk) -> None:
        """Drop what the SACK covers from our books, and pass over what is not coming any more."""
        while self._sent and not _after(self._sent[0][0], chunk.cumulative_tsn):
            self._sent.popleft()
        self._forget()
        if not self._sctp._sent_queue:
            chunk.gaps = []  # about chunks that nobody asks after
        await self._receive_sack(chunk)

    def _forget(self) -> None:
        """Move the point that FORWARD TSN names past what left too long ago."""
        sctp = self._sctp
        sent = self._sent
        horizon = time.monotonic() - FORGET_AFTER_S
        reliable = next(iter(sctp._sent_queue or sctp._outbound_queue), None)
        skipped = None
        while sent and sent[0][1] < horizon:
            if reliable is not None and _after(sent[0][0], reliable.tsn):
                break
            skipped = sent.popleft()[0]
        if skipped is not None and _after(skipped, sctp._advanced_peer_ack_tsn):
            sctp._advanced_peer_ack_tsn = skipped

    def _pass_over_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._pass_over_timer = loop.call_later(FORGET_AFTER_S, self._pass_over)

    def _pass_over(self) -> None:
        """Send FORWARD TSN unasked: while the other end's SACKs are lost, nothing else heals it.

        Again and again until a SACK tells that it has come (RFC 3758 section 3.5, rule A5).
        """
        self._pass_over_timer = None
        sctp = self._sctp
        if sctp._association_state != sctp.State.ESTABLISHED:
            self._sent.clear()
            return
        self._forget()
        sctp._update_advanced_peer_ack_point()
        chunk, sctp._forward_tsn_chunk = sctp._forward_tsn_chunk, None
        if chunk is not None:
            self._in_background(partial(sctp._send_chunk, chunk))
        if chunk is not None or self._sent:
            self._pass_over_later()

    def _in_background(self, send: Callable[[], Awaitable[None]]) -> None:
        async def sending() -> None:
            with contextlib.suppress(ConnectionError):  # it ended meanwhile
                await send()

        task = asyncio.get_running_loop().create_task(sending())
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    # -- in ---------------------------------------------------------------------------------------

    async def _handle(self, data: bytes) -> None:
        """A decrypted SCTP packet: ours to take if it is one whole message of our stream."""
        if not await self._take(data):
            await self._handle_any(data)

    async def _take(self, data: bytes) -> bool:
        if len(data) <= _BEGIN or data[12] != DATA_TYPE or data[13] != WHOLE_UNORDERED:
            return False
        sctp = self._sctp
        _, _, length, tsn, stream, _, protocol = _DATA.unpack_from(data, 12)
        if (
            stream != self.stream
            or protocol != WEBRTC_BINARY
            or length <= _DATA.size
            or 12 + length + -length % 4 != len(data)
            or sctp._last_received_tsn is None
        ):
            return False
        _, _, tag = _PACKET.unpack_from(data)
        (checksum,) = _CHECKSUM.unpack_from(data, 8)
        if tag != sctp._local_verification_tag:
            return False
        if checksum != crc32c(data[:8] + _NO_CHECKSUM + data[12:]):
            return False
        duplicate = self._mark_received(tsn)
        if self._sack_timer is None:
            loop = asyncio.get_running_loop()
            self._sack_timer = loop.call_later(SACK_AFTER_S, self._acknowledge)
        if not duplicate:
            self._receive(data[_BEGIN : 12 + length])
            if sctp._reconfig_deferred is not None:
                await sctp._reset_deferred_streams()
        return True

    def _acknowledge(self) -> None:
        self._sack_timer = None
        if self._sctp._association_state == self._sctp.State.ESTABLISHED:
            self._in_background(self._sctp._send_sack)

    async def _send_sack(self) -> None:
        """Acknowledge; of what is ahead, as much as fits one packet and costs little to find."""
        sctp = self._sctp
        last = sctp._last_received_tsn
        assert last is not None  # noqa: S101  (set before the association is up)
        sack = SackChunk()
        sack.cumulative_tsn = last
        sack.advertised_rwnd = max(0, sctp._advertised_rwnd)
        sack.duplicates = sctp._sack_duplicates[:MAX_DUPLICATES]
        sack.gaps = _gaps(last, sctp._sack_misordered)
        sctp._sack_duplicates.clear()
        sctp._sack_needed = False
        await sctp._send_chunk(sack)

    def _mark_received(self, tsn: int) -> bool:
        """Note a TSN and return whether it had come before; without sorting, unlike aiortc's."""
        sctp = self._sctp
        last = sctp._last_received_tsn
        misordered = sctp._sack_misordered
        assert last is not None  # noqa: S101  (set before the association is up)
        ahead = (tsn - last) % TSN_MODULO
        if ahead == 0 or ahead >= TSN_HALF or tsn in misordered:
            if len(sctp._sack_duplicates) < MAX_DUPLICATES:
                sctp._sack_duplicates.append(tsn)
            return True
        if ahead > MAX_AHEAD:
            return True
        misordered.add(tsn)
        while (following := (last + 1) % TSN_MODULO) in misordered:
            misordered.discard(following)
            last = following
        sctp._last_received_tsn = last
        return False


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


def _after(tsn: int, other: int) -> bool:
    """Whether a TSN comes after another (RFC 1982 arithmetic)."""
    return 0 < (tsn - other) % TSN_MODULO < TSN_HALF
