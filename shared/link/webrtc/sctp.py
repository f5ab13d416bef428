"""Messages past SCTP's own congestion control: one DATA chunk each, sent once, now, and forgotten.

SCTP's window halves at every loss, it retransmits, bursts four packets and rescans its queues for
every acknowledgement; here frames have a congestion control and a repair of their own.  So
`UnreliablePath` gives each message a DATA chunk of its own (unordered, unfragmented) with the
association's next TSN, outside of its queues, and tells the other end by FORWARD TSN (RFC 3758) not
to wait for those that got lost.  To the other end that is partial reliability with no
retransmission; the control channel goes on through aiortc's own machinery (`reliable`).  The same
for what arrives: such chunks are taken where they arrive and acknowledged now and then instead of
one by one; all else passes `inbound`.  An acknowledgement tells of the first gaps only, so that it
always fits one packet, and what is lost is passed over by the clock: neither end's books grow with
losses, and none needs the other's to heal.

As in `ice`, private names of aiortc and aioice are used (listed in `private`), set on the objects
of one connection only, and the tests check each against the installed version.
"""

from __future__ import annotations

import asyncio
import logging
import struct
import time
from collections import deque
from collections.abc import Callable

from aiortc import RTCSctpTransport
from google_crc32c import value as crc32c
from OpenSSL import SSL

from shared.link.webrtc.bursts import Bursts
from shared.link.webrtc.ice import ice_connection
from shared.link.webrtc.inbound import MAX_AHEAD, Allowance, Inbound
from shared.link.webrtc.records import Records, split_records
from shared.link.webrtc.reliable import TSN_MODULO, ReliablePath, after

__all__ = ["UnreliablePath"]

_LOG = logging.getLogger(__name__)

_PACKET = struct.Struct("!HHL")  # ports and verification tag; the checksum follows
_DATA = struct.Struct("!BBHLHHL")  # type, flags, length, TSN, stream, stream sequence, protocol
_WHOLE = struct.Struct("!4xL4sBBHLHHL")  # both, from the verification tag on
_CHECKSUM = struct.Struct("<L")
_NO_CHECKSUM = bytes(4)
_BEGIN = 12 + _DATA.size  # where a message begins in its packet
DATA_TYPE = 0
WHOLE_UNORDERED = 0x07  # flags U, B and E (RFC 9260 section 3.3.1)
WEBRTC_BINARY = 53
RECORD_OVERHEAD_BYTES = 64  # at most, of any cipher that DTLS has

FORGET_AFTER_S = 0.25  # a chunk that is not there by then is not coming, in any order


def _nothing(_: str) -> None:
    return


class UnreliablePath:
    """One association's way for messages of one unordered channel; `receive` gets what arrives.

    Before the association starts.  `stream` is to be set once the channel has its number.
    `broken` is told, once and in our words, when the other end broke the protocol: a clause about
    it, such as "acknowledged what was never sent".  Its link must end then; nothing that it sends
    is heard any more.
    """

    def __init__(
        self,
        sctp: RTCSctpTransport,
        receive: Callable[[bytes], None],
        broken: Callable[[str], None] = _nothing,
    ) -> None:
        self.stream: int | None = None
        self._sctp = sctp
        self._dtls = sctp.transport
        self._ice = ice_connection(sctp)
        self._receive = receive
        self._broken = broken
        self._over = False
        self._bursts = Bursts()
        # (TSN, when), not known to be there
        self._sent: deque[tuple[int, float]] = deque(maxlen=MAX_AHEAD)
        self._pass_over_timer: asyncio.TimerHandle | None = None
        self._allowance: Allowance | None = None
        self._reliable = ReliablePath(sctp, self._end)
        self._reliable.acknowledging = self._acknowledging
        self._inbound = Inbound(sctp, self._reliable, self._end)
        self._records = Records(self._dtls, take=self._take, heard=self.resume)
        self._ice.on_data = self._records.datagram_received
        sctp._handle_data = self._handle  # type: ignore[method-assign]

    # -- for the link above -----------------------------------------------------------------------

    def allow_messages(self, per_s: float, at_once: float) -> None:
        """End the link of an other end that sends more messages than that; else any number may."""
        self._allowance = Allowance(per_s, at_once)

    def set_datagram_bytes(self, nbytes: int) -> None:
        """What the path is known to take in one datagram (UDP's payload), from now on.

        For the reliable channel: until then its packets fit a path of 576 bytes.  What `send` is
        given, its caller has cut.
        """
        self._reliable.set_datagram_bytes(nbytes)

    def set_whole(self, whole: bool) -> None:
        """Whether datagrams are to be lost rather than cut by the kernel or on the way (IP's DF).

        For the search of a path's size, and after it; a datagram too large is then lost silently.
        """
        self._bursts.whole = whole

    def resume(self) -> None:
        """The other end was heard after a silence: say again at once what it may have missed.

        It is called from here too, by the first packet after more than a second without any.
        """
        if self._over or self._sctp.state == "closed":
            return
        self._reliable.resume()
        if self._pass_over_timer is not None:
            self._pass_over_timer.cancel()
            self._pass_over()

    def _end(self, words: str) -> None:
        """The other end broke the protocol: nothing more is heard of it."""
        if self._over:
            return
        self._over = True
        _LOG.info("a link ends: the other end %s", words)
        self._broken(words)

    # -- out --------------------------------------------------------------------------------------

    def send(self, *messages: bytes) -> None:
        """Send messages, a datagram each; where there is no connection, they are lost."""
        sctp, ssl = self._sctp, self._dtls._ssl
        path = self._ice.path
        if self.stream is None or path is None or ssl is None:
            return
        stream, tsn = self.stream, sctp._local_tsn
        head = _PACKET.pack(sctp._local_port, sctp._remote_port, sctp._remote_verification_tag)
        unsummed = head + _NO_CHECKSUM
        now = time.monotonic()
        nbytes = 0
        try:
            for message in messages:
                length = _DATA.size + len(message)
                body = (
                    _DATA.pack(DATA_TYPE, WHOLE_UNORDERED, length, tsn, stream, 0, WEBRTC_BINARY)
                    + message
                    + bytes(-length % 4)
                )
                ssl.send(head + _CHECKSUM.pack(crc32c(unsummed + body)) + body)
                self._sent.append((tsn, now))
                tsn = (tsn + 1) % TSN_MODULO
                nbytes += len(body) + 12 + RECORD_OVERHEAD_BYTES
            records = ssl.bio_read(nbytes)
        except SSL.Error:  # the connection has ended
            return
        sctp._local_tsn = tsn
        self._bursts.send(path.protocol.transport, split_records(records), path.remote_addr)
        if self._pass_over_timer is None:
            self._pass_over_later()

    def _acknowledging(self, cumulative: int) -> None:
        """Drop what the SACK covers from our books, and pass over what is not coming any more."""
        while self._sent and not after(self._sent[0][0], cumulative):
            self._sent.popleft()
        self._forget()

    def _forget(self) -> None:
        """Move the point that FORWARD TSN names past what left too long ago."""
        sctp = self._sctp
        sent = self._sent
        horizon = time.monotonic() - FORGET_AFTER_S
        reliable = next(iter(sctp._sent_queue or sctp._outbound_queue), None)
        skipped = None
        while sent and sent[0][1] < horizon:
            if reliable is not None and after(sent[0][0], reliable.tsn):
                break
            skipped = sent.popleft()[0]
        if skipped is not None and after(skipped, sctp._advanced_peer_ack_tsn):
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
            self._reliable.in_background(sctp._send_chunk(chunk))
        if chunk is not None or self._sent:
            self._pass_over_later()

    # -- in ---------------------------------------------------------------------------------------

    async def _handle(self, data: bytes) -> None:
        """A decrypted SCTP packet: ours to take if it is one whole message of our stream."""
        if not self._take(data):
            await self._inbound.receive(data)

    def _take(self, data: bytes) -> bool:
        if len(data) <= _BEGIN:
            return False
        tag, checksum, kind, flags, length, tsn, stream, _, protocol = _WHOLE.unpack_from(data)
        sctp = self._sctp
        if (
            flags != WHOLE_UNORDERED
            or kind != DATA_TYPE
            or stream != self.stream
            or protocol != WEBRTC_BINARY
            or length <= _DATA.size
            or 12 + length + -length % 4 != len(data)
            or tag != sctp._local_verification_tag
            or sctp._last_received_tsn is None
            or sctp._reconfig_deferred is not None
            or checksum != _CHECKSUM.pack(crc32c(data[:8] + _NO_CHECKSUM + data[12:]))
        ):
            return False
        if self._over:
            return True
        if self._allowance is not None and not self._allowance.take():
            self._end("sent more messages than a session has")
            return True
        duplicate = self._inbound.mark_received(tsn)
        self._inbound.acknowledge_later()
        if not duplicate:
            self._receive(data[_BEGIN : 12 + length])
        return True
