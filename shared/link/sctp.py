"""Messages past SCTP's own congestion control: one DATA chunk each, sent once, now, and forgotten.

SCTP's window halves at every loss, it retransmits, bursts four packets and rescans its queues for
every acknowledgement; here frames have a congestion control and a repair of their own.  So
`UnreliablePath` gives each message a DATA chunk of its own (unordered, unfragmented) with the
association's next TSN, outside of its queues, and tells the other end by FORWARD TSN (RFC 3758) not
to wait for those that got lost.  To the other end that is partial reliability with no
retransmission; the control channel goes on through aiortc's own machinery.  The same for what
arrives: such chunks are taken at once and acknowledged now and then instead of one by one.

As in `shared.link.webrtc`, private names of aiortc and aioice are used, set on the objects of one
connection only, and `tests/shared/link/test_sctp.py` checks each against the installed version.
"""

from __future__ import annotations

import struct
import time
from collections import deque
from collections.abc import Callable

from aiortc import RTCSctpTransport
from aiortc.rtcsctptransport import SackChunk
from google_crc32c import value as crc32c
from OpenSSL import SSL

from shared.link.webrtc import ice_connection

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
SACK_EVERY_S = 0.02  # nothing waits for it: it only keeps the other end's books short
MAX_AHEAD = 1 << 15  # TSNs beyond the cumulative one; none but a hostile peer gets there
MAX_DUPLICATES = 16  # told in one SACK


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
        self._sent: deque[tuple[int, float]] = deque()  # (TSN, when), not known to be there
        self._sacked_at = 0.0
        self._handle_any = sctp._handle_data
        self._receive_sack = sctp._receive_sack_chunk
        sctp._handle_data = self._handle  # type: ignore[method-assign]
        sctp._receive_sack_chunk = self._on_sack  # type: ignore[method-assign]
        sctp._mark_received = self._mark_received  # type: ignore[method-assign]

    # -- out --------------------------------------------------------------------------------------

    def send(self, message: bytes) -> None:
        """Send one message of at most 1,160 bytes; where there is no connection, it is lost."""
        sctp, ssl = self._sctp, self._dtls._ssl
        pair = self._ice._nominated.get(1)
        if self.stream is None or pair is None or ssl is None:
            return
        tsn = sctp._local_tsn
        length = _DATA.size + len(message)
        head = _PACKET.pack(sctp._local_port, sctp._remote_port, sctp._remote_verification_tag)
        body = (
            _DATA.pack(DATA_TYPE, WHOLE_UNORDERED, length, tsn, self.stream, 0, WEBRTC_BINARY)
            + message
            + bytes(-length % 4)
        )
        checksum = _CHECKSUM.pack(crc32c(head + _NO_CHECKSUM + body))
        try:
            ssl.send(head + checksum + body)
            datagram = ssl.bio_read(MAX_DATAGRAM_BYTES)
        except SSL.Error:
            return
        sctp._local_tsn = (tsn + 1) % TSN_MODULO
        self._sent.append((tsn, time.monotonic()))
        pair.protocol.transport.sendto(datagram, pair.remote_addr)

    async def _on_sack(self, chunk: SackChunk) -> None:
        """Drop what the SACK covers from our books, and pass over what is not coming any more."""
        sctp = self._sctp
        sent = self._sent
        while sent and not _after(sent[0][0], chunk.cumulative_tsn):
            sent.popleft()
        horizon = time.monotonic() - FORGET_AFTER_S
        reliable = next(iter(sctp._sent_queue or sctp._outbound_queue), None)
        skipped = None
        while sent and sent[0][1] < horizon:
            if reliable is not None and _after(sent[0][0], reliable.tsn):
                break
            skipped = sent.popleft()[0]
        if skipped is not None and _after(skipped, sctp._advanced_peer_ack_tsn):
            sctp._advanced_peer_ack_tsn = skipped
        if not sctp._sent_queue:
            chunk.gaps = []  # about chunks that nobody asks after
        await self._receive_sack(chunk)

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
        now = time.monotonic()
        if now - self._sacked_at > SACK_EVERY_S:
            self._sacked_at = now
            await sctp._send_sack()
        if not duplicate:
            self._receive(data[_BEGIN : 12 + length])
            if sctp._reconfig_deferred is not None:
                await sctp._reset_deferred_streams()
        return True

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


def _after(tsn: int, other: int) -> bool:
    """Whether a TSN comes after another (RFC 1982 arithmetic)."""
    return 0 < (tsn - other) % TSN_MODULO < TSN_HALF
