"""The reliable half of an association: what it sends, and what the other end says of it.

aiortc queues, retransmits and keeps the congestion window; this gives it what the control channel
needs.  Chunks are small enough for any path until one is known to take more.  Timers run on the
monotonic clock, and no silence ends the association: that is for the link above to decide, which
calls `resume` once it hears again.  Acknowledgements of what never was sent are not believed.

Set on the objects of one association only; the private names are listed in `private`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from bisect import bisect_right
from collections.abc import Callable, Coroutine, Sequence
from itertools import chain
from typing import Any

from aiortc import RTCDataChannel, RTCSctpTransport
from aiortc.rtcsctptransport import (
    SCTP_DATA_FIRST_FRAG,
    SCTP_DATA_LAST_FRAG,
    SCTP_DATA_UNORDERED,
    SCTP_MAX_INIT_RETRANS,
    USERDATA_MAX_LENGTH,
    Chunk,
    DataChunk,
    InitChunk,
    SackChunk,
)
from OpenSSL import SSL

from shared.link.webrtc.chunks import packet_bytes
from shared.link.webrtc.fragments import ProtocolBroken

__all__ = ["LEAST_DATAGRAM_BYTES", "ReliablePath", "after"]

TSN_MODULO = 2**32
TSN_HALF = 2**31

# What every IPv4 path passes whole is 576 bytes (RFC 791): less IP's 20 and UDP's 8 bytes, and the
# 4 of a TURN server's channel.
LEAST_DATAGRAM_BYTES = 576 - 20 - 8 - 4
# A DTLS 1.2 record with AES-GCM is 13 + 8 + 16 bytes more than its content; SCTP's header is 12 and
# a DATA chunk's 16.
CHUNK_OVERHEAD_BYTES = 37 + 12 + 16

RTO_INITIAL_S = 1.0  # RFC 9260 section 16; aiortc still has the 3 s of RFC 4960
RTO_MIN_S = 0.3  # not the RFC's 1 s: a lost control message should not hold a session up so long;
# above the 0.2 s of TCP stacks, because a Python peer may itself stall that long
RTO_MAX_S = 3.0  # not the RFC's 60 s: a person waits for what is in it
QUICK_EXPIRIES = 3  # timeouts before each doubles the next: a few in a row are bad luck

# After a loss aiortc goes down to one packet in flight.  Ten is what TCP and QUIC start with on a
# path of which they know nothing (RFC 6928), and more than control messages ever need.
MIN_CONGESTION_WINDOW_BYTES = 10 * USERDATA_MAX_LENGTH

MAX_WAITING_BYTES = 8 * 1024 * 1024  # for a peer that acknowledges nothing; a session says far less
MAX_RECONFIG_FAILURES = 3  # counted; its timeout doubles with each


class ReliablePath:
    """What one association sends reliably; `broken` is told why its link must end.

    Before the association starts.
    """

    def __init__(self, sctp: RTCSctpTransport, broken: Callable[[str], None]) -> None:
        self._sctp = sctp
        self._broken = broken
        # Told of every cumulative TSN that the other end has, before aiortc is.
        self.acknowledging: Callable[[int], None] = lambda _: None
        self._chunk_nbytes = 0
        self.set_datagram_bytes(LEAST_DATAGRAM_BYTES)
        self._rtt_s: float | None = None  # of the acknowledgement that is being read
        self._expiries = 0
        self._sending: set[asyncio.Task[None]] = set()
        sctp._rto = RTO_INITIAL_S
        sctp._data_channel_send = self._data_channel_send  # type: ignore[method-assign]
        sctp._get_timestamp = _monotonic_seconds  # type: ignore[method-assign]
        sctp._reconfig_timer_expired = self._reconfig_expired  # type: ignore[method-assign]
        sctp._send = self._send  # type: ignore[method-assign]
        sctp._send_chunk = self._send_chunk  # type: ignore[method-assign]
        sctp._t1_expired = self._t1_expired  # type: ignore[method-assign]
        sctp._t3_expired = self._t3_expired  # type: ignore[method-assign]
        sctp._transmit = self._transmit  # type: ignore[method-assign]
        sctp._update_rto = self._update_rto  # type: ignore[assignment, method-assign]

    def set_datagram_bytes(self, nbytes: int) -> None:
        """From now on send datagrams of at most so many bytes (UDP's payload)."""
        most = min(nbytes - CHUNK_OVERHEAD_BYTES, USERDATA_MAX_LENGTH)
        self._chunk_nbytes = max(4, most // 4 * 4)  # chunks are padded to four bytes

    def in_background(self, sending: Coroutine[Any, Any, None]) -> None:
        """Run what sends by itself; nothing of it fails (see `_send_chunk`)."""
        task = asyncio.get_running_loop().create_task(sending)
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    # -- out --------------------------------------------------------------------------------------

    def _data_channel_send(self, channel: RTCDataChannel, data: bytes | str) -> None:
        sctp = self._sctp
        waiting = sum(len(data) for _, _, data in sctp._data_channel_queue) + sum(
            len(chunk.user_data) for chunk in chain(sctp._outbound_queue, sctp._sent_queue)
        )
        if waiting > MAX_WAITING_BYTES:
            self._broken("acknowledges nothing of what it is told")
            return
        RTCSctpTransport._data_channel_send(sctp, channel, data)

    async def _send(
        self,
        stream_id: int,
        pp_id: int,
        user_data: bytes,
        expiry: float | None = None,
        max_retransmits: int | None = None,
        ordered: bool = True,
    ) -> None:
        """Queue a message as aiortc does, in chunks of our own size."""
        sctp = self._sctp
        sequence = sctp._outbound_stream_seq.get(stream_id, 0) if ordered else 0
        for start in range(0, len(user_data), self._chunk_nbytes):
            chunk = DataChunk()
            chunk.flags = 0 if ordered else SCTP_DATA_UNORDERED
            if start == 0:
                chunk.flags |= SCTP_DATA_FIRST_FRAG
            if start + self._chunk_nbytes >= len(user_data):
                chunk.flags |= SCTP_DATA_LAST_FRAG
            chunk.tsn = sctp._local_tsn
            chunk.stream_id = stream_id
            chunk.stream_seq = sequence
            chunk.protocol = pp_id
            chunk.user_data = user_data[start : start + self._chunk_nbytes]
            chunk._abandoned = False
            chunk._acked = False
            chunk._book_size = len(chunk.user_data)
            chunk._expiry = expiry
            chunk._in_flight = False
            chunk._max_retransmits = max_retransmits
            chunk._misses = 0
            chunk._retransmit = False
            chunk._sent_count = 0
            chunk._sent_time = None
            sctp._local_tsn = (sctp._local_tsn + 1) % TSN_MODULO
            sctp._outbound_queue.append(chunk)
        if ordered:
            sctp._outbound_stream_seq[stream_id] = (sequence + 1) % 2**16
        await sctp._transmit()

    async def _transmit(self) -> None:
        self._sctp._cwnd = max(self._sctp._cwnd, MIN_CONGESTION_WINDOW_BYTES)
        await RTCSctpTransport._transmit(self._sctp)

    async def _send_chunk(self, chunk: Chunk) -> None:
        """Send one chunk; once there is no connection it is lost, as any datagram may be.

        aiortc calls this from tasks that nobody waits for: an error would be printed by asyncio.
        """
        sctp = self._sctp
        if sctp._remote_port is None:
            return
        if isinstance(chunk, DataChunk) and chunk._sent_count == 1:
            chunk._sent_time = time.monotonic()  # aiortc had written the time of day
        # An INIT has tag 0, also one that is sent again once the other end's is known (8.5.1).
        tag = 0 if isinstance(chunk, InitChunk) else sctp._remote_verification_tag
        packet = packet_bytes(sctp._local_port, sctp._remote_port, tag, bytes(chunk))
        with contextlib.suppress(ConnectionError, SSL.Error):
            await sctp.transport._send_data(packet)

    # -- what the other end says of it ------------------------------------------------------------

    async def acknowledged(self, cumulative: int, gaps: Sequence[int]) -> None:
        """Take an acknowledgement: `gaps` are first, last, ... as offsets of the cumulative TSN.

        Raises `ProtocolBroken` for one of a TSN that was never sent.
        """
        sctp = self._sctp
        sent = (sctp._local_tsn - 1 - cumulative) % TSN_MODULO  # how many TSNs come after it
        unsent = sctp._outbound_queue[0].tsn if sctp._outbound_queue else sctp._local_tsn
        if not after(unsent, cumulative) or max(gaps, default=0) > sent:
            raise ProtocolBroken("acknowledged what was never sent")
        if after(sctp._last_sacked_tsn, cumulative):
            return  # an older one, overtaken
        self.acknowledging(cumulative)
        queue = sctp._sent_queue
        oldest = queue[0] if queue else None
        self._rtt_s = None
        if oldest is not None and not after(oldest.tsn, cumulative):
            self._expiries = 0
            sctp._rto = self._timeout_s()
            # Karn's rule: one sent twice does not say which of the two is acknowledged.
            if oldest._sent_count == 1 and oldest._sent_time is not None:
                self._rtt_s = time.monotonic() - oldest._sent_time
        sack = SackChunk()
        sack.cumulative_tsn = cumulative
        sack.gaps = self._covered(cumulative, gaps)
        await RTCSctpTransport._receive_sack_chunk(sctp, sack)

    def _covered(self, cumulative: int, gaps: Sequence[int]) -> list[tuple[int, int]]:
        """Those of our chunks that gap blocks cover, each as a block of its own.

        However much a block claims, the work is that of what we sent.
        """
        if not gaps or not self._sctp._sent_queue:
            return []
        blocks = sorted(zip(gaps[::2], gaps[1::2], strict=True))
        firsts = [first for first, _ in blocks]
        covered: list[tuple[int, int]] = []
        for chunk in self._sctp._sent_queue:
            offset = (chunk.tsn - cumulative) % TSN_MODULO
            at = bisect_right(firsts, offset) - 1
            # Blocks that overlap are none that an honest end sends: the nearest decides.
            if at >= 0 and offset <= blocks[at][1] and offset < TSN_HALF:
                covered.append((offset, offset))
        return covered

    def _update_rto(self, _: float) -> None:
        """Reckon the timeout anew from our own measurement: aiortc's is by the time of day."""
        if self._rtt_s is not None:
            RTCSctpTransport._update_rto(self._sctp, self._rtt_s)
            self._sctp._rto = self._timeout_s()

    def _timeout_s(self) -> float:
        sctp = self._sctp
        if sctp._srtt is None or sctp._rttvar is None:
            return RTO_INITIAL_S
        return min(max(RTO_MIN_S, sctp._srtt + 4 * sctp._rttvar), RTO_MAX_S)

    # -- silence ----------------------------------------------------------------------------------

    def resume(self) -> None:
        """The other end was heard again: send now what waits for a timer, and none doubled."""
        sctp = self._sctp
        self._expiries = 0
        sctp._rto = self._timeout_s()
        if sctp._t1_handle is not None:
            sctp._t1_handle.cancel()
            self._t1_expired()
        if sctp._reconfig_handle is not None and sctp._reconfig_request is not None:
            sctp._reconfig_handle.cancel()
            self._reconfig_expired()
        if sctp._sent_queue:
            sctp._t3_cancel()
            RTCSctpTransport._t3_expired(sctp)

    def _t1_expired(self) -> None:
        # aiortc gives up after some; how long to try for is for the link above.
        self._sctp._t1_failures = min(self._sctp._t1_failures, SCTP_MAX_INIT_RETRANS - 1)
        RTCSctpTransport._t1_expired(self._sctp)

    def _t3_expired(self) -> None:
        self._expiries += 1
        if self._expiries > QUICK_EXPIRIES:
            self._sctp._rto = min(2 * self._sctp._rto, RTO_MAX_S)
        RTCSctpTransport._t3_expired(self._sctp)

    def _reconfig_expired(self) -> None:
        failures = min(self._sctp._reconfig_failures, MAX_RECONFIG_FAILURES - 1)
        self._sctp._reconfig_failures = failures
        RTCSctpTransport._reconfig_timer_expired(self._sctp)


def _monotonic_seconds() -> int:
    """What stamps the cookies of the handshake, in place of the time of day."""
    return int(time.monotonic())


def after(tsn: int, other: int) -> bool:
    """Whether a TSN comes after another (RFC 1982 arithmetic)."""
    return 0 < (tsn - other) % TSN_MODULO < TSN_HALF
